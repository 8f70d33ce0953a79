"""Functions of kits and servers that nobody here wrote, kept hot. kits.py has what each of them can do and cannot.

Where one cannot, the test holds what its caller gets, and in every case that nobody gets another call's answer: each
test ends with calls that must get their own.
"""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import BadReply, CallFailed, CallTimeout, InstanceExited, InvalidCall, Reply

from .conftest import Function, Run
from .kits import KITS, Kit

EVERY_BYTE = bytes(range(256))
UNICODE = '\u00fc\u00df \u20ac \u65e5\u672c \U0001f600 it\'s "so" <&> \\ \u2028 end'


def test_status_and_headers(run: Run) -> None:
    async def test(function: Function) -> None:
        reply = await function.call("status")
        assert (reply.status, function.text(reply)) == (418, "short and stout")
        assert reply.headers["X-Custom"] == "one"
        assert reply.headers.get_all("Content-Type") == ["text/plain; charset=utf-8"]
        assert reply.headers.get("Content-Length") in (None, str(len(reply.body)))  # some kits count characters
        await function.echo()

    run(test)


def test_headers_of_the_call(run: Run, kit: Kit) -> None:
    async def test(function: Function) -> None:
        for token in ("one", "two"):
            reply = await function.call("token", headers={"X-Token": token})
            assert function.text(reply) == (token if kit.headers_arrive else "None")

    run(test)


def test_an_exception(run: Run, kit: Kit) -> None:
    async def test(function: Function) -> None:
        before = await function.echo()
        if kit.error_code:
            with pytest.raises(CallFailed, match="boom") as caught:  # its last words on stderr
                await function.call("raise", b"boom")
            assert caught.value.code == kit.error_code
            assert (await function.echo()).cold_reason == "after_failure"
            return
        reply = await function.call("raise", b"boom")
        assert (reply.status, reply.body.decode()) == (kit.error_status, kit.error)
        assert (await function.echo()).instance == before.instance

    run(test)


def test_an_empty_reply_and_an_empty_call(run: Run) -> None:
    async def test(function: Function) -> None:
        before = await function.echo()
        for _ in range(3):
            assert is_empty(function, await function.call("empty"))
            assert is_empty(function, await function.manager.call(function.spec, b""))
            assert (await function.echo()).instance == before.instance

    run(test)


def is_empty(function: Function, reply: Reply) -> bool:
    return (reply.status, function.text(reply)) == (200, "")


def test_a_call_of_any_bytes(run: Run, kit: Kit) -> None:
    async def test(function: Function) -> None:
        await function.echo()
        if kit.text_only:
            with pytest.raises(InvalidCall, match="not valid UTF-8"):
                await function.call("echo", EVERY_BYTE)
        elif kit.bytes_out == "whole":
            assert (await function.call("echo", EVERY_BYTE)).body == EVERY_BYTE
        assert (await function.echo()).cold is False

    run(test)


def test_a_reply_of_any_bytes(run: Run, kit: Kit) -> None:
    async def test(function: Function) -> None:
        await function.echo()
        if kit.bytes_out == "exit":
            with pytest.raises(InstanceExited, match="UTF-8"):
                await function.call("bytes")
            assert (await function.echo()).cold_reason == "after_failure"
            return
        reply = await function.call("bytes")
        if kit.bytes_out == "error":
            assert reply.status == 500
            assert b"'utf-8' codec can't decode byte 0x80" in reply.body
        elif kit.bytes_out == "replaced":
            assert (reply.status, reply.body.decode()) == (200, "\0\ufffd\x7f")
        else:
            assert (reply.status, reply.body) == (200, EVERY_BYTE)
        assert (await function.echo()).cold is False

    run(test)


def test_unicode(run: Run) -> None:
    async def test(function: Function) -> None:
        for text in (UNICODE, "\u00e9", UNICODE * 20):
            await function.echo(text)

    run(test)


KB = 1000
ONE_PIECE, PIECES, LARGE = 60 * KB, 100 * KB, 1024 * 1024  # 60 kB fit into a pipe, whatever the format adds


