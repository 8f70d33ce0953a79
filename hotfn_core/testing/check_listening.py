"""The part of `check_protocol` for protocols whose copies listen: how the streams meet, and what their end means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.protocol import Connection, IOProtocol, Limits, Listening, ReplyEnd

from .reply_samples import ConformanceError, ReplySample, play, positions

PATH = "/a/directory/of/the/copy/"


def check_listening(protocol: IOProtocol, samples: Sequence[ReplySample], expires: float, rng: random.Random) -> None:
    """Check what the contract asks of a protocol with `listening`. Raises ConformanceError."""
    _check_spans(protocol)
    _check_told(protocol)
    for sample in samples:
        for at in positions(len(sample.wire), rng):
            _check_closed(_fed(protocol, sample, sample.wire[:at], expires), sample, at)


def _check_spans(protocol: IOProtocol) -> None:
    listening = protocol.listening
    if not isinstance(listening, Listening):
        raise ConformanceError(f"listening must be a Listening or None, not {listening!r}")
    if not protocol.hot:
        raise ConformanceError("a protocol whose copies listen must be hot")
    if not listening.name or "/" in listening.name or listening.name in {".", ".."}:
        raise ConformanceError(f"the socket's name must be one without a path, not {listening.name!r}")
    if not (listening.within > 0 and listening.idle > 0):
        raise ConformanceError(f"the spans must be more than 0 seconds: {listening!r}")


def _check_told(protocol: IOProtocol) -> None:
    assert protocol.listening is not None
    path = PATH + protocol.listening.name
    env: object = protocol.listener_environment(path)
    if not isinstance(env, Mapping) or not all(isinstance(one, str) for pair in env.items() for one in pair):
        raise ConformanceError(f"listener_environment must return a mapping of strings, not {env!r}")
    if not any(path in value for value in env.values()):
        raise ConformanceError(f"listener_environment does not tell the copy to listen on {path}: {env!r}")


def _fed(protocol: IOProtocol, sample: ReplySample, data: bytes, expires: float) -> Connection | None:
    """Return a connection whose reply has come so far; None when that is all of it."""
    connection = protocol.connect(Limits())
    connection.encode(sample.call, expires)
    return connection if play(connection, [data]).end is None else None


def _check_closed(connection: Connection | None, sample: ReplySample, at: int) -> None:
    if connection is None:
        return
    try:
        events = connection.stream_closed()
    except RemoteProtocolError:
        return
    except Exception as error:  # whatever else a stranger's code raises is what we look for
        raise ConformanceError(f"stream_closed raised {error!r}; it may raise RemoteProtocolError only") from error
    if not events or not isinstance(events[-1], ReplyEnd):
        raise ConformanceError(
            f"the copy closed its connection after {at} bytes of {sample}: stream_closed must complete the reply or "
            f"raise RemoteProtocolError; it returned {events!r}"
        )
