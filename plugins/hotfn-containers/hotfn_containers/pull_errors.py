"""Why a pull failed: of what an engine says, the cause, whose fault it is, and what to do."""

from __future__ import annotations

import re
from typing import Literal

from hotfn_core.errors import DriverError

from .credentials import Search
from .reference import Reference
from .trouble import NoSuchImage, explain

Cause = Literal["busy", "platform", "short", "refused", "name", "connect", "tls", "missing", "other"]

RETRY_AFTER = 60.0
"""Seconds after which to try a registry again that has had enough; engines do not pass on what it said itself."""

CAUSES: tuple[tuple[Cause, str], ...] = (
    ("busy", r"toomanyrequests|too many requests|rate limit"),
    ("platform", r"no matching manifest for|no image found in (manifest list|image index)"),
    ("short", r"short-name"),
    (
        "refused",
        r"unauthorized|\bdenied|authentication required|no basic auth|insufficient_scope|403 \(?forbidden",
    ),
    ("name", r"no such host|server misbehaving|name resolution"),
    ("tls", r"server gave http response|x509|certificate|\btls:"),
    (
        "connect",
        r"refused|no route to host|network is unreachable|timeout|connection reset|timed out|deadline exceeded|\beof\b",
    ),
    ("missing", r"manifest unknown|name unknown|not found|not known to registry|does not exist"),
)
"""What an engine's text contains, in lower case and without the image's name; the first that fits."""


def cause_of(text: str, reference: Reference, answer: int) -> Cause:
    """Return why an engine, which answered with that HTTP status and text, did not get an image."""
    plain = _without_names(text.lower(), reference)
    if "tls handshake timeout" in plain:
        return "connect"
    for cause, pattern in CAUSES:
        if re.search(pattern, plain):
            return cause
    return "missing" if answer == 404 else "other"


def failure(engine: str, reference: Reference, text: str, answer: int, search: Search) -> DriverError:
    """Return the error for a pull that an engine did not get done."""
    cause = cause_of(text, reference, answer)
    said, image, registry = text.strip(), str(reference), reference.registry
    if cause in ("missing", "platform", "short"):
        return NoSuchImage(_missing(cause, engine, reference, said), 404)
    if cause == "refused":
        return DriverError(_refused(engine, reference, said, search), status=401)
    if cause == "busy":
        return DriverError(
            f"the registry {registry} gives {engine} no image for now, it was asked too often: {said}; "
            f"wait a while, or log in ({engine} login {registry}), as registries give more to those they know; "
            f"{search.told()}",
            status=503,
            retry_after=RETRY_AFTER,
        )
    if cause == "other":
        return DriverError(f"{engine} failed to pull {image}: {explain(engine, said)}")
    if engine == "podman" and "docker://localhost/" in said:  # what it makes of a short name that it has an image of
        registry, image = "localhost", f"localhost/{reference.written.removeprefix('localhost/')}"
    advice = _unreachable(cause, engine, registry)
    return DriverError(f"{engine} cannot reach the registry {registry} to pull {image}: {said}; {advice}")


def too_late(engine: str, reference: Reference, seconds: float, last: str) -> DriverError:
    """Return the error for a pull that took too long. `last` is what the engine said last."""
    tail = f"the last it said was: {last}" if last else "the registry did not answer"
    return DriverError(
        f"{engine} has not pulled {reference} within {seconds:g} s (driver_options pull_timeout); {tail}", status=504
    )


def _missing(cause: Cause, engine: str, reference: Reference, said: str) -> str:
    if cause == "platform":
        return f"the image {reference} is not made for the machine of {engine}: {said}"
    if cause == "short":
        whole = str(reference)
        return (
            f"{engine} does not have the image and does not know its registry: {said}; write {whole}, if you mean that"
        )
    hint = "check its name and its tag"
    if reference.short and engine == "docker":
        hint += f"; a name without a registry means {reference}"
    return f"there is no image {reference} in the registry {reference.registry}: {said}; {hint}"


def _refused(engine: str, reference: Reference, said: str, search: Search) -> str:
    place = "DOCKER_CONFIG" if engine == "docker" else "REGISTRY_AUTH_FILE"
    return (
        f"the registry {reference.registry} refuses to give {engine} the image {reference}: {said}; {search.told()}; "
        f"check the name, as some registries refuse what they do not have, and log in with one that may pull it: "
        f"{engine} login {reference.registry} ({place} says where hotfn finds the login)"
    )


def _unreachable(cause: Cause, engine: str, registry: str) -> str:
    """Say what to do; it is the engine that connects, from its own machine."""
    if engine == "podman" and registry == "localhost":
        return "podman puts localhost/ before images that were built or loaded there: no registry has them"
    if cause == "name":
        return f"check the name {registry}, and the name server of the machine of {engine}"
    if cause == "tls":
        place = "insecure-registries in daemon.json" if engine == "docker" else "insecure = true in registries.conf"
        return f"give {engine} the registry's certificate, or {place} when it is one without TLS"
    return f"check that it runs, and that the machine of {engine} gets there (firewall, proxy)"


def _without_names(text: str, reference: Reference) -> str:
    """Take the image's own name out, which may contain any word."""
    tag, path = reference.tag.lower(), reference.path.lower()
    local = path.removeprefix("library/")
    names = [reference.repository.lower(), f"/v2/{path}/", f"{local}:{tag}", f"access denied for {local},"]
    for name in [f"{name}:{tag}" for name in names[:1]] + names + ([path] if "/" in path else []):
        text = text.replace(name, "access denied for ?," if name.startswith("access denied for") else "?")
    text = text.replace(reference.registry.lower(), "?")
    for before, after in (("manifest ", " in"), ("manifests/", '"'), ("manifests/", ":")):
        text = text.replace(f"{before}{tag}{after}", f"{before}?{after}")
    return text
