"""What `zygote` accepts, told before anything is started; and what makes copies children of the same zygote."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_core.errors import ConfigError
from hotfn_core.model import FunctionSpec
from hotfn_local.driver import LocalDriver
from hotfn_local.options import LIMITS
from hotfn_local.spawn import Order
from hotfn_local.zygote.command import PythonCommand, parse
from hotfn_local.zygote.key import job, key_of
from hotfn_local.zygote.program import _leading

GOOD = {
    "python3 f.py a -b": PythonCommand((), "script", "f.py", 2),
    "/usr/bin/python3.11 -u -I f.py": PythonCommand(("-u", "-I"), "script", "f.py", 0),
    "python -W error -Xutf8 -X dev ./f": PythonCommand(("-W", "error", "-Xutf8", "-X", "dev"), "script", "./f", 0),
    "python -sW ignore f.py": PythonCommand(("-sW", "ignore"), "script", "f.py", 0),
    "python3 -m pkg.mod x": PythonCommand((), "module", "pkg.mod", 1),
    "python3 -umpkg x": PythonCommand(("-u",), "module", "pkg", 1),
    "python3 -Bc pass -c": PythonCommand(("-B",), "text", "pass", 1),
}
BAD = {
    "./f.py": "must begin with a Python",
    "env python3 f.py": "must begin with a Python",
    "pypy3 f.py": "must begin with a Python",
    "python3": "names no program",
    "python3 -u": "names no program",
    "python3 -": "must name a source file",
    "python3 f.pyc": "must name a source file",
    "python3 -m": "nothing behind -m",
    "python3 -V f.py": "the flag -V",
    "python3 --check-hash-based-pycs always f.py": "the flag --check",
}


@pytest.mark.parametrize("command", GOOD)
def test_commands(command: str) -> None:
    assert parse(command.split()) == GOOD[command]


@pytest.mark.parametrize("command", BAD)
def test_commands_that_cannot_be_forked(command: str) -> None:
    spec = FunctionSpec(name="f", command=tuple(command.split()), driver_options={"zygote": True})
    with pytest.raises(ConfigError, match=f"driver_options: zygote: .*{BAD[command]}") as caught:
        LocalDriver().validate(spec)
    assert caught.value.field == "driver_options"
    LocalDriver().validate(FunctionSpec(name="f", command=tuple(command.split()), driver_options={"zygote": False}))


@pytest.mark.parametrize("value", [1, "json", ["a b"], [1], ["a..b"], ["1a"], [""], {"a": 1}], ids=str)
def test_values_that_are_none(value: Any) -> None:
    with pytest.raises(ConfigError, match="zygote must be true or a list of names of modules"):
        LocalDriver().validate(FunctionSpec(name="f", command=("python3", "f"), driver_options={"zygote": value}))


def order(*command: str, **changes: Any) -> Order:
    fields: dict[str, Any] = {"program": "/p", "argv": command or ("python3", "f.py", "x"), "env": {}, "zygote": True}
    return Order(**(fields | changes))


def test_the_same_zygote() -> None:
    key = key_of(order(env={"A": "1", "PATH": "/bin"}))
    assert key == key_of(order("python3", "f.py", "y", env={"PATH": "/bin", "SECRET": "2"}))
    assert key == key_of(order(env={"PATH": "/bin"}, limits=[(LIMITS["max_files"], 9)]))
    assert str(key) == "python3 f.py"


@pytest.mark.parametrize(
    "other",
    [
        order("python3", "-u", "f.py"),
        order("python3", "g.py"),
        order("python3", "-m", "f.py"),
        order(cwd="/"),
        order(user=5),
        order(groups=[5]),
        order(program="/q"),
        order(zygote=("json",)),
        *(
            order(env={name: "1"})
            for name in ("PYTHONPATH", "LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
        ),
    ],
    ids=str,
)
def test_another_zygote(other: Order) -> None:
    assert key_of(other) != key_of(order())


@pytest.mark.parametrize("env", [{"A": "a\0b"}, {"A=": "x"}, {"": "x"}], ids=str)
def test_what_no_environment_can_hold(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="null byte|environment variable"):
        job(order(env=env), ("M", "1"))


def test_the_marker_is_first_and_wins() -> None:
    assert job(order(env={"A": "1", "M": "2"}), ("M", "3")).split(b"\0")[-2:] == [b"M=3", b"A=1"]


PROGRAMS = {
    "'doc'\nfrom __future__ import annotations\nimport a, b.c\nfrom d import e\nx = 1\nimport f": "__future__ a b.c d",
    "import a\ntry:\n  import b\nexcept ImportError: pass\nimport c": "a",
    "import os\nos.environ['X'] = '1'\nimport tensorflow": "os",
    "if True: import a": "",
    "": "",
}


@pytest.mark.parametrize("text", PROGRAMS)
def test_the_imports_that_a_program_begins_with(text: str) -> None:
    names: list[str] = []
    for node in _leading(compile(text, "f", "exec", 0x400, dont_inherit=True)):
        names += [node.module] if hasattr(node, "module") else [alias.name for alias in node.names]
    assert " ".join(names) == PROGRAMS[text]
