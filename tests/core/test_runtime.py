"""Who a hotfn process is, and what became of one that left its labels behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import runtime
from hotfn_core.runtime import Machine, Runtime, fate

HERE = Machine.here()
NAMES = {"runtime", "host", "boot", "pid", "started", "pidns"}


def machine(processes: dict[int, int | None], host: str = "h", boot: str = "b", pidns: str = "1") -> Machine:
    return Machine(host, boot, pidns, processes.get)


def labels(pid: str = "7", started: str = "100", **others: str) -> dict[str, str]:
    return {"runtime": "r", "host": "h", "boot": "b", "pid": pid, "started": started, "pidns": "1"} | others


def labels_of(pid: int, started: int) -> dict[str, str]:
    """The labels of a process of this machine."""
    return Runtime.current().as_labels() | {"pid": str(pid), "started": str(started)}


class TestFate:
    @pytest.mark.parametrize(
        ("found", "processes", "expected"),
        [
            (labels(), {7: 100}, "alive"),
            (labels(), {}, "dead"),
            (labels(), {7: None}, "dead"),  # a zombie
            (labels(), {7: 101}, "dead"),  # its pid is another's by now
            (labels(boot="earlier"), {7: 100}, "dead"),
            (labels(boot="earlier", pidns="2"), {7: 100}, "dead"),
            (labels(pidns="2"), {}, "unknown"),
            (labels(host="other"), {}, "unknown"),
            (labels(host="other", boot="earlier"), {}, "unknown"),
            ({}, {}, "unknown"),
            (None, {}, "unknown"),
        ],
    )
    def test_what_is_told_from_what(
        self, found: dict[str, str] | None, processes: dict[int, int | None], expected: str
    ) -> None:
        assert fate(found, machine(processes)) == expected

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_nothing_may_be_missing(self, name: str) -> None:
        found = labels()
        del found[name]
        assert fate(found, machine({})) == "unknown"
        assert fate(found | {name: ""}, machine({})) == "unknown"

    @pytest.mark.parametrize("pid", ["0", "-1", "x", "7.0", " 7", "\u0667", "4194305", "9" * 5000])
    def test_a_pid_that_is_none(self, pid: str) -> None:
        assert fate(labels(pid=pid), machine({})) == "unknown"

    @pytest.mark.parametrize("started", ["-1", "x", "1e3", "9" * 21])
    def test_a_start_that_is_none(self, started: str) -> None:
        assert fate(labels(started=started), machine({})) == "unknown"

    def test_a_process_that_cannot_be_looked_at(self) -> None:
        def hidden(pid: int) -> int | None:
            raise PermissionError(pid)

        assert fate(labels(), Machine("h", "b", "1", hidden)) == "unknown"

    def test_on_a_machine_that_tells_nothing(self) -> None:
        assert fate(labels(), machine({}, boot="")) == "unknown"
        assert fate(labels(), machine({}, host="")) == "unknown"
        assert fate(labels(), machine({}, pidns="")) == "unknown"

    def test_other_labels_are_not_looked_at(self) -> None:
        assert fate(labels(app="x"), machine({})) == "dead"

    @given(st.dictionaries(st.sampled_from([*sorted(NAMES), "x"]), st.text() | st.none() | st.integers() | st.binary()))
    def test_damaged_labels_never_raise_and_remove_nothing(self, damage: dict[str, object]) -> None:
        assert fate(damage) == "unknown"
        if set(damage) & NAMES:
            good: dict[str, object] = {**labels()}
            assert fate(good | damage, machine({7: 100})) in {"alive", "dead", "unknown"}

    @given(
        st.fixed_dictionaries({name: st.sampled_from(["1", "2", "x", ""]) for name in sorted(NAMES)}),
        st.dictionaries(st.integers(1, 2), st.none() | st.integers(1, 2)),
        st.sampled_from(["1", "2", ""]),
    )
    def test_dead_only_for_a_reason(self, found: dict[str, str], processes: dict[int, int | None], pidns: str) -> None:
        verdict = fate(found, machine(processes, host="1", boot="1", pidns=pidns))
        whole = "" not in found.values() and {found["pid"], found["started"]} <= {"1", "2"}
        ours = whole and found["host"] == "1"
        judged = ours and found["boot"] == "1" and found["pidns"] == pidns
        lives = judged and processes.get(int(found["pid"])) == int(found["started"])
        assert (verdict == "alive") == lives
        assert (verdict == "dead") == (ours and not lives and (judged or found["boot"] != "1"))


class TestThisProcess:
    def test_it_is_alive_and_always_the_same(self) -> None:
        me = Runtime.current()
        assert me is Runtime.current()
        assert set(me.as_labels()) == NAMES
        assert {type(value) for value in me.as_labels().values()} == {str}
        assert (me.pid, me.boot, me.host, me.pidns) == (os.getpid(), HERE.boot, HERE.host, HERE.pidns)
        assert fate(me.as_labels()) == "alive"

    def test_the_machine_id_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secret = "0123456789abcdef0123456789abcdef"
        monkeypatch.setattr(runtime, "_text", lambda path: secret)
        host = Machine.here().host
        assert len(host) == 16
        assert host not in secret

    def test_without_a_machine_id_an_earlier_boot_is_another_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def hosts(**texts: str) -> str:
            monkeypatch.setattr(runtime, "_text", lambda path: texts.get(Path(path).name.replace("-", "_"), ""))
            return Machine.here().host

        assert hosts(machine_id="m", boot_id="1") == hosts(machine_id="m", boot_id="2")
        assert hosts(machine_id="m", boot_id="1") != hosts(machine_id="n", boot_id="1")
        assert hosts(boot_id="1") != hosts(boot_id="2")
        assert hosts(boot_id="1") == hosts(boot_id="1")

    def test_threads_agree_on_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime, "_known", {})
        gate = threading.Barrier(8)
        found: list[Runtime] = []

        def look() -> None:
            gate.wait()
            found.append(Runtime.current())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({one.runtime for one in found}) == 1

    def test_a_fork_is_another(self) -> None:
        script = (
            "import os; from hotfn_core.runtime import Runtime, fate\n"
            "parent = Runtime.current(); child = os.fork()\n"
            "if not child:\n"
            "    me = Runtime.current()\n"
            "    right = me.runtime != parent.runtime and me.pid == os.getpid() and me.host == parent.host\n"
            "    os._exit(0 if right and fate(me.as_labels()) == fate(parent.as_labels()) == 'alive' else 1)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "assert Runtime.current() is parent\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

    def test_without_proc_its_fate_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def gone(*arguments: object, **options: object) -> None:
            raise FileNotFoundError

        monkeypatch.setattr(runtime, "_known", {})
        for method in ("read_text", "read_bytes", "readlink"):
            monkeypatch.setattr(Path, method, gone)
        assert fate(Runtime.current().as_labels()) == "unknown"

    def test_where_proc_is_that_of_another_pid_namespace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime, "_known", {})
        monkeypatch.setattr(os, "getpid", lambda: 1)
        assert Machine.here().pidns == ""
        assert fate(Runtime.current().as_labels()) == "unknown"


class TestRealProcesses:
    @pytest.fixture
    def process(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE)

    def test_from_its_life_to_its_end(self, process: subprocess.Popen[bytes]) -> None:
        started = HERE.started(process.pid)
        assert started is not None
        mark = labels_of(process.pid, started)
        assert fate(mark) == "alive"
        assert fate(labels_of(process.pid, started - 1)) == "dead"  # whose pid it has got
        process.kill()
        end = time.monotonic() + 10
        while HERE.started(process.pid) is not None:
            assert time.monotonic() < end
        assert Path(f"/proc/{process.pid}").exists()  # a zombie until we wait for it
        assert fate(mark) == "dead"
        process.communicate()
        assert fate(mark) == "dead"

    def test_one_of_another_program_that_dies(self) -> None:
        script = "from hotfn_core.runtime import Runtime; import json; print(json.dumps(Runtime.current().as_labels()))"
        mark = json.loads(subprocess.check_output([sys.executable, "-c", script], timeout=60))
        assert mark["host"] == HERE.host
        assert fate(mark) == "dead"

    def test_one_that_proc_hides_is_not_taken_for_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(process: str) -> tuple[int, bytes, int]:
            raise FileNotFoundError(process)

        me = Runtime.current().as_labels()
        machine = Machine.here()
        monkeypatch.setattr(runtime, "_stat", nothing)
        assert fate(me, machine) == "unknown"