@pytest.mark.parametrize(
    ("kit", "size"),
    [
        pytest.param(kit, size, id=f"{kit.name}-{size // KB}_kB")
        for kit in KITS
        for size in (ONE_PIECE, PIECES, LARGE)
        if kit.large != "slow" or size < LARGE
    ],
    indirect=["kit"],
)
def test_a_large_body(run: Run, kit: Kit, size: int) -> None:
    async def test(function: Function) -> None:
        if kit.large == "error" and size > ONE_PIECE:
            await answered_in_pieces(function, b"x" * size)
        else:
            await function.echo("0123456789abcdef" * (size // 16))
            assert (await function.echo()).cold is False

    run(test)


async def answered_in_pieces(function: Function, body: bytes) -> None:
    """The kit answers every piece with an error. Only the first is the call's reply; no other reaches anyone.

    100 kB may be there in one piece, when the kit looks late; a megabyte never is.
    """
    for _ in range(5):
        await function.echo()
        reply, *waiting = await asyncio.gather(function.call("echo", body), *[function.echo() for _ in range(3)])
        assert reply.cold is False
        if reply.status == 200 and len(body) < LARGE:
            assert function.text(reply).encode() == body
            continue
        assert (reply.status, reply.body[:21]) == (500, b'{"error":{"message":"')
        # The other answers came in the same read as the first, or were not read at all.
        assert waiting[0].cold_reason in ("after_failure", "recycled")


@pytest.mark.slow  # seconds: each byte is appended to the bytes before it
@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.large == "slow"], ids=lambda kit: kit.name, indirect=True)
def test_a_quarter_of_a_megabyte(run: Run) -> None:
    async def test(function: Function) -> None:
        await function.echo("0123456789abcdef" * (256 * 1024 // 16))
        await function.echo()

    run(test, timeout=60)


def test_a_hundred_calls_on_one_copy(run: Run) -> None:
    async def test(function: Function) -> None:
        replies = [await function.echo(f"number {number} " * (number % 7)) for number in range(1, 101)]
        assert len({reply.instance for reply in replies}) == 1
        assert [reply.cold for reply in replies] == [True] + [False] * 99

    run(test)


def test_many_callers_of_two_copies(run: Run) -> None:
    async def test(function: Function) -> None:
        replies = await asyncio.gather(*[function.echo(f"caller {number}") for number in range(1, 41)])
        assert len({reply.instance for reply in replies}) <= 2

    run(test, max_concurrency=2)


def test_a_stray_print(run: Run, kit: Kit) -> None:
    async def test(function: Function) -> None:
        for _ in range(2):
            await function.echo()
            if kit.stray == "harmless":
                assert function.text(await function.call("print", b"and the reply")) == "and the reply"
                continue
            with pytest.raises(BadReply, match="a stray line"):
                await function.call("print", b"and the reply")
            assert (await function.echo()).cold_reason == "after_failure"

    run(test)


def test_a_stray_print_with_calls_waiting(run: Run, kit: Kit) -> None:
    """The copy is out of step; those who wait for it are served by another, each with its own answer."""

    async def test(function: Function) -> None:
        await function.echo()
        results = await asyncio.gather(
            function.call("print", b"and the reply"), *[function.echo() for _ in range(5)], return_exceptions=True
        )
        assert isinstance(results[0], BadReply if kit.stray == "bad reply" else Reply)
        assert all(isinstance(result, Reply) for result in results[1:]), results

    run(test)


def test_a_function_that_is_too_slow(run: Run, kit: Kit) -> None:
    """The kits that set an alarm do so in whole seconds, rounded down: after one of 1.9."""

    async def test(function: Function) -> None:
        await function.echo()
        if kit.alarm:
            reply = await function.call("sleep", b"60", deadline=function.soon())
            assert (reply.status, b"timed out" in reply.body) == (502, True)
        else:
            with pytest.raises(CallTimeout):
                await function.call("sleep", b"60", deadline=function.soon())
        await function.echo()

    run(test)


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.rings_idle], ids=lambda kit: kit.name, indirect=True)
def test_an_alarm_that_nobody_takes_back(run: Run) -> None:
    """It ends the copy while it is idle, which is nothing worse than a cold start."""

    async def test(function: Function) -> None:
        await function.echo()
        await function.echo(deadline=function.soon())
        async with asyncio.timeout(60):
            while function.manager.stats()["default/real"].idle:  # noqa: ASYNC110  # the kernel sets no event for us
                await asyncio.sleep(0.05)
        assert (await function.echo()).cold is True

    run(test)


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.name == "jq"], ids=lambda kit: kit.name, indirect=True)
def test_a_jq_program_that_does_not_catch_an_error(run: Run) -> None:
    """jq says so on stderr and goes on with the next call: this one has no reply."""

    async def test(function: Function) -> None:
        await function.echo()
        with pytest.raises(CallTimeout, match="boom"):
            await function.call("uncaught", b"boom", deadline=function.soon(1))
        await function.echo()

    run(test)
