"""The names of images: which registry, which repository there, which tag or digest."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HUB = "docker.io"
"""The registry of names that name none."""

MOST = 255
"""Characters of a name, without tag and digest."""

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REGISTRY = re.compile(_HOST)
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """An image's name, whole: `docker.io` and `library/` and `latest` are there where the name left them out.

    `short` is True when the name names no registry: docker takes `docker.io` then, podman asks its registries.conf.
    An `id` is no name, and no registry has it. `written` is what was parsed.
    """

    registry: str
    path: str
    tag: str
    digest: str = ""
    short: bool = False
    id: str = ""
    written: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises ValueError that says what is wrong with it and what it should be like."""
        if _ID.fullmatch(text):
            return cls("", "", "", id=text, written=text)
        if "://" in text:
            raise ValueError(f"{text!r} has {text.partition('://')[0]}:// in front: leave that out")
        rest, at, digest = text.partition("@")
        name, tag = _split_tag(rest)
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError(f"{text!r}: behind the @ must be a digest like sha256:0123..., not {digest!r}")
        if tag is not None and not _TAG.fullmatch(tag):
            raise ValueError(f"{text!r}: the tag {tag!r} may have letters, digits, _ . - and up to 128 of them")
        registry, path = _split_registry(name)
        _check(text, registry, path)
        if len(name) > MOST:
            raise ValueError(f"{text[:60]!r}... is longer than {MOST} characters")
        if registry in ("", HUB) and "/" not in path:
            path = f"library/{path}"
        return cls(registry or HUB, path, tag or ("" if digest else "latest"), digest, not registry, written=text)

    @property
    def repository(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.path}"

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest, which names one image for ever, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return self.id or f"{self.repository}{tag}{digest}"


def _split_tag(text: str) -> tuple[str, str | None]:
    """Split at the last colon, unless it belongs to a port."""
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, None)


def _split_registry(name: str) -> tuple[str, str]:
    """Split off the registry, "" when there is none: it has a dot or a port or a capital, or it is localhost."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or first != first.lower() or any(one in first for one in ".:")):
        return (HUB if first == f"index.{HUB}" else first), rest
    return "", name


def _check(text: str, registry: str, path: str) -> None:
    if registry and not _REGISTRY.fullmatch(registry):
        raise ValueError(
            f"{text!r}: {registry!r} is no address of a registry, like registry.example.com or 10.0.0.1:5000"
        )
    if _PATH.fullmatch(path):
        return
    if _PATH.fullmatch(path.lower()):
        raise ValueError(f"{text!r}: the name of a repository has no capitals")
    raise ValueError(
        f"{text!r} is no name of an image, like python:3.12 or registry.example.com/team/app:1.0 or app@sha256:0123..."
    )
