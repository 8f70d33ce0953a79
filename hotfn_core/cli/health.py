"""Finding out how plugins, drivers and IO protocols are, for `hotfn plugins` and `hotfn check`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from hotfn_core.driver import Driver
from hotfn_core.errors import DriverError, HotfnError
from hotfn_core.registry import OBSERVER_HOOKS, PluginInfo, Registry

_OPEN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class DriverHealth:
    """A driver: `state` is `ok`, `unavailable` (its engine is away) or `broken` (the plugin is at fault)."""

    name: str
    plugin: str
    enforces: tuple[str, ...]
    state: str
    detail: str = ""


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


def examine(registry: Registry) -> Health:
    """Make every driver and protocol once, and open the drivers, all at the same time and for a few seconds at most."""
    drivers = asyncio.run(_drivers(registry))
    return Health(
        plugins=tuple(_plugin(info) for info in registry.plugins),
        drivers=tuple(drivers),
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


async def _drivers(registry: Registry) -> list[DriverHealth]:
    return await asyncio.gather(*(_driver(registry, name) for name in registry.drivers))


async def _driver(registry: Registry, name: str) -> DriverHealth:
    owner = _owner(registry, "drivers", name)
    try:
        driver = registry.driver(name)
    except HotfnError as error:
        return DriverHealth(name=name, plugin=owner, enforces=(), state="broken", detail=error.message)
    state, detail = await _opened(driver)
    return DriverHealth(name=name, plugin=owner, enforces=tuple(sorted(driver.enforces)), state=state, detail=detail)


async def _opened(driver: Driver) -> tuple[str, str]:
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await driver.open()
    except DriverError as error:
        return "unavailable", error.message
    except TimeoutError:
        return "unavailable", f"did not open within {_OPEN_SECONDS:g} seconds"
    except Exception as error:  # a stranger's driver may raise anything
        return "broken", f"failed in open(): {type(error).__name__}: {error}"
    return await _closed(driver)


async def _closed(driver: Driver) -> tuple[str, str]:
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await driver.aclose()
    except Exception as error:  # a stranger's driver may raise anything, and time out
        return "broken", f"failed in aclose(): {type(error).__name__}: {error}"
    return "ok", ""


def _protocol(registry: Registry, name: str) -> ProtocolHealth:
    owner = _owner(registry, "protocols", name)
    try:
        kind = "hot" if registry.protocol(name).hot else "cold"
    except HotfnError as error:
        return ProtocolHealth(name=name, plugin=owner, kind="", state="broken", detail=error.message)
    return ProtocolHealth(name=name, plugin=owner, kind=kind, state="ok")


def _owner(registry: Registry, kind: str, name: str) -> str:
    return next((info.name for info in registry.plugins if name in getattr(info, kind)), "")
