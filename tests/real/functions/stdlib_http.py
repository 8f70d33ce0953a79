"""CPython's own HTTP server on stdin and stdout."""

import http.server
import time


class Function(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.rfile, self.wfile = open(0, "rb"), open(1, "wb")

    def do_POST(self):
        op, _, rest = self.rfile.read(int(self.headers["Content-Length"])).partition(b"\n")
        if op == b"status":
            return self.reply(418, b"short and stout")
        if op == b"token":
            rest = self.headers["X-Token"].encode()
        if op == b"raise":
            raise ValueError(rest.decode())
        if op == b"bytes":
            rest = bytes(range(256))
        if op == b"sleep":
            time.sleep(float(rest))
        if op == b"print":
            print("a stray line", flush=True)
        self.reply(200, rest)

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("X-Custom", "one")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


Function(None, ("stdin", 0), None)
