"""Which program a container runs, and how its absence is told."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_containers.engine import Image
from hotfn_containers.options import parse
from hotfn_containers.plan import Plan, make_plan
from hotfn_containers.program import argv, fault, places
from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import DriverError


def plan(*command: str, env: dict[str, str] | None = None, **options: Any) -> Plan:
    """Return a plan with this command."""
    spec = ContainerSpec(function="a/f", instance="", identity="", image="img", command=command, env=env or {})
    return make_plan(spec, parse("docker", options))


def image(entrypoint: tuple[str, ...] = (), command: tuple[str, ...] = (), **facts: Any) -> Image:
    """Return an image that says this of itself."""
    facts = {"env": {}, "cwd": "/"} | facts
    return Image(id="i", entrypoint=entrypoint, command=command, volumes=(), **facts)


OWN = image(("python3", "-u"), ("main.py",))


@pytest.mark.parametrize(
    ("made", "of", "runs"),
    [
        (plan(), OWN, ("python3", "-u", "main.py")),
        (plan("other.py", "x"), OWN, ("python3", "-u", "other.py", "x")),
        (plan(entrypoint=["sh"]), OWN, ("sh",)),
        (plan("-c", "x", entrypoint=["sh"]), OWN, ("sh", "-c", "x")),
        (plan("x", entrypoint=[]), OWN, ("x",)),
        (plan("x"), image(), ("x",)),
        (plan(), image((), ("y",)), ("y",)),
    ],
)
def test_command_and_entrypoint_as_in_docker_run(made: Plan, of: Image, runs: tuple[str, ...]) -> None:
    assert argv(made, of) == runs


@pytest.mark.parametrize(("made", "of"), [(plan(), image()), (plan(entrypoint=[]), OWN)])
def test_nothing_to_run(made: Plan, of: Image) -> None:
    with pytest.raises(
        DriverError, match="the image img names no program to run: give the function a `command`"
    ) as error:
        argv(made, of)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("made", "of", "where"),
    [
        (plan("/bin/x"), image(), ["/bin/x"]),
        (plan("./x"), image(cwd="/srv"), ["/srv/./x"]),
        (plan("a/x"), image(cwd=""), ["/a/x"]),
        (plan("a/x", cwd="/opt"), image(cwd="/srv"), ["/opt/a/x"]),
        (plan("x"), image(env={"PATH": "/a:/b"}), ["/a/x", "/b/x"]),
        (plan("x", env={"PATH": "/c"}), image(env={"PATH": "/a:/b"}), ["/c/x"]),
        (plan("x"), image(env={"PATH": "/a::b"}), ["/a/x", "/x", "/b/x"]),
    ],
)
def test_where_it_may_be(made: Plan, of: Image, where: list[str]) -> None:
    assert list(places(made, of)) == where


def test_where_engines_look_when_nobody_says() -> None:
    found = list(places(plan("x"), image()))
    assert found[-1] == "/bin/x"
    assert len(found) == 6


DIRECTORY, LINK, SETUID = 1 << 31, 1 << 27, 1 << 23  # as the engines' language writes them


@pytest.mark.parametrize("mode", [0o755, 0o100, 0o001, SETUID | 0o755, LINK | 0o777])
def test_a_program(mode: int) -> None:
    assert fault(plan("x"), image(), "/bin/x", mode) is None


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (None, "the program x is not in the image img"),
        (DIRECTORY | 0o755, "x is a directory in the image img, not a program"),
        (0o644, "the program x (/bin/x) of the image img is not executable: chmod +x it in its build"),
    ],
)
def test_no_program(mode: int | None, says: str) -> None:
    error = fault(plan("x"), image(), "/bin/x", mode)
    assert error is not None
    assert error.message == says
    assert error.status == 400
