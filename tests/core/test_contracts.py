"""What a plugin gets for nothing: the defaults of the contracts, and what they insist on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence

import pytest

from hotfn_core import (
    Call,
    Connection,
    Container,
    ContainerSpec,
    Driver,
    Event,
    Exit,
    FunctionSpec,
    IOProtocol,
    Limits,
    Receiver,
    ReplyEnd,
    hookspecs,
)
from hotfn_core.testing import FakeProtocol


class BareConnection(Connection):
    def encode(self, call: Call, expires: float) -> bytes:
        return call.body

    def receive(self, data: bytes) -> Sequence[Event]:
        return ()

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return ()


class BareProtocol(IOProtocol):
    name = "bare"

    def connect(self, limits: Limits) -> Connection:
        return BareConnection()


class BareContainer(Container):
    id = "1"
    writable = True

    def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def stop(self, grace: float) -> None: ...


class BareDriver(Driver):
    name = "bare"

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        return BareContainer()


SPEC = FunctionSpec(name="f", command=("cat",))


def test_a_protocol_is_hot_and_adds_nothing_to_the_environment() -> None:
    protocol = BareProtocol()
    assert protocol.hot
    assert protocol.environment(SPEC) == {}
    assert protocol.call_environment(Call("c1"), 0.0) == {}


def test_a_driver_enforces_no_limit_and_needs_no_engine() -> None:
    async def life() -> int:
        driver = BareDriver()
        assert driver.enforces == frozenset()
        await driver.open()
        driver.validate(SPEC)
        assert (driver.describe(), driver.confinement(SPEC)) == ("", ())
        swept = await driver.sweep()
        await driver.aclose()
        return swept

    assert asyncio.run(life()) == 0


@pytest.mark.parametrize("method", ["freeze", "thaw"])
def test_a_container_that_cannot_be_frozen_says_so(method: str) -> None:
    with pytest.raises(NotImplementedError, match="BareContainer cannot " + method):
        asyncio.run(getattr(BareContainer(), method)())


@pytest.mark.parametrize("contract", [Driver, Container, IOProtocol, Connection], ids=lambda kind: kind.__name__)
def test_half_a_plugin_cannot_be_made(contract: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        contract()


@pytest.mark.parametrize("contract", [Driver, Container, IOProtocol, Connection], ids=lambda kind: kind.__name__)
def test_every_method_of_a_contract_says_what_it_must_do(contract: type) -> None:
    public = {name: thing for name, thing in vars(contract).items() if not name.startswith("_")}
    methods = {name: thing for name, thing in public.items() if callable(thing) or isinstance(thing, property)}
    assert [name for name, thing in methods.items() if not inspect.getdoc(thing)] == []


def test_a_driver_fits_on_a_screen() -> None:
    assert len([name for name in vars(Driver) if not name.startswith("_")]) <= 11


def test_the_environment_of_a_container_is_in_no_repr() -> None:
    spec = ContainerSpec(function="a/f", instance="i1", identity="0", env={"T": "hunter2"}, options={"t": "hunter2"})
    assert "hunter2" not in repr(spec)


def test_a_reply_can_be_reused_unless_it_says_otherwise() -> None:
    assert ReplyEnd() == (True, 0, False)


@pytest.mark.parametrize("hook", [hookspecs.hotfn_register_drivers, hookspecs.hotfn_register_protocols])
def test_a_registering_hook_returns_something_when_it_is_carried_out(hook: object) -> None:
    with pytest.raises(NotImplementedError):
        hook()  # type: ignore[operator]


def test_a_protocol_adds_no_variables_unless_it_says_so() -> None:
    protocol = FakeProtocol()
    assert protocol.environment(FunctionSpec(name="f", command=("f",))) == {}
    assert protocol.listener_environment("/a/path") == {}
