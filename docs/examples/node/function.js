// A hot function in Node, with nothing but Node's own HTTP server: it speaks format "http" on stdin and stdout.
"use strict";
const http = require("node:http");
const { Duplex } = require("node:stream");

console.log = console.error; // stdout carries replies only

function answer(text) {
  const words = text.split(/\s+/).filter(Boolean);
  if (words.length === 0) throw new Error("there is no word in it");
  return words.reverse().join(" ");
}

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    let status = 200, reply;
    try {
      reply = Buffer.from(answer(Buffer.concat(pieces).toString()));
    } catch (error) {
      console.error(error); // what goes to stderr is the log
      [status, reply] = [500, Buffer.from(error.message)];
    }
    response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", "Content-Length": reply.length });
    response.end(reply);
  });
});
server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0; // calls may be far apart
server.maxRequestsPerSocket = 0;

const wire = Duplex.from({ readable: process.stdin, writable: process.stdout });
wire.setTimeout = wire.setNoDelay = wire.setKeepAlive = () => wire; // what a socket has beside a stream
server.emit("connection", wire);
process.stdin.on("end", () => process.exit(0));
