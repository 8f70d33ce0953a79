"""Real programs, called through the real driver and the real protocols."""

from __future__ import annotations

import asyncio
import json

import pytest

from hotfn_core import FunctionSpec, InvalidCall, Manager

from .conftest import Run, script, scripted

HOT = ["http", "json", "cloudevent"]


@pytest.mark.parametrize("wire", HOT)
def test_one_copy_serves_call_after_call(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire)
            first = await manager.call(spec, script())
            second = await manager.call(spec, script())
        assert (first.cold, first.cold_reason, second.cold) == (True, "first", False)
        assert first.instance == second.instance
        assert [json.loads(reply.body)["calls"] for reply in (first, second)] == [1, 2]
        assert json.loads(first.body)["pid"] == json.loads(second.body)["pid"]
        assert first.started > second.started == 0 < second.ran

    run(main())


def test_w15_status_and_headers_of_the_function_pass_through(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in HOT:
                body = script(status=418, headers={"X-Kettle": ["one", "two"]}, body="short and stout")
                reply = await manager.call(scripted(wire), body)
                assert reply.status == 418
                assert reply.headers.get_all("x-kettle") == ["one", "two"]
                assert reply.body == b"short and stout"

    run(main())


def test_w16_method_and_url_arrive_as_they_were(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in HOT:
                reply = await manager.call(
                    scripted(wire, env={"SECRET_CONFIG": "blue"}),
                    script(report=["request"]),
                    method="PUT",
                    url="/a?b=c",
                )
                request = json.loads(reply.body)["request"]
                assert request["method"] == "PUT"
                assert request["url"].endswith("/a?b=c")
                assert "blue" not in reply.body.decode()  # the configuration is not sent as headers

    run(main())


def test_w19_one_callers_headers_never_reach_the_next_callers_environment(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in HOT:
                spec = scripted(wire)
                await manager.call(spec, script(), headers={"X-Token": "first-callers-secret"})
                reply = await manager.call(spec, script(report=["env", "request"]))
                assert b"first-callers-secret" not in reply.body

    run(main())


def test_a_cold_function_has_the_call_in_its_environment(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted("default", env={"FN_FORMAT": "mine", "FN_METHOD": "mine", "KEPT": "mine"})
            reply = await manager.call(
                spec, script(report=["env"]), method="PUT", url="/x?y=z", headers={"x-one": "1", "FN_PATH": "leak"}
            )
        env = json.loads(reply.body)["env"]
        assert (env["FN_FORMAT"], env["FN_METHOD"], env["KEPT"]) == ("default", "PUT", "mine")
        assert env["FN_CALL_ID"] == reply.call_id
        assert env["FN_HEADER_X-One"] == "1"
        assert env["FN_REQUEST_URL"].endswith("/x?y=z")
        assert env["FN_PATH"] == "/guest"  # a header of that name does not leak into it
        assert (env["FN_APP_NAME"], env["FN_TYPE"]) == ("default", "sync")

    run(main())


def test_a_cold_function_may_answer_without_reading_its_input(run: Run) -> None:
    """It can be faster than the call that is written to it: that is an answer all the same."""

    async def main() -> None:
        async with Manager() as manager:
            spec = FunctionSpec(name="hello", command=("echo", "hello"), max_concurrency=4)
            replies = await asyncio.gather(*[manager.call(spec, b"x" * 100_000) for _ in range(40)])
        assert {reply.body for reply in replies} == {b"hello\n"}

    run(main())


@pytest.mark.parametrize("wire", ["default", *HOT])
def test_bodies_arrive_and_return_whole(run: Run, wire: str) -> None:
    bodies = [b"", b"plain", "grüße, 世界 🎈".encode(), b"\n\n", b'{"not": "a script"', b"x" * 1_048_576]
    if wire in {"default", "http"}:
        bodies += [bytes(range(256)) * 40, b"\xff\xfe", b"\0"]

    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire)
            for body in bodies:
                assert (await manager.call(spec, body, content_type="text/plain")).body == body

    run(main())


def test_an_event_goes_in_and_an_event_comes_out(run: Run) -> None:
    event = {"eventID": "7", "source": "/orders", "mine": 1, "data": {"status": 202, "report": ["request"]}}

    async def main() -> None:
        async with Manager() as manager:
            kind = "application/cloudevents+json"
            reply = await manager.call(scripted("cloudevent"), json.dumps(event).encode(), content_type=kind)
            plain = await manager.call(scripted("cloudevent"), b"hello", content_type="text/plain")
        assert (reply.status, reply.headers["content-type"]) == (202, kind)
        answer = json.loads(reply.body)
        assert json.loads(answer["data"])["request"]["id"] == "7"
        assert answer["extensions"] == {"protocol": {"status_code": 202, "headers": {}}}
        assert (plain.body, plain.instance) == (b"hello", reply.instance)

    run(main())


@pytest.mark.parametrize("wire", ["json", "cloudevent"])
def test_a_text_format_refuses_what_it_would_damage(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire)
            before = await manager.call(spec, script())
            with pytest.raises(InvalidCall, match="http"):
                await manager.call(spec, b"\xff\xfe")
            after = await manager.call(spec, script())
        assert before.instance == after.instance  # nothing was written, the copy is as good as before

    run(main())


def test_copies_are_added_while_calls_wait_and_only_then(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(max_concurrency=4)
            for _ in range(20):  # one after another: one copy
                await manager.call(spec, script())
            assert manager.stats()["default/guest"].launched == 1
            replies = await asyncio.gather(*[manager.call(spec, script(sleep=0.3)) for _ in range(4)])
            assert len({reply.instance for reply in replies}) == 4
            assert manager.stats()["default/guest"].launched == 4

    run(main())
