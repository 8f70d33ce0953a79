"""The protocol `default`: the environment it gives, and what it makes of stdout and the exit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from hotfn_core import Call, Connection, Exit, FunctionSpec, Limits, LocalProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyBody, ReplyEnd, ReplyHead
from hotfn_protocols.default import MAX_ENVIRONMENT, MAX_VARIABLE, DefaultProtocol

EXPIRES = 1517331159.786
CALL = Call("123", b"hello", (("x-a", "b"),), "PUT", "http://h/r/myapp/hot?x=1", "text/plain")


def environment(call: Call) -> dict[str, str]:
    return dict(DefaultProtocol().call_environment(call, EXPIRES))


def connect(limits: Limits = Limits()) -> Connection:
    return DefaultProtocol().connect(limits)


class TestEnvironment:
    def test_golden(self) -> None:
        assert environment(CALL) == {
            "FN_METHOD": "PUT",
            "FN_REQUEST_URL": "http://h/r/myapp/hot?x=1",
            "FN_CALL_ID": "123",
            "FN_DEADLINE": "2018-01-30T16:52:39.786Z",
            "FN_HEADER_Content-Type": "text/plain",
            "FN_HEADER_X-A": "b",
        }

    def test_values_of_one_name_are_joined(self) -> None:
        env = environment(CALL._replace(headers=(("x-a", "1"), ("B", "2"), ("X-A", "3, 4"), ("X-a", "5"))))
        assert (env["FN_HEADER_X-A"], env["FN_HEADER_B"]) == ("1, 3, 4, 5", "2")

    def test_the_url_is_full(self) -> None:
        assert environment(CALL._replace(url="/a?b"))["FN_REQUEST_URL"] == "http://localhost/a?b"

    def test_hop_by_hop_and_reserved_headers_stay_out(self) -> None:
        names = ("Connection", "Host", "Content-Length", "Fn_call_id", "Fn-Deadline", "Task-ID", "Te", "Upgrade")
        env = environment(CALL._replace(headers=tuple((name, "evil") for name in names)))
        assert "evil" not in env.values()

    def test_no_header_reaches_another_variable_than_its_own(self) -> None:
        names = ("FN_PATH", "FN_FORMAT", "PATH", "LD_PRELOAD", "FN_HEADER_X")
        env = environment(CALL._replace(headers=tuple((name, "evil") for name in names)))
        assert sorted(name for name, value in env.items() if value == "evil") == [
            "FN_HEADER_Ld_preload",
            "FN_HEADER_Path",
        ]

    def test_nothing_is_added_for_every_copy(self) -> None:
        spec = FunctionSpec(name="x", command=("true",))
        assert DefaultProtocol().environment(spec) == {}

    @pytest.mark.parametrize(
        "change",
        [{"id": "\n"}, {"method": "A B"}, {"url": "a b"}, {"headers": (("X", "a\0b"),)}, {"headers": (("A=B", "x"),)}],
        ids=str,
    )  # fmt: skip
    def test_what_cannot_be_carried_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(LocalProtocolError):
            environment(CALL._replace(**change))

    def test_a_variable_of_exactly_the_limit_passes(self) -> None:
        room = MAX_VARIABLE - len("FN_HEADER_X=\0")
        assert len(environment(CALL._replace(headers=(("X", "y" * room),)))["FN_HEADER_X"]) == room
        with pytest.raises(
            LocalProtocolError, match=r"FN_HEADER_X takes 131072 bytes, more than 131071; .* format http"
        ):
            environment(CALL._replace(headers=(("X", "y" * (room + 1)),)))

    def test_the_sum_is_bounded(self) -> None:
        headers = tuple((f"X-{i}", "y" * 100_000) for i in range(6))
        assert environment(CALL._replace(headers=headers[:5]))
        with pytest.raises(LocalProtocolError, match=f"more than {MAX_ENVIRONMENT}"):
            environment(CALL._replace(headers=headers))
        with pytest.raises(LocalProtocolError, match="all of them together"):
            environment(CALL._replace(headers=tuple((f"X-{i}", "\u20ac" * 40_000) for i in range(5))))

    def test_linux_takes_as_much(self) -> None:
        headers = tuple((f"X-{i}", "y" * (MAX_VARIABLE - 15)) for i in range(3))
        env = environment(CALL._replace(headers=(*headers, ("X-9", "z" * 100_000))))
        script = "import os; print(sum(len(k) + len(v) + 2 for k, v in os.environ.items() if k.startswith('FN_')))"
        told = subprocess.run([sys.executable, "-c", script], env=os.environ | env, capture_output=True, check=True)
        assert int(told.stdout) == sum(len(name) + len(value) + 2 for name, value in env.items())


class TestReply:
    def test_stdin_is_the_body(self) -> None:
        assert connect().encode(CALL._replace(body=b"\0\xff\n"), EXPIRES) == b"\0\xff\n"

    def test_exit_0_makes_stdout_the_body_of_a_200(self) -> None:
        connection = connect()
        assert (connection.receive(b"hel\0"), connection.receive(b"lo\n")) == ((), ())
        assert connection.receive_eof(Exit(code=0)) == [
            ReplyHead(200, ()),
            ReplyBody(b"hel\0lo\n"),
            ReplyEnd(reusable=False),
        ]

    def test_an_empty_stdout_is_an_empty_body(self) -> None:
        assert connect().receive_eof(Exit(code=0)) == [ReplyHead(200, ()), ReplyEnd(reusable=False)]

    @pytest.mark.parametrize(
        "exit", [Exit(code=1), Exit(code=137, oom=True), Exit(signal=9), Exit(), Exit(code=0, oom=True), Exit(0, 15)]
    )
    def test_any_other_end_is_no_reply(self, exit: Exit) -> None:
        connection = connect()
        connection.receive(b"half an ans")
        assert connection.receive_eof(exit) == ()

    def test_a_body_of_exactly_the_limit_passes(self) -> None:
        connection = connect(Limits(max_body=5))
        connection.receive(b"hel")
        connection.receive(b"lo")
        assert connection.receive_eof(Exit(code=0))[1] == ReplyBody(b"hello")
        with pytest.raises(ReplyTooLarge, match="more than 5 bytes"):
            connection.receive(b"!")
