"""Loading plugins, and finding drivers and protocols by name.

One broken plugin never stops the others: what is wrong with it is kept in `Registry.problems` and told to whoever
asks for what it should have brought. Nothing here is global; every Manager has a registry of its own.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from . import hookspecs
from .driver import Driver
from .errors import ConfigError, PluginError, did_you_mean
from .protocol import IOProtocol

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_Thing = TypeVar("_Thing", Driver, IOProtocol)

# What a stranger's code may raise when it is imported, looked at or called: anything, and some modules call sys.exit().
_ANYTHING = (Exception, SystemExit)

OBSERVER_HOOKS = ("hotfn_call_finished", "hotfn_instance_changed", "hotfn_stderr_line")


@dataclass(slots=True)
class PluginInfo:
    """One plugin as it was found: what it brings and, when it is broken, why."""

    name: str
    distribution: str
    version: str
    drivers: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problems: list[PluginError] = field(default_factory=list)

    def __str__(self) -> str:
        return f'plugin "{self.name}" ({self.distribution} {self.version})'.replace(" )", ")")


_Claimants = list[tuple[PluginInfo, Callable[[], Any]]]


@dataclass(slots=True)
class _Claims:
    """The factories of one kind, by name, each with the plugins that claim the name."""

    kind: str
    by_name: dict[str, _Claimants] = field(default_factory=dict)


class Registry:
    """The plugins of one Manager.

    `plugins` are objects or modules added by hand; `entry_points` says whether installed plugins are loaded too.
    Making one never raises for a broken plugin: see `problems`.
    """

    def __init__(self, plugins: Iterable[object] = (), *, entry_points: bool = True) -> None:
        self.pm = pluggy.PluginManager("hotfn")
        self.pm.add_hookspecs(hookspecs)
        self.plugins: list[PluginInfo] = []
        self._drivers = _Claims("driver")
        self._protocols = _Claims("protocol")
        for plugin in plugins:
            self._add(plugin, PluginInfo(_name_of(plugin), "added by the program", ""))
        if entry_points:
            for entry_point in _entry_points():
                self._load(entry_point)

    @property
    def problems(self) -> list[PluginError]:
        """Everything that is wrong with any plugin, in the order it was found."""
        return [problem for info in self.plugins for problem in info.problems]

    @property
    def drivers(self) -> list[str]:
        """The names of all drivers, sorted."""
        return sorted(self._drivers.by_name)

    @property
    def protocols(self) -> list[str]:
        """The names of all IO protocols, sorted."""
        return sorted(self._protocols.by_name)

    def driver(self, name: str) -> Driver:
        """Make the driver of that name. Raises ConfigError when there is none, PluginError when it is broken."""
        return self._make(self._drivers, name, Driver)

    def protocol(self, name: str) -> IOProtocol:
        """Make the IO protocol of that name. Raises as `driver` does."""
        return self._make(self._protocols, name, IOProtocol)

    def missing_driver(self, name: str) -> str:
        """Say that there is no driver of that name, and what there is; an empty string when there is one."""
        return "" if name in self._drivers.by_name else self._unknown(self._drivers, str(name))

    def observed(self, hook: str) -> bool:
        """Say whether any plugin listens to that hook."""
        return bool(getattr(self.pm.hook, hook).get_hookimpls())

    def _load(self, entry_point: EntryPoint) -> None:
        dist = entry_point.dist
        info = PluginInfo(entry_point.name, dist.name if dist else "?", dist.version if dist else "?")
        try:
            plugin = entry_point.load()
        except _ANYTHING as error:
            self.plugins.append(info)
            self._problem(info, f"could not be imported: {type(error).__name__}: {error}", error)
            return
        self._add(plugin, info)

    def _add(self, plugin: object, info: PluginInfo) -> None:
        self.plugins.append(info)
        try:  # to look at a stranger's object can run its code
            misfit = self._misfit(plugin, info)
            if not misfit:
                self.pm.register(plugin, info.name)
        except _ANYTHING as error:
            self._problem(info, f"was refused: {error}", error)
            return
        if misfit:
            self._problem(info, misfit)
            return
        info.drivers = self._claim(self._drivers, plugin, info, "hotfn_register_drivers")
        info.protocols = self._claim(self._protocols, plugin, info, "hotfn_register_protocols")

    def _misfit(self, plugin: object, info: PluginInfo) -> str:
        """Say what keeps `plugin` from being registered, or return an empty string; note its hooks in `info`."""
        if isinstance(plugin, type):
            return f"is the class {plugin.__name__}; register an object of it or a module"
        hash(plugin)  # pluggy keeps plugins in sets, and would raise later, for all of them
        info.hooks = tuple(_hooks_of(self.pm, plugin))
        namesake = next((str(other) for other in self.plugins if other.name == info.name and other is not info), "")
        if namesake:
            return f"has the name of another: {namesake}"
        return _wrong_hook(plugin, info.hooks)

    def _claim(self, claims: _Claims, plugin: object, info: PluginInfo, hook: str) -> tuple[str, ...]:
        """Ask one plugin for its factories; a hook that raises or returns nonsense spoils that plugin only."""
        others = [other for other in self.pm.get_plugins() if other is not plugin]
        caller = self.pm.subset_hook_caller(hook, remove_plugins=others)
        try:
            factories = dict(pair for offered in caller() for pair in _checked(offered))
        except _ANYTHING as error:
            self._problem(info, f"failed in {hook}: {type(error).__name__}: {error}", error)
            return ()
        for name, factory in factories.items():
            claimants = claims.by_name.setdefault(name, [])
            claimants.append((info, factory))
            if len(claimants) > 1:
                self._problem(info, _clash(claims.kind, name, claimants))
        return tuple(factories)

    def _make(self, claims: _Claims, name: str, base: type[_Thing]) -> _Thing:
        found = claims.by_name.get(name)
        if not found:
            raise ConfigError(self._unknown(claims, name), field=claims.kind)
        info, factory = found[0]
        if len(found) > 1:
            text = f"{info} {_clash(claims.kind, name, found)}"
            raise PluginError(text, plugin=info.name, distribution=info.distribution)
        where = {"plugin": info.name, "distribution": info.distribution}
        try:
            thing = factory()
        except _ANYTHING as error:
            text = f'{info}: the {claims.kind} "{name}" could not be made: {type(error).__name__}: {error}'
            raise PluginError(text, **where) from error
        if not isinstance(thing, base):
            raise PluginError(f'{info}: the {claims.kind} "{name}" is {thing!r}, not a {base.__name__}', **where)
        if getattr(thing, "name", None) != name:
            actual = getattr(thing, "name", None)
            raise PluginError(f'{info}: the {claims.kind} "{name}" calls itself {actual!r}', **where)
        return thing

    def _unknown(self, claims: _Claims, name: str) -> str:
        known = sorted(claims.by_name)
        hint = did_you_mean(name, known).removeprefix("; ")
        text = f'there is no {claims.kind} "{name}"' + (f" ({hint})" if hint else "")
        text += f"; installed: {', '.join(known)}" if known else f"; no {claims.kind} is installed"
        text += " (others come in plugins, see `hotfn plugins`)"
        if self.problems:
            text += "; broken: " + "; ".join(problem.message for problem in self.problems)
        return text

    @staticmethod
    def _problem(info: PluginInfo, text: str, cause: BaseException | None = None) -> None:
        problem = PluginError(f"{info} {text}", plugin=info.name, distribution=info.distribution)
        problem.__cause__ = cause
        info.problems.append(problem)


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # 15 ms that `import hotfn_core` need not pay

    return sorted(entry_points(group=hookspecs.ENTRY_POINT_GROUP), key=lambda one: (one.name, one.value))


def _name_of(plugin: object) -> str:
    if isinstance(plugin, types.ModuleType):
        return plugin.__name__
    return f"{type(plugin).__qualname__}-{id(plugin):x}"


def _hooks_of(pm: pluggy.PluginManager, plugin: object) -> Iterable[str]:
    for name in dir(plugin):
        options = pm.parse_hookimpl_opts(plugin, name)
        if options is not None:
            yield options.get("specname") or name


def _wrong_hook(plugin: object, hooks: tuple[str, ...]) -> str:
    """Say which hook of `plugin` would never be called as its author means it, or return an empty string."""
    known = [name for name in vars(hookspecs) if name.startswith("hotfn_")]
    for name in hooks:
        if name not in known:
            return f'has a hook "{name}" that does not exist{did_you_mean(name, known)}'
    for name in sorted(set(known).intersection(dir(plugin))):
        method = getattr(plugin, name)
        if name not in hooks and callable(method):
            return f'has a function "{name}" that is not marked with @hookimpl'
        if inspect.iscoroutinefunction(method):
            return f'has an async hook "{name}"; hooks are plain functions'
    return ""


def _checked(offered: object) -> Iterable[tuple[str, Callable[[], Any]]]:
    if not isinstance(offered, Mapping):
        raise TypeError(f"it must return a mapping of names to factories, not {offered!r}")
    for name, factory in offered.items():
        if not isinstance(name, str) or not callable(factory):
            raise TypeError(f"{name!r}: {factory!r} is not a name with a factory")
        yield name, factory


def _clash(kind: str, name: str, claimants: _Claimants) -> str:
    owners = " and ".join(str(info) for info, _ in claimants)
    return f'brings the {kind} "{name}", which has more than one owner: {owners}; uninstall one'
