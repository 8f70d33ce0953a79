"""The options of the drivers `docker` and `podman`: whatever is given, they are understood or refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_containers.options import CAPABILITIES, NAMES, ULIMITS, Mount, Options, parse
from hotfn_core.errors import ConfigError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NEAR = st.sampled_from(
    [
        *("none", "host", "a", "unlimited", "default", "0", "1:1", "/a:/b", "/a:/b:rw", "/a:/../..", "/a://b", "CHOWN"),
        *(
            True,
            False,
            0,
            1,
            -1,
            2,
            64,
            1 << 53,
            1 << 70,
            float("inf"),
            float("nan"),
            [],
            {},
            ["a", "a"],
            ["none", "a"],
        ),
        *({"core": -1}, {"core": True}, {"cores": 1}, ["/a:/b", "/c:/b"], [["a"]], ["\0"], "\0"),
    ]
)


def test_without_options_the_strict_side() -> None:
    assert parse("docker", {}) == Options()
    assert Options() == Options(
        pull="missing",
        pull_timeout=600.0,
        network=("none",),
        user="1000:1000",
        init=True,
        read_only=True,
        tmpfs=None,
        tmp_exec=False,
        memory="default",
        max_processes=50,
        max_files=350,
        ulimits={"memlock": 65_536, "sigpending": 5_000, "msgqueue": 819_200, "core": 0},
        capabilities=(),
        new_privileges=False,
        volumes=False,
        mounts=(),
        entrypoint=None,
        cwd="",
        prepared=0,
    )


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON | NEAR, max_size=5))
def test_any_value_is_understood_or_refused(options: dict[str, Any]) -> None:
    parsed: Options | ConfigError
    try:
        parsed = parse("podman", options)
    except ConfigError as error:
        parsed = error
    assert isinstance(parsed, Options) or (parsed.field == "driver_options" and parsed.message)


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("network", "web", ("web",)),
        ("network", ["web", "back"], ("web", "back")),
        ("network", "host", ("host",)),
        ("user", 0, "0:0"),
        ("user", "33", "33:33"),
        ("user", "fn", "fn"),
        ("user", "fn:web", "fn:web"),
        ("user", "33:0", "33:0"),
        ("init", False, False),
        ("read_only", False, False),
        ("tmpfs", 0, 0),
        ("tmp_exec", True, True),
        ("memory", "unlimited", "unlimited"),
        ("max_processes", "unlimited", None),
        ("max_processes", None, None),
        ("max_files", 4096, 4096),
        ("max_files", "unlimited", None),
        ("ulimits", {"core": -1}, {**ULIMITS, "core": -1}),
        ("capabilities", ["cap_net_raw", "CHOWN"], ("NET_RAW", "CHOWN")),
        ("new_privileges", True, True),
        ("volumes", True, True),
        ("mounts", ["/srv//data/:/data"], (Mount("/srv/data", "/data", False),)),
        ("mounts", ["/a:/b/../c:rw", "/d:/e:ro"], (Mount("/a", "/c", True), Mount("/d", "/e", False))),
        ("entrypoint", [], ()),
        ("entrypoint", ["python3", "-X", "dev"], ("python3", "-X", "dev")),
        ("cwd", "/srv", "/srv"),
        ("pull", "always", "always"),
        ("pull_timeout", 5, 5.0),
        ("prepared", 3, 3),
    ],
)
def test_what_is_given_is_taken(name: str, value: Any, parsed: Any) -> None:
    assert getattr(parse("docker", {name: value}), name) == parsed
    assert type(getattr(parse("docker", {name: value}), name)) is type(parsed)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("netwrk", "x", 'the driver "docker" has no option "netwrk"; did you mean "network"'),
        ("zzz", "x", "it has pull, "),
        ("network", [], 'network must be the name of a network of the engine, or a list of them, or "none"'),
        ("network", "container:other", "network must be the name of a network"),
        ("network", "ns:/proc/1/ns/net", "network must be the name of a network"),
        ("network", ["a", 5], "network must be the name of a network"),
        ("network", ["web", "none"], 'network = "none" cannot be one of several'),
        ("network", ["web", "web"], "network has 'web' 2 times"),
        ("user", True, "user must be a name, a number up to 2147483647, or both"),
        ("user", -1, "user must be"),
        ("user", 1 << 31, "user must be"),
        ("user", "1000:9999999999", "user must be"),
        ("user", "a b", "user must be"),
        ("user", "a:b:c", "user must be"),
        ("init", 1, "init must be true or false, not 1"),
        ("tmpfs", -1, "tmpfs must be a whole number of MB, at least 0"),
        ("memory", 64, 'memory must be "default" or "unlimited", not 64'),
        ("max_processes", 1, "max_processes must be a whole number of processes and threads, at least 2"),
        ("max_files", 15, "max_files must be a whole number of open files, at least 16"),
        ("max_files", True, "max_files must be a whole number"),
        ("ulimits", {"cor": 0}, 'ulimits has no "cor"; did you mean "core"'),
        ("ulimits", {"core": 1.5}, "ulimits.core must be a whole number, -1 for no limit, not 1.5"),
        ("ulimits", [], "ulimits must be a table of numbers"),
        ("capabilities", ["NET_ROW"], 'capabilities has "NET_ROW", which is no capability; did you mean "NET_RAW"'),
        ("capabilities", ["ALL"], 'capabilities has "ALL", which is no capability'),
        ("capabilities", ["CHOWN", "cap_chown"], "capabilities has 'CHOWN' 2 times"),
        (
            "mounts",
            ["data:/data"],
            'mounts must be a list of absolute paths like ["/srv/data:/data", "/srv/out:/out:rw"]',
        ),
        ("cpus", 1, "cpus is a field of the function itself"),
        ("mounts", ["/data"], "mounts must be a list of absolute paths like"),
        ("mounts", ["/data:/data:rx"], "mounts must be a list of absolute paths like"),
        ("mounts", ["/data:/x/.."], "mounts may not have / as a target"),
        ("mounts", ["/data:/proc/self"], "mounts may not have /proc/self as a target"),
        ("mounts", ["/data:/sys"], "mounts may not have /sys as a target"),
        ("mounts", ["/a:/data", "/b:/data/"], "mounts has '/data' 2 times"),
        ("mounts", ["/a:/tmp"], "mounts has one at /tmp, where the copy's own /tmp is; set tmpfs = 0 as well"),
        ("entrypoint", "python3", "entrypoint must be a list of texts"),
        ("cwd", "srv", "cwd must be an absolute path"),
        ("pull", "sometimes", 'pull must be "missing" or "never" or "always"'),
        ("pull_timeout", 0, "pull_timeout must be seconds, more than 0 and at most a day"),
        ("pull_timeout", float("nan"), "pull_timeout must be seconds"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse("docker", {name: value})
    assert says in error.value.message
    assert error.value.field == "driver_options"


def test_a_mount_may_take_the_place_of_tmp() -> None:
    assert parse("docker", {"mounts": ["/srv/tmp:/tmp:rw"], "tmpfs": 0}).mounts == (Mount("/srv/tmp", "/tmp", True),)


def test_the_capabilities_of_linux() -> None:
    assert len(CAPABILITIES) == 41  # of Linux 5.9 and later
    assert parse("docker", {"capabilities": sorted(CAPABILITIES)}).capabilities == tuple(sorted(CAPABILITIES))
