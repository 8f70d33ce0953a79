"""The labels on our containers: whose they are, so that those of a dead hotfn can be told from all others."""

from __future__ import annotations

from collections.abc import Mapping

from hotfn_core.runtime import Fate, Runtime, fate

PREFIX = "hotfn."
MARK = "hotfn.runtime"
"""Every container of ours has this label."""

ABOUT = ("app", "function", "instance")
"""What a container is for: for people, and of no weight when it is decided whose it is."""


def make(function: str, instance: str) -> dict[str, str]:
    """Return the labels of a container of this process. `instance` is "" for one that is made ready ahead."""
    app, _, name = function.partition("/")
    ours = {PREFIX + key: value for key, value in Runtime.current().as_labels().items()}
    about = dict(zip(ABOUT, (app, name, instance), strict=True))
    return {**ours, **{PREFIX + key: value for key, value in about.items()}}


def fate_of(labels: Mapping[str, str]) -> Fate:
    """Say whether the hotfn that made the container lives: only what is surely dead may be removed."""
    ours = {key.removeprefix(PREFIX): value for key, value in labels.items() if key.startswith(PREFIX)}
    return fate(ours)
