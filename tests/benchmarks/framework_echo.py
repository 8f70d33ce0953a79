"""The echo as a function of `functions-framework`."""

from __future__ import annotations

from typing import Any


def echo(request: Any) -> bytes:
    body: bytes = request.get_data()
    return body
