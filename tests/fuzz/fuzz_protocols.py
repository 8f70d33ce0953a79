"""Coverage-guided fuzzing of what the IO protocols read, with atheris.

    python tests/fuzz/fuzz_protocols.py [--seconds 60] [http json cloudevent default]

The first two bytes of an input choose the call and the cuts, the rest is what the function writes. Whole, byte by byte
and cut, it must come to the same, with no exception but RemoteProtocolError, within the limits. A finding is printed
and written to `--out`; once mended it is kept in `tests/fuzz/found/`, which the test suite replays.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, IOProtocol, Limits
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.plugin import hotfn_register_protocols

PROTOCOLS = hotfn_register_protocols()  # factories: nothing else of the plugin is imported yet
LIMITS = Limits(max_body=64, max_head=200)
CALLS = [Call("1"), Call("1", method="HEAD"), Call("1", body=b"{}", content_type="application/cloudevents+json")]
EXITS = [None, Exit(code=0), Exit(code=1), Exit(signal=9)]

TOKENS = {
    "http": [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 204 No\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 304 \n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive, X\r\n", b"\r\n\r\n",
        b"\n\n",
        b"5\r\nhello\r\n", b"0\r\n\r\n", b";a=b\r\n", b"Upgrade: x\r\n", b"Connection: upgrade\r\n",
        b"HTTP/1.1 101 S\r\n", b" folded\r\n",
    ],
    "json": [
        b'{"body":', b'"status_code":', b'"protocol":{', b'"headers":{"X":[', b'"content_type":"a/b"', rb"\u00fc",
        rb"\ud83d\ude00",
        rb"\"", rb"\\", b"null", b"-1.5e3", b"}}", b"]}", b"[[[[", b"{}\n{}", b"\xc3\xbc", b",",
    ],
    "cloudevent": [
        b'"data":', b'"contentType":"application/json"', b'"extensions":{"protocol":{', b'"status_code":418',
        b'"headers":{"X":["y"]}', b'"protocol":', rb"\u00fc", rb"\ud83d\ude00", rb"\"", b"null", b"-1.5e3",
        b"}}", b"]}", b"{}\n{}", b"\xc3\xbc", b",",
    ],
    "default": [b"\0", b"\n"],
}  # fmt: skip
SEEDS = {
    "http": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.0 200 OK\nConnection: close\n\nto the end",
    ],
    "json": [
        rb'{"body":"a\"\u00fc","content_type":"a/b","protocol":{"status_code":418,"headers":{"X":["y"]}}}' + b"\n",
        b'{"body":{"a":[1,2]},"status_code":500,"headers":{"x":"y"}}',
    ],
    "cloudevent": [
        rb'{"contentType":"a/b","data":"a\"\u00fc","extensions":{"protocol":{"status_code":418,"headers":{"X":["y"]}}}}',
        b'{"contentType":"application/json","data":{"a":[1,2]},"protocol":{"status_code":500}}',
    ],
    "default": [b"hello"],
}


def calling(protocol: IOProtocol, call: Call) -> Connection:
    connection = protocol.connect(LIMITS)
    connection.encode(call, 1.5)
    return connection


def pieces(wire: bytes, step: int) -> list[bytes]:
    return [wire[at : at + step] for at in range(0, len(wire), step)]


def outcomes(protocol: IOProtocol, data: bytes) -> Iterator[Outcome]:
    """Feed one input in three ways."""
    choice, step, wire = data[0], data[1] % 7 + 2, data[2:]
    call, exit = CALLS[choice % len(CALLS)], EXITS[choice // len(CALLS) % len(EXITS)]
    for chunks in ([wire], pieces(wire, 1), pieces(wire, step)):
        yield play(calling(protocol, call), chunks, exit)


def check(protocol: IOProtocol, data: bytes) -> None:
    """Raise AssertionError for an input that is not handled as the contract asks."""
    if len(data) < 2:
        return
    whole, *others = outcomes(protocol, data)
    assert len(whole.body) <= LIMITS.max_body
    assert sum(len(name) + len(value) for name, value in whole.headers) <= LIMITS.max_head
    for other in others:
        assert whole.essence == other.essence, (data, whole.essence, other.essence)
        if whole.end is None:
            assert type(whole.error) is type(other.error), (data, whole.error, other.error)


def replay(path: Path) -> None:
    """Check one kept finding; its name begins with the protocol's."""
    check(PROTOCOLS[path.name.split("-")[0]](), path.read_bytes())


def fuzz(name: str, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris  # not a package that the tests need

    with atheris.instrument_imports(include=["hotfn_protocols"]):
        protocol = PROTOCOLS[name]()
    atheris.Setup([sys.argv[0], *options], lambda data: check(protocol, data))
    atheris.Fuzz()


def quoted(token: bytes) -> str:
    """Return a line of libFuzzer's dictionary."""
    escaped = "".join(f"\\x{byte:02x}" for byte in token)
    return f'"{escaped}"\n'


def run(name: str, seconds: int, out: Path) -> int:
    """Fuzz one protocol in a process of its own; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[name]):
            for choice in range(len(CALLS) * len(EXITS)):
                (corpus / f"{number}-{choice}").write_bytes(bytes([choice, number]) + seed)
        dictionary = Path(folder, "tokens")
        dictionary.write_text("".join(map(quoted, TOKENS[name])))
        argv: list[Any] = [
            sys.executable,
            __file__,
            "--in-process",
            name,
            f"-dict={dictionary}",
            f"-max_total_time={seconds}",
        ]
        argv += ["-max_len=400", "-timeout=10", f"-artifact_prefix={out / name}-", "-print_final_stats=1", corpus]
        return subprocess.run(list(map(str, argv)), check=False).returncode


def main() -> int:
    if sys.argv[1:2] == ["--in-process"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help=f"all by default: {', '.join(PROTOCOLS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each protocol")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()), help="where findings are written")
    asked = parser.parse_args()
    unknown = set(asked.protocols) - set(PROTOCOLS)
    if unknown:
        parser.error(f"no such protocol: {', '.join(unknown)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    results = {name: run(name, asked.seconds, asked.out) for name in asked.protocols or PROTOCOLS}
    print(results)
    return max(results.values())


if __name__ == "__main__":
    sys.exit(main())
