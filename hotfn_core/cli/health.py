"""Finding out how plugins, drivers and IO protocols are, for `hotfn plugins`, `hotfn check` and `hotfn gc`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from hotfn_core.driver import Driver
from hotfn_core.errors import DriverError, HotfnError
from hotfn_core.registry import OBSERVER_HOOKS, PluginInfo, Registry

_OPEN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class DriverHealth:
    """A driver: `state` is `ok`, `unavailable` (its engine is away) or `broken` (the plugin is at fault).

    `detail` says what is wrong, `about` what an open driver says of its engine; one of them is "".
    """

    name: str
    plugin: str
    enforces: tuple[str, ...]
    state: str
    detail: str = ""
    about: str = ""

    @property
    def text(self) -> str:
        """What it enforces, and what it says of its engine."""
        limits = f"enforces {', '.join(self.enforces)}" if self.enforces else "enforces no limits"
        return f"{limits}; {self.about}" if self.about else limits


@dataclass(frozen=True, kw_only=True)
class ProtocolHealth:
    """An IO protocol: `kind` is `hot` or `cold`, "" when it is `broken`."""

    name: str
    plugin: str
    kind: str
    state: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class PluginHealth:
    """A plugin: what it brings, and what is wrong with it."""

    name: str
    distribution: str
    version: str
    drivers: tuple[str, ...]
    protocols: tuple[str, ...]
    observers: tuple[str, ...]
    commands: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Health:
    """Everything that is installed."""

    plugins: tuple[PluginHealth, ...]
    drivers: tuple[DriverHealth, ...]
    protocols: tuple[ProtocolHealth, ...]

    @property
    def well(self) -> bool:
        """Whether no plugin is at fault. An engine that is away is not a fault."""
        return not any(one.problems for one in self.plugins) and not any(
            state == "broken" for state in [one.state for one in self.drivers] + [one.state for one in self.protocols]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, for JSON."""
        return asdict(self)


class Trouble(Exception):
    """Why a driver cannot be used: `state` and `detail` as in DriverHealth."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail


def examine(registry: Registry) -> Health:
    """Make every driver and protocol once, and open the drivers; see `examine_drivers`."""
    return Health(
        plugins=tuple(_plugin(info) for info in registry.plugins),
        drivers=examine_drivers(registry, registry.drivers),
        protocols=tuple(_protocol(registry, name) for name in registry.protocols),
    )


def _plugin(info: PluginInfo) -> PluginHealth:
    return PluginHealth(
        name=info.name,
        distribution=info.distribution,
        version=info.version,
        drivers=info.drivers,
        protocols=info.protocols,
        observers=tuple(hook for hook in info.hooks if hook in OBSERVER_HOOKS),
        commands="hotfn_register_commands" in info.hooks,
        problems=tuple(problem.message for problem in info.problems),
    )


def examine_drivers(registry: Registry, names: Iterable[str]) -> tuple[DriverHealth, ...]:
    """Open the drivers of these names for a moment, all at the same time and for a few seconds at most. Sweeps none."""

    async def all_of_them() -> list[DriverHealth]:
        return await asyncio.gather(*(_driver(registry, name) for name in names))

    return tuple(asyncio.run(all_of_them()))


async def _driver(registry: Registry, name: str) -> DriverHealth:
    plugin = owner(registry, "drivers", name)
    enforces: tuple[str, ...] = ()
    try:
        driver = registry.driver(name)
        enforces = tuple(sorted(driver.enforces))
        async with opened(driver, _OPEN_SECONDS):
            about = _about(driver)
    except HotfnError as error:
        return DriverHealth(name=name, plugin=plugin, enforces=enforces, state="broken", detail=error.message)
    except Trouble as error:
        return DriverHealth(name=name, plugin=plugin, enforces=enforces, state=error.state, detail=error.detail)
    return DriverHealth(name=name, plugin=plugin, enforces=enforces, state="ok", about=about)


@asynccontextmanager
async def opened(driver: Driver, patience: float) -> AsyncIterator[None]:
    """Open a driver for a moment. Raises Trouble when it cannot be opened, or closed again, within
    `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            await driver.open()
    except DriverError as error:
        raise Trouble("unavailable", error.message) from error
    except TimeoutError as error:
        raise Trouble("unavailable", f"did not open within {patience:g} seconds") from error
    except Exception as error:  # a stranger's driver may raise anything
        raise failed("open", error) from error
    try:
        yield
    finally:
        await _close(driver, patience)


async def _close(driver: Driver, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await driver.aclose()
    except Exception as error:  # a stranger's driver may raise anything, and time out
        raise failed("aclose", error) from error


def _about(driver: Driver) -> str:
    try:
        return " ".join(str(driver.describe()).split())
    except Exception as error:  # a stranger's driver may raise anything
        raise failed("describe", error) from error


def failed(method: str, error: Exception) -> Trouble:
    """Return what is to be said of a driver that broke its contract in that method."""
    return Trouble("broken", f"failed in {method}(): {type(error).__name__}: {error}")


def _protocol(registry: Registry, name: str) -> ProtocolHealth:
    plugin = owner(registry, "protocols", name)
    try:
        kind = "hot" if registry.protocol(name).hot else "cold"
    except HotfnError as error:
        return ProtocolHealth(name=name, plugin=plugin, kind="", state="broken", detail=error.message)
    return ProtocolHealth(name=name, plugin=plugin, kind=kind, state="ok")


def owner(registry: Registry, kind: str, name: str) -> str:
    """Return the name of the plugin that brings a driver or a protocol; `kind` is "drivers" or "protocols"."""
    return next((info.name for info in registry.plugins if name in getattr(info, kind)), "")
