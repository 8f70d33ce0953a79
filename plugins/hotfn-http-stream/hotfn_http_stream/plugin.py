"""What hotfn loads: the factory of the protocol, which is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hotfn_core.hookspecs import hookimpl
from hotfn_core.protocol import IOProtocol


@hookimpl
def hotfn_register_protocols() -> Mapping[str, Callable[[], IOProtocol]]:
    """Bring `http-stream`."""
    return {"http-stream": make_http_stream}


def make_http_stream() -> IOProtocol:
    """Make the hot protocol that writes calls as HTTP/1.1 messages to a unix socket."""
    from .protocol import HttpStreamProtocol

    return HttpStreamProtocol()
