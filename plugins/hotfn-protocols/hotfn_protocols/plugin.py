"""What hotfn loads: the factories of the protocols.

Each protocol is imported when it is first asked for, so that a command that needs none pays for none of the parsers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hotfn_core.hookspecs import hookimpl
from hotfn_core.protocol import IOProtocol


@hookimpl
def hotfn_register_protocols() -> Mapping[str, Callable[[], IOProtocol]]:
    """Bring `default`, `http`, `json` and `cloudevent`."""
    return {"default": make_default, "http": make_http, "json": make_json, "cloudevent": make_cloudevent}


def make_default() -> IOProtocol:
    """Make the cold protocol: one process per call, the body on stdin, the reply on stdout."""
    from .default import DefaultProtocol

    return DefaultProtocol()


def make_http() -> IOProtocol:
    """Make the hot protocol that writes calls as HTTP/1.1 messages."""
    from .http import HttpProtocol

    return HttpProtocol()


def make_json() -> IOProtocol:
    """Make the hot protocol that writes calls as lines of JSON."""
    from .json import JsonProtocol

    return JsonProtocol()


def make_cloudevent() -> IOProtocol:
    """Make the hot protocol that writes calls as events, in lines of JSON."""
    from .cloudevent import CloudEventProtocol

    return CloudEventProtocol()
