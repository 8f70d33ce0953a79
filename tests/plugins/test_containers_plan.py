"""What a container is to be like, and how each engine is told."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from hotfn_containers import docker_engine, podman_engine
from hotfn_containers.docker_engine import host_config
from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_containers.endpoint import Endpoint
from hotfn_containers.engine import About, State
from hotfn_containers.exits import as_exit
from hotfn_containers.machine import check_machine
from hotfn_containers.networks import Networks
from hotfn_containers.oom import oom_killed, verdict
from hotfn_containers.options import parse
from hotfn_containers.plan import Plan, check_memory, make_plan
from hotfn_containers.podman_engine import specification
from hotfn_containers.sharing import check_sharing, open_up
from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import ConfigError, DriverError
from hotfn_core.model import Exit, FunctionSpec

MB = 1 << 20
SECRET = "hunter2-hunter2"


def plan(asked: int | None = None, /, cpus: float | None = None, shared: str = "", **options: Any) -> Plan:
    """Return the plan of a function that asks for so much memory and has these options."""
    spec = ContainerSpec(
        function="app/f",
        instance="f-1",
        identity="0",
        image="img",
        command=("run", "it"),
        env={"PASSWORD": SECRET},
        memory=asked,
        cpus=cpus,
        shared=shared,
    )
    return make_plan(spec, parse("docker", options))


LOOSE: dict[str, Any] = {
    "memory": "unlimited",
    "network": "web",
    "read_only": False,
    "capabilities": ["CHOWN"],
    "new_privileges": True,
    "init": False,
    "ulimits": {"core": -1},
    "max_files": "unlimited",
    "max_processes": "unlimited",
    "tmpfs": 0,
    "mounts": ["/a:/b", "/c:/d:rw"],
}


class TestDocker:
    def test_the_strict_side(self) -> None:
        assert host_config(plan()) == {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": [],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "IpcMode": "private",
            "Ulimits": [
                {"Name": "memlock", "Soft": 65_536, "Hard": 65_536},
                {"Name": "sigpending", "Soft": 5_000, "Hard": 5_000},
                {"Name": "msgqueue", "Soft": 819_200, "Hard": 819_200},
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": 350, "Hard": 350},
            ],
            "Mounts": [],
            "Tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=64m,mode=1777"},
            "Memory": 128 * MB,
            "MemorySwap": 128 * MB,
            "PidsLimit": 50,
        }

    def test_all_of_it_loosened(self) -> None:
        assert host_config(plan(cpus=1.5, **LOOSE)) == {
            "NetworkMode": "web",
            "ReadonlyRootfs": False,
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN"],
            "SecurityOpt": [],
            "Init": False,
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "IpcMode": "private",
            "Ulimits": [
                {"Name": "memlock", "Soft": 65_536, "Hard": 65_536},
                {"Name": "sigpending", "Soft": 5_000, "Hard": 5_000},
                {"Name": "msgqueue", "Soft": 819_200, "Hard": 819_200},
                {"Name": "core", "Soft": -1, "Hard": -1},
            ],
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/a",
                    "Target": "/b",
                    "ReadOnly": True,
                    "BindOptions": {"Propagation": "rprivate"},
                },
                {
                    "Type": "bind",
                    "Source": "/c",
                    "Target": "/d",
                    "ReadOnly": False,
                    "BindOptions": {"Propagation": "rprivate"},
                },
            ],
            "NanoCpus": 1_500_000_000,
        }

    def test_programs_in_tmp(self) -> None:
        config = host_config(plan(tmpfs=5, tmp_exec=True))
        assert config["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,exec,size=5m,mode=1777"}

    def test_a_shared_directory_is_mounted_behind_what_the_function_asks_for(self) -> None:
        asked, ours = host_config(plan(mounts=["/a:/b"], shared="/x/1/s"))["Mounts"]
        assert (asked["Source"], asked["Target"], asked["ReadOnly"]) == ("/a", "/b", True)
        assert (ours["Source"], ours["Target"], ours["ReadOnly"]) == ("/x/1/s", "/tmp/iofs", False)


class TestPodman:
    def test_the_strict_side(self) -> None:
        assert specification(plan(), {"nproc": 4096}) == {
            "image": "img",
            "command": ["run", "it"],
            "env": {"FN_MEMORY": "128", "PASSWORD": SECRET},
            "user": "1000:1000",
            "stdin": True,
            "terminal": False,
            "read_only_filesystem": True,
            "cap_drop": ["ALL"],
            "cap_add": [],
            "no_new_privileges": True,
            "init": True,
            "log_configuration": {"driver": "none"},
            "r_limits": [
                {"type": "nproc", "soft": 4096, "hard": 4096},
                {"type": "memlock", "soft": 65_536, "hard": 65_536},
                {"type": "sigpending", "soft": 5_000, "hard": 5_000},
                {"type": "msgqueue", "soft": 819_200, "hard": 819_200},
                {"type": "core", "soft": 0, "hard": 0},
                {"type": "nofile", "soft": 350, "hard": 350},
            ],
            "mounts": [
                {
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "destination": "/tmp",
                    "options": ["rw", "nosuid", "nodev", "noexec", "size=64m", "mode=1777"],
                }
            ],
            "resource_limits": {"memory": {"limit": 128 * MB, "swap": 128 * MB}, "pids": {"limit": 50}},
            "healthconfig": {"Test": ["NONE"]},
            "sdnotifyMode": "ignore",
            "pidns": {"nsmode": "private"},
            "ipcns": {"nsmode": "private"},
            "utsns": {"nsmode": "private"},
            "netns": {"nsmode": "none"},
        }

    def test_all_of_it_loosened(self) -> None:
        assert specification(plan(cpus=1.5, entrypoint=["sh"], cwd="/srv", **LOOSE), {}) == {
            "image": "img",
            "command": ["run", "it"],
            "entrypoint": ["sh"],
            "work_dir": "/srv",
            "env": {"PASSWORD": SECRET},
            "user": "1000:1000",
            "stdin": True,
            "terminal": False,
            "read_only_filesystem": False,
            "cap_drop": ["ALL"],
            "cap_add": ["CAP_CHOWN"],
            "no_new_privileges": False,
            "init": False,
            "log_configuration": {"driver": "none"},
            "r_limits": [
                {"type": "memlock", "soft": 65_536, "hard": 65_536},
                {"type": "sigpending", "soft": 5_000, "hard": 5_000},
                {"type": "msgqueue", "soft": 819_200, "hard": 819_200},
                {"type": "core", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1},
            ],
            "mounts": [
                {
                    "type": "bind",
                    "source": "/a",
                    "destination": "/b",
                    "options": ["rbind", "rprivate", "nosuid", "nodev", "ro"],
                },
                {
                    "type": "bind",
                    "source": "/c",
                    "destination": "/d",
                    "options": ["rbind", "rprivate", "nosuid", "nodev", "rw"],
                },
            ],
            "resource_limits": {"cpu": {"period": 100_000, "quota": 150_000}, "pids": {"limit": -1}},
            "healthconfig": {"Test": ["NONE"]},
            "sdnotifyMode": "ignore",
            "pidns": {"nsmode": "private"},
            "ipcns": {"nsmode": "private"},
            "utsns": {"nsmode": "private"},
            "netns": {"nsmode": "bridge"},
            "Networks": {"web": {}},
        }

    def test_a_shared_directory_is_mounted_into_tmp(self) -> None:
        ours, tmp = specification(plan(shared="/x/1/s"), {})["mounts"]
        assert (ours["source"], ours["destination"]) == ("/x/1/s", "/tmp/iofs")
        assert ours["options"] == ["rbind", "rprivate", "nosuid", "nodev", "noexec", "rw"]
        assert tmp["destination"] == "/tmp"


class TestSharing:
    def test_what_is_made_ahead_cannot_have_a_directory_that_is_made_later(self) -> None:
        spec = ContainerSpec(function="app/f", instance="", identity="0", image="img", shares=True)
        assert make_plan(spec, parse("docker", {"prepared": 3})).options.prepared == 0
        assert plan(prepared=3).options.prepared == 3

    @pytest.mark.parametrize("target", ["/tmp/iofs", "/tmp/iofs/below"])
    def test_nothing_else_may_be_mounted_there(self, target: str) -> None:
        endpoint = Endpoint.parse("docker", "unix:///run/sock", "test")
        with pytest.raises(DriverError, match=f"mounts has {target}, where copies of this function listen"):
            check_sharing(endpoint, parse("docker", {"mounts": [f"/a:{target}"]}))
        check_sharing(endpoint, parse("docker", {"mounts": ["/a:/tmp/iofs-of-another-kind"]}))

    @pytest.mark.parametrize("engine", ["docker", "podman"])
    def test_an_engine_that_may_be_elsewhere_cannot_share(self, engine: str) -> None:
        endpoint = Endpoint.parse(engine, "tcp://127.0.0.1:1", "test")
        with pytest.raises(DriverError, match=f"{engine} at tcp://127.0.0.1:1 may be on another machine") as failure:
            check_sharing(endpoint, parse(engine, {}))
        assert failure.value.status == 400

    def test_a_directory_that_is_gone_is_an_error_of_the_driver(self) -> None:
        with pytest.raises(DriverError, match="cannot open /no/such/place, where a copy is to listen: No such file"):
            open_up("/no/such/place")


class TestMemory:
    def test_b44_swap_is_within_the_limit_of_memory(self) -> None:
        config = host_config(plan(77))
        assert config["MemorySwap"] == config["Memory"] == 77 * MB
        resources = specification(plan(77), {})["resource_limits"]
        assert resources["memory"] == {"limit": 77 * MB, "swap": 77 * MB}

    @pytest.mark.parametrize(
        ("memory", "options", "limit"),
        [
            (None, {}, 128),
            (300, {}, 300),
            (300, {"memory": "unlimited"}, 300),
            (None, {"memory": "unlimited"}, None),
        ],
    )
    def test_w38_the_limit_is_the_function_s_own(
        self, memory: int | None, options: dict[str, Any], limit: int | None
    ) -> None:
        made = plan(memory, **options)
        assert made.memory == limit
        assert host_config(made).get("Memory") == (limit and limit * MB)

    @pytest.mark.parametrize(
        ("memory", "options", "size"),
        [
            (None, {}, 64),
            (6, {}, 3),
            (100, {}, 50),
            (1000, {}, 64),
            (None, {"memory": "unlimited"}, 64),
            (1000, {"tmpfs": 900}, 900),
            (100, {"tmpfs": 0}, 0),
        ],
    )
    def test_tmp_fits_into_the_memory(self, memory: int | None, options: dict[str, Any], size: int) -> None:
        assert plan(memory, **options).tmpfs == size
        check_memory(memory, parse("docker", options))

    @pytest.mark.parametrize(
        ("memory", "options", "says"),
        [
            (5, {}, "memory is 5 MB: no container starts with less than 6 MB"),
            (64, {"tmpfs": 65}, "tmpfs is 65 MB, more than memory, 64 MB"),
            (None, {"tmpfs": 129}, "tmpfs is 129 MB, more than memory, 128 MB"),
        ],
    )
    def test_too_little(self, memory: int | None, options: dict[str, Any], says: str) -> None:
        for driver in (DockerDriver(), PodmanDriver()):
            spec = FunctionSpec(name="f", driver=driver.name, image="i", memory=memory, driver_options=options)
            with pytest.raises(ConfigError, match=re.escape(says)):
                driver.validate(spec)

    @pytest.mark.parametrize(
        ("state", "suspect", "exit"),
        [
            (State(False, 0), 64, Exit(code=0)),
            (State(False, 137, oom=True), 64, Exit(code=137, oom=True)),
            (State(False, 5, oom=True), 64, Exit(code=5, oom=True)),
            (State(False, 137), 64, Exit(code=137, detail="as a program does that signal 9 has killed")),
            (State(False, 139, oom=None), 64, Exit(code=139, detail="as a program does that signal 11 has killed")),
            (State(False, 137, oom=None), None, Exit(code=137, detail="as a program does that signal 9 has killed")),
            (State(False, 5, oom=None), 64, Exit(code=5)),
            (
                State(False, 137, oom=None),
                64,
                Exit(
                    code=137,
                    detail="as a program does that signal 9 has killed; hotfn did not send it: it ran out of memory, "
                    "limit 64 MB, or somebody killed the container",
                ),
            ),
        ],
    )
    def test_what_a_killed_copy_died_of(self, state: State, suspect: int | None, exit: Exit) -> None:
        assert as_exit(state, suspect) == exit

    @pytest.mark.parametrize(
        ("mark", "counts", "told"),
        [
            (True, (None, None), True),
            (False, (None, True), True),
            (False, (True, None), True),
            (False, (False, None), False),
            (None, (None, False), False),
            (None, (None, None), None),
        ],
    )
    def test_what_one_of_them_saw_has_happened(
        self, mark: bool | None, counts: tuple[bool | None, ...], told: bool | None
    ) -> None:
        assert verdict(mark, *counts) is told

    @pytest.mark.parametrize("name", ["a/memory.events", "memory/a/memory.oom_control"])
    def test_the_kernel_s_count_tells_when_it_is_there(self, name: str, tmp_path: Path) -> None:
        assert oom_killed(["/a"], tmp_path) is None
        (tmp_path / name).parent.mkdir(parents=True)
        for text, told in [("oom_kill 0\n", False), ("oom 3\noom_kill 2\n", True), ("under_oom 0\n", None)]:
            (tmp_path / name).write_text(text)
            assert oom_killed(["/b", "/a"], tmp_path) is told


class TestMachine:
    ENGINE = About("1", "1", cpus=2)
    WEAK = About("1", "1", cpus=2, lacks=frozenset({"memory", "swap", "cpus", "pids"}))

    def test_what_it_can_give(self) -> None:
        check_machine(plan(cpus=2.0), self.ENGINE)
        check_machine(plan(cpus=100), About("1", "1"))  # it did not tell how many it has

    def test_more_than_it_has(self) -> None:
        with pytest.raises(DriverError, match=r"cpus is 2\.5, and the engine's machine has 2: lower cpus") as error:
            check_machine(plan(cpus=2.5), self.ENGINE)
        assert error.value.status == 400

    @pytest.mark.parametrize(
        ("asked", "says"),
        [
            ({"max_processes": "unlimited"}, "cannot limit memory.*set driver_options memory = "),
            ({"memory": "unlimited"}, "cannot limit the number of processes.*max_processes = "),
            ({"cpus": 1, "memory": "unlimited", "max_processes": "unlimited"}, "cannot limit cpus.*: set no cpus"),
        ],
    )
    def test_a_limit_that_nothing_would_enforce(self, asked: dict[str, Any], says: str) -> None:
        options = {key: value for key, value in asked.items() if key != "cpus"}

        def made(*, best_effort: bool) -> Plan:
            spec = ContainerSpec(
                function="a/f", instance="", identity="", cpus=asked.get("cpus"), best_effort=best_effort
            )
            return make_plan(spec, parse("docker", options))

        with pytest.raises(DriverError, match=says) as error:
            check_machine(made(best_effort=False), self.WEAK)
        assert error.value.status == 400
        check_machine(made(best_effort=True), self.WEAK)
        check_machine(made(best_effort=False), self.ENGINE)

    def test_nothing_asked_nothing_lacking(self) -> None:
        loose = make_plan(
            ContainerSpec(function="a/f", instance="", identity=""),
            parse("docker", {"memory": "unlimited", "max_processes": "unlimited"}),
        )
        check_machine(loose, self.WEAK)


class TestWhatAnEngineSaysOfItself:
    YES = MappingProxyType(
        dict.fromkeys(("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "PidsLimit"), True)
    )

    @pytest.mark.parametrize(
        ("info", "lacking"),
        [
            ({}, set()),
            ({"MemoryLimit": False}, {"memory"}),
            ({"SwapLimit": False}, {"swap"}),
            ({"CpuCfsQuota": False}, {"cpus"}),
            ({"PidsLimit": False}, {"pids"}),
            ({"CgroupDriver": "none"}, {"memory", "swap", "cpus", "pids"}),
        ],
    )
    def test_limits_of_docker(self, info: dict[str, Any], lacking: set[str]) -> None:
        assert docker_engine.lacks({**self.YES, **info}) == lacking

    @pytest.mark.parametrize(
        ("host", "lacking"),
        [
            ({"cgroupVersion": "v1"}, set()),
            ({"cgroupVersion": "v1", "security": {"rootless": True}}, {"memory", "swap", "cpus", "pids"}),
            ({"cgroupVersion": "v2", "cgroupControllers": ["memory", "pids"]}, {"cpus"}),
            ({"cgroupVersion": "v2", "cgroupControllers": ["cpu", "memory", "pids"]}, set()),
            ({"cgroupVersion": "v2", "cgroupControllers": None}, {"memory", "swap", "cpus", "pids"}),
        ],
    )
    def test_limits_of_podman(self, host: dict[str, Any], lacking: set[str]) -> None:
        assert podman_engine.lacks({"host": host}) == lacking

    def test_what_matters_for_safety_is_told(self) -> None:
        good = {"CgroupVersion": "2", "Driver": "overlay2", "SecurityOptions": ["name=seccomp,profile=default"]}
        assert list(docker_engine.detail(good)) == ["cgroup v2", "overlay2"]
        bad = {"Driver": "vfs", "SecurityOptions": ["name=rootless"], "SwapLimit": False}
        assert list(docker_engine.detail(bad)) == [
            "cgroup v1",
            "vfs",
            "no seccomp filter",
            "rootless",
            "no limit of swap: its kernel has none, so memory does not bound swap",
        ]
        host = {"cgroupVersion": "v2", "ociRuntime": {"name": "crun"}, "security": {"seccompEnabled": True}}
        assert list(podman_engine.detail({"host": host})) == ["cgroup v2", "crun"]
        host = {"cgroupVersion": "v1", "security": {"seccompEnabled": False, "rootless": True}}
        assert list(podman_engine.detail({"host": host})) == ["cgroup v1", "", "no seccomp filter", "rootless"]


class TestKey:
    def test_a_secret_is_not_in_it_nor_in_the_repr(self) -> None:
        assert re.fullmatch("[0-9a-f]{64}", plan().key())
        assert SECRET not in repr(plan())

    def test_whatever_differs_is_in_it(self) -> None:
        made = [plan(), plan(64), plan(cpus=1), plan(user="5"), plan(network="web"), plan(tmpfs=1)]
        assert len({one.key() for one in made}) == len(made)
        assert plan().key() == plan().key()


class TestConfinement:
    @pytest.mark.parametrize("driver", [DockerDriver(), PodmanDriver()], ids=["docker", "podman"])
    def test_the_strict_side(self, driver: DockerDriver | PodmanDriver) -> None:
        assert driver.confinement(FunctionSpec(name="f", driver=driver.name, image="i")) == [
            "memory 128 MB, swap included",
            "network none",
            "root read-only",
            "/tmp 64 MB",
            "user 1000:1000",
            "capabilities none",
            "no new privileges",
            "processes and threads 50",
            "open files 350",
            "memlock 65536",
            "sigpending 5000",
            "msgqueue 819200",
            "core 0",
        ]

    def test_all_of_it_loosened(self) -> None:
        options = LOOSE | {"network": ["web", "back"], "user": 0, "volumes": True}
        spec = FunctionSpec(name="f", driver="docker", image="i", driver_options=options)
        assert DockerDriver().confinement(spec) == [
            "memory unlimited",
            "network web or back",
            "root writable",
            "no /tmp of its own",
            "user 0:0",
            "capabilities CHOWN",
            "new privileges possible",
            "processes and threads unlimited",
            "open files as the engine has it",
            "memlock 65536",
            "sigpending 5000",
            "msgqueue 819200",
            "core unlimited",
            "no init process",
            "volumes of the image",
            "sees /a at /b",
            "sees /c at /d, writable",
        ]

    def test_memory_that_the_function_names_is_told_elsewhere(self) -> None:
        spec = FunctionSpec(name="f", driver="docker", image="i", memory=20, driver_options={"tmp_exec": True})
        told = DockerDriver().confinement(spec)
        assert told[0] == "network none"
        assert "/tmp 10 MB, programs in it may run" in told


class TestNetworks:
    def test_the_least_used_one_is_chosen(self) -> None:
        networks, names = Networks(), ("a", "b", "c")
        chosen = [networks.choose(names) for _ in range(6)]
        assert chosen == ["a", "b", "c", "a", "b", "c"]
        for number, name in enumerate(chosen):
            networks.joined(str(number), name)
        networks.left("1")
        networks.left("1")
        assert networks.choose(names) == "b"
        networks.unused("b")
        networks.left("4")
        assert [networks.choose(names) for _ in range(3)] == ["b", "b", "a"]

    def test_what_left_is_forgotten(self) -> None:
        networks = Networks()
        networks.joined("x", networks.choose(["a"]))
        networks.left("x")
        assert vars(networks) == vars(Networks())
