"""What a content type says about how a body goes into an event and comes out of one."""

from __future__ import annotations

# The content type of an event that is a body.
EVENT = "application/cloudevents+json"


def media_type(content_type: str) -> str:
    """Return the content type without its parameters, in lower case: `text/plain` of `Text/Plain; charset=utf-8`."""
    return content_type.partition(";")[0].strip(" \t").lower()


def holds_json(content_type: str) -> bool:
    """Say whether what is of this type is JSON, a string of it too: `application/json`, `application/problem+json`."""
    media = media_type(content_type)
    return media == "application/json" or media.endswith("+json")
