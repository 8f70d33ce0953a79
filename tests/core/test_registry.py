"""Loading plugins: what is wrong with one is said, with its distribution, and never stops another."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import (
    CallReport,
    ConfigError,
    Connection,
    Container,
    ContainerSpec,
    Driver,
    IOProtocol,
    Limits,
    PluginError,
    Receiver,
    hookimpl,
)
from hotfn_core.registry import OBSERVER_HOOKS, PluginInfo, Registry


class GoodDriver(Driver):
    name = "good"

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        raise AssertionError("no test here launches anything")


class GoodProtocol(IOProtocol):
    name = "good"

    def connect(self, limits: Limits) -> Connection:
        raise AssertionError("no test here connects anything")


class Good:
    @hookimpl
    def hotfn_register_drivers(self) -> dict[str, Callable[[], Driver]]:
        return {"good": GoodDriver}

    @hookimpl
    def hotfn_register_protocols(self) -> dict[str, Callable[[], IOProtocol]]:
        return {"good": GoodProtocol}


def drivers(offered: object) -> object:
    """Make a plugin whose hook returns `offered`, or calls it."""

    class Plugin:
        @hookimpl
        def hotfn_register_drivers(self) -> Any:
            return offered() if isinstance(offered, types.FunctionType) else offered

    return Plugin()


def loaded(*plugins: object) -> Registry:
    return Registry(plugins, entry_points=False)


def spoilt(plugin: object) -> PluginError:
    """Load `plugin` between two good ones; return what is wrong with it once it is certain that they work."""
    registry = loaded(object(), plugin, Good())
    assert isinstance(registry.driver("good"), GoodDriver)
    assert isinstance(registry.protocol("good"), GoodProtocol)
    (problem,) = registry.problems
    assert registry.plugins[1].problems == [problem]
    assert registry.plugins[1].name in problem.message
    assert problem.plugin == registry.plugins[1].name
    return problem


class TestGoodPlugins:
    def test_an_object_brings_a_driver_and_a_protocol(self) -> None:
        registry = loaded(Good())
        assert registry.problems == []
        assert (registry.drivers, registry.protocols) == (["good"], ["good"])
        assert registry.driver("good") is not registry.driver("good")  # a driver belongs to one manager
        (info,) = registry.plugins
        assert (info.drivers, info.protocols) == (("good",), ("good",))
        assert info.hooks == ("hotfn_register_drivers", "hotfn_register_protocols")
        assert str(info) == f'plugin "{info.name}" (added by the program)'

    def test_a_module_is_a_plugin_too(self) -> None:
        module = types.ModuleType("shop_plugin")
        module.hotfn_register_drivers = hookimpl(lambda: {"good": GoodDriver})  # type: ignore[attr-defined]
        registry = loaded(module)
        assert registry.drivers == ["good"]
        assert registry.plugins[0].name == "shop_plugin"

    def test_a_hook_may_have_another_name_in_the_code(self) -> None:
        class Plugin:
            @hookimpl(specname="hotfn_register_drivers")
            def offer(self) -> dict[str, Callable[[], Driver]]:
                return {"good": GoodDriver}

        assert loaded(Plugin()).drivers == ["good"]

    def test_a_factory_is_not_called_before_it_is_needed(self) -> None:
        def factory() -> Driver:
            raise AssertionError("called too early")

        assert loaded(drivers({"late": factory})).drivers == ["late"]

    def test_an_observer_is_seen(self) -> None:
        class Observer:
            @hookimpl
            def hotfn_call_finished(self, report: CallReport) -> None: ...

        registry = loaded(Observer())
        assert [hook for hook in OBSERVER_HOOKS if registry.observed(hook)] == ["hotfn_call_finished"]
        assert not any(loaded().observed(hook) for hook in OBSERVER_HOOKS)

    def test_two_registries_share_nothing(self) -> None:
        plugin = Good()
        one, other, empty = loaded(plugin), loaded(plugin), loaded()
        assert one.pm is not other.pm
        assert one.drivers == other.drivers == ["good"]
        assert one.problems == other.problems == []
        assert empty.drivers == []


class TestWhatIsNotAPlugin:
    def test_a_class_instead_of_an_object(self) -> None:
        assert "is the class Good; register an object of it or a module" in spoilt(Good).message

    def test_a_hook_that_does_not_exist(self) -> None:
        class Plugin:
            @hookimpl
            def hotfn_register_driver(self) -> dict[str, Callable[[], Driver]]:
                return {}

        message = spoilt(Plugin()).message
        assert 'has a hook "hotfn_register_driver" that does not exist' in message
        assert 'did you mean "hotfn_register_drivers"?' in message

    def test_a_hook_that_is_not_marked(self) -> None:
        class Plugin:
            def hotfn_register_drivers(self) -> dict[str, Callable[[], Driver]]:
                return {}

        assert 'has a function "hotfn_register_drivers" that is not marked with @hookimpl' in spoilt(Plugin()).message

    def test_a_hook_that_is_async(self) -> None:
        class Plugin:
            @hookimpl
            async def hotfn_call_finished(self, report: CallReport) -> None: ...

        assert 'has an async hook "hotfn_call_finished"; hooks are plain functions' in spoilt(Plugin()).message

    def test_a_hook_with_an_argument_that_does_not_exist(self) -> None:
        class Plugin:
            @hookimpl
            def hotfn_call_finished(self, reprot: CallReport) -> None: ...

        message = spoilt(Plugin()).message
        assert "was refused" in message
        assert "reprot" in message

    def test_an_object_that_breaks_when_it_is_looked_at(self) -> None:
        class Plugin:
            def __dir__(self) -> list[str]:
                raise RuntimeError("do not look")

        problem = spoilt(Plugin())
        assert "was refused: do not look" in problem.message
        assert isinstance(problem.__cause__, RuntimeError)

    def test_an_object_that_cannot_be_hashed(self) -> None:
        @dataclasses.dataclass
        class Plugin:
            @hookimpl
            def hotfn_call_finished(self, report: CallReport) -> None: ...

        assert "was refused: unhashable type: 'Plugin'" in spoilt(Plugin()).message

    def test_the_same_object_twice(self) -> None:
        plugin = Good()
        registry = loaded(plugin, plugin)
        (problem,) = registry.problems
        assert "has the name of another: " in problem.message
        assert isinstance(registry.driver("good"), GoodDriver)


class TestHooksThatFail:
    def test_one_that_raises(self) -> None:
        def hook() -> None:
            raise ValueError("no engine here")

        problem = spoilt(drivers(hook))
        assert "failed in hotfn_register_drivers: ValueError: no engine here" in problem.message
        assert isinstance(problem.__cause__, ValueError)

    def test_one_that_exits(self) -> None:
        assert "failed in hotfn_register_drivers: SystemExit: 3" in spoilt(drivers(lambda: sys.exit(3))).message

    def test_an_interrupt_is_not_swallowed(self) -> None:
        def hook() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loaded(drivers(hook))

    @pytest.mark.parametrize("offered", [["good"], "good", 3, [GoodDriver]], ids=repr)
    def test_one_that_returns_no_mapping(self, offered: object) -> None:
        assert "must return a mapping of names to factories" in spoilt(drivers(offered)).message

    @pytest.mark.parametrize(
        "offered", [{3: GoodDriver}, {"x": "GoodDriver"}, {"x": None}, {None: GoodDriver}], ids=repr
    )
    def test_one_that_returns_no_factory(self, offered: object) -> None:
        assert "is not a name with a factory" in spoilt(drivers(offered)).message

    def test_nothing_of_a_bad_mapping_is_kept(self) -> None:
        registry = loaded(drivers({"fine": GoodDriver, "bad": None}))
        assert registry.drivers == []
        assert registry.plugins[0].drivers == ()

    def test_none_means_that_it_brings_nothing(self) -> None:
        registry = loaded(drivers(None))
        assert (registry.drivers, registry.problems) == ([], [])


class TestAskingByName:
    def test_a_near_miss(self) -> None:
        with pytest.raises(
            ConfigError, match='there is no driver "goood" \\(did you mean "good"\\?\\); installed: good'
        ) as e:
            loaded(Good()).driver("goood")
        assert e.value.field == "driver"

    def test_nothing_is_installed(self) -> None:
        with pytest.raises(ConfigError, match=r'no protocol "http"; no protocol is installed \(others come') as caught:
            loaded().protocol("http")
        assert caught.value.field == "protocol"

    def test_whoever_asks_is_told_what_is_broken(self) -> None:
        def hook() -> None:
            raise ImportError("no module named docker")

        with pytest.raises(ConfigError, match="broken: .*no module named docker"):
            loaded(drivers(hook)).driver("docker")

    def test_a_factory_that_raises(self) -> None:
        def factory() -> Driver:
            raise OSError("no socket")

        registry = loaded(drivers({"late": factory}), Good())
        with pytest.raises(PluginError, match='the driver "late" could not be made: OSError: no socket') as caught:
            registry.driver("late")
        assert caught.value.plugin == registry.plugins[0].name
        assert caught.value.distribution == "added by the program"
        assert isinstance(caught.value.__cause__, OSError)
        assert isinstance(registry.driver("good"), GoodDriver)

    def test_a_factory_that_exits(self) -> None:
        with pytest.raises(PluginError, match="could not be made: SystemExit"):
            loaded(drivers({"late": lambda: sys.exit(1)})).driver("late")

    @pytest.mark.parametrize("made", [None, "good", GoodDriver, GoodProtocol()], ids=lambda made: type(made).__name__)
    def test_a_factory_that_makes_something_else(self, made: object) -> None:
        with pytest.raises(PluginError, match='the driver "good" is .*, not a Driver'):
            loaded(drivers({"good": lambda: made})).driver("good")

    def test_an_abstract_driver_cannot_be_made(self) -> None:
        class Half(Driver):
            name = "half"

        with pytest.raises(PluginError, match='the driver "half" could not be made: TypeError: .*launch'):
            loaded(drivers({"half": Half})).driver("half")

    def test_a_driver_that_calls_itself_otherwise(self) -> None:
        with pytest.raises(PluginError, match="the driver \"bad\" calls itself 'good'"):
            loaded(drivers({"bad": GoodDriver})).driver("bad")

    def test_a_driver_without_a_name(self) -> None:
        class Nameless(GoodDriver):
            pass

        del GoodDriver.name
        try:
            with pytest.raises(PluginError, match='the driver "x" calls itself None'):
                loaded(drivers({"x": Nameless})).driver("x")
        finally:
            GoodDriver.name = "good"

    def test_two_owners_of_one_name(self) -> None:
        registry = loaded(Good(), drivers({"good": GoodDriver, "own": GoodDriver}))
        (problem,) = registry.problems
        names = [info.name for info in registry.plugins]
        assert 'brings the driver "good", which has more than one owner' in problem.message
        assert all(name in problem.message for name in names)
        with pytest.raises(PluginError, match='brings the driver "good", which has more than one owner'):
            registry.driver("good")
        assert isinstance(registry.protocol("good"), GoodProtocol)


class TestInstalledPlugins:
    """Real distributions on a real path, found by their entry points."""

    @pytest.fixture
    def install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
        before = set(sys.modules)
        monkeypatch.syspath_prepend(str(tmp_path))

        def install(name: str, source: str, entry: str = "", version: str = "1.2") -> None:
            (tmp_path / f"{name}_module.py").write_text(textwrap.dedent(source))
            info = tmp_path / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (info / "entry_points.txt").write_text(f"[hotfn]\n{entry or f'{name} = {name}_module'}\n")

        yield install
        for name in set(sys.modules) - before:
            del sys.modules[name]

    GOOD = """
        from hotfn_core import hookimpl, Driver
        class Driver(Driver):
            name = "shop"
            async def launch(self, spec, receiver): raise NotImplementedError
        @hookimpl
        def hotfn_register_drivers(): return {"shop": Driver}
    """

    @staticmethod
    def find(name: str) -> PluginInfo:
        return next(info for info in Registry().plugins if info.name == name)

    def test_it_is_found_with_its_distribution(self, install: Callable[..., None]) -> None:
        install("shop", self.GOOD)
        info = self.find("shop")
        assert (info.distribution, info.version, info.drivers, info.problems) == ("shop", "1.2", ("shop",), [])
        assert str(info) == 'plugin "shop" (shop 1.2)'
        assert Registry().driver("shop").name == "shop"

    def test_it_is_left_alone_when_nobody_wants_it(self, install: Callable[..., None]) -> None:
        install("shop", "raise AssertionError('imported')")
        assert Registry(entry_points=False).plugins == []

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
            ("def broken(:", "SyntaxError"),
            ("1 / 0", "ZeroDivisionError"),
            ("import sys; sys.exit('not here')", "SystemExit: not here"),
        ],
    )
    def test_one_that_cannot_be_imported(self, install: Callable[..., None], source: str, what: str) -> None:
        install("broken", source)
        install("shop", self.GOOD)
        (problem,) = self.find("broken").problems
        assert 'plugin "broken" (broken 1.2) could not be imported: ' + what in problem.message
        assert (problem.plugin, problem.distribution) == ("broken", "broken")
        assert self.find("shop").drivers == ("shop",)

    def test_an_entry_point_that_names_nothing(self, install: Callable[..., None]) -> None:
        install("shop", self.GOOD, entry="shop = shop_module:absent")
        assert "could not be imported: AttributeError" in self.find("shop").problems[0].message

    def test_two_distributions_with_the_same_plugin_name(self, install: Callable[..., None]) -> None:
        install("shop", self.GOOD)
        install("copy", self.GOOD, entry="shop = copy_module")
        first, second = (info for info in Registry().plugins if info.name == "shop")
        assert {first.distribution, second.distribution} == {"shop", "copy"}
        assert first.problems == []
        (problem,) = second.problems
        assert f"has the name of another: {first}" in problem.message

    def test_one_module_under_two_names(self, install: Callable[..., None]) -> None:
        install("shop", self.GOOD, entry="shop = shop_module\nshop2 = shop_module")
        assert self.find("shop").problems == []
        assert "was refused: " in self.find("shop2").problems[0].message
