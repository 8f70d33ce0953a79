"""The house holds: who may import whom, what the core may never know, and how long a file or a function may be.

The checks read the source and import nothing, so they also hold for a plugin that is not installed.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "hotfn_core"
HELPER = ROOT / "plugins/hotfn-function"
"""For who writes functions: no plugin, and one file by intent."""
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml") if path.parent != HELPER)

# The dependency direction: each part of the core with the parts that it may import, downwards only. A package
# (`cli`, `config`, `testing`) is one part. A new file is added here by whoever decides where it belongs.
VALUES = {"errors", "headers", "model"}
CONTRACTS = VALUES | {"driver", "protocol"}
DIRECTION: dict[str, set[str]] = {
    "errors": set(),
    "headers": set(),
    "checks": {"errors"},
    "model": {"errors", "headers", "checks"},
    # the rules
    "actions": {"errors", "model"},
    "deadlines": set(),
    "records": {"actions", "deadlines", "model"},
    "ledger": VALUES | {"actions", "deadlines", "records"},
    "resting": VALUES | {"actions", "deadlines", "records", "ledger"},
    "lining": {"resting"},
    "launching": {"actions", "deadlines", "lining", "model", "records"},
    "state": VALUES | {"actions", "deadlines", "launching", "records"},
    "startline": set(),
    # the contracts and who fulfils them
    "protocol": VALUES,
    "driver": VALUES,
    "hookspecs": CONTRACTS,
    "registry": CONTRACTS | {"hookspecs"},
    # the runtime
    "runtime": set(),
    "loops": set(),
    "timekeeper": {"deadlines"},
    "environment": CONTRACTS,
    "stderr": VALUES,
    "stats": VALUES | {"actions"},
    "failures": VALUES | {"actions"},
    "instance": CONTRACTS | {"actions", "stderr", "failures"},
    "pending": VALUES | {"hookspecs", "instance"},
    "observers": CONTRACTS | {"hookspecs", "registry"},
    "opening": CONTRACTS | {"failures", "registry", "startline", "meeting"},
    "preparing": CONTRACTS | {"launcher", "failures"},
    "arguments": VALUES,
    "admission": CONTRACTS | {"failures"},
    "meeting": CONTRACTS | {"runtime"},
    "launcher": CONTRACTS | {"hookspecs", "instance", "environment", "stderr", "observers", "meeting"},
}
DIRECTION["copies"] = set(DIRECTION) - {
    *("checks", "registry", "opening", "preparing", "arguments", "admission", "pending", "stats")
}
DIRECTION["supervisor"] = DIRECTION["copies"] | {"copies", "pending", "stats"}
DIRECTION |= {
    "manager": DIRECTION["supervisor"]
    | {"supervisor", "registry", "opening", "preparing", "launcher", "arguments", "admission"},
    # what is built on it
    "__init__": CONTRACTS | {"hookspecs", "manager"},
    "worker": set(),
    "executor": VALUES | {"worker", "work"},
    "interrupts": set(),
    "work": set(),
    "steppedloop": {"work"},
    "turns": {"errors", "interrupts", "steppedloop"},
    "sharedloop": {"turns", "work"},
    "blocking": VALUES | {"manager", "stats", "executor", "sharedloop", "work"},
    "config": VALUES | {"__init__"},
    "cli": set(DIRECTION) | {"__init__", "manager", "config"},
    "__main__": {"cli"},
    "testing": set(DIRECTION) | {"__init__", "manager", "supervisor"},
}
# What is not Python's own, with the parts of the core that may import it.
STRANGERS: dict[str, set[str]] = {
    "pluggy": {"hookspecs", "registry", "testing"},
    "click": {"hookspecs", "cli"},
    "yaml": {"config"},
    "rich": {"cli"},
    "uvloop": {"loops"},
    "hypothesis": {"testing"},
    "pytest": {"testing"},
}
IMPURE = {"asyncio", "time", "random", "logging", "threading", "os", "datetime", "secrets", "socket", "subprocess"}
PURE = {"actions", "checks", "deadlines", "errors", "headers", "ledger", "model", "protocol", "records", "resting"}
PURE |= {"launching", "lining", "state", "startline"}
# The modules of the core that a plugin builds on: the contracts, marks, and what is shipped for its tests.
PUBLIC = {"hotfn_core", "hotfn_core.driver", "hotfn_core.errors", "hotfn_core.hookspecs", "hotfn_core.model"}
PUBLIC |= {"hotfn_core.protocol", "hotfn_core.runtime", "hotfn_core.testing"}

FILE_LINES = 350
FUNCTION_MEDIAN, FUNCTION_90TH, FUNCTION_LONGEST = 8, 25, 60


class Import(NamedTuple):
    """`importer` names `module`, and takes `name` from it ("" for the module itself)."""

    importer: str
    module: str
    name: str
    line: int


def sources(folder: Path) -> list[Path]:
    """Return the files of Python in a folder, without those that `hotfn init` writes for others."""
    return sorted(path for path in folder.rglob("*.py") if not {"__pycache__", "templates"} & set(path.parts))


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, package: Path) -> Iterator[Import]:
    """Yield every import in a file, also those in functions and for the type checker, with absolute names."""
    importer = module_name(path, package)
    base = importer.split(".") if path.stem == "__init__" else importer.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (Import(importer, module, alias.name, node.lineno) for alias in node.names)


def targets(one: Import, modules: set[str]) -> str:
    """Return the module that an import reaches: `from package import module` reaches the module."""
    inner = f"{one.module}.{one.name}"
    return inner if inner in modules else one.module


def part(module: str) -> str:
    """Return the part of the core that a module belongs to: `hotfn_core.cli.run` belongs to `cli`."""
    return [*module.split("."), "__init__"][1]


def all_imports(package: Path) -> list[Import]:
    return [one for path in sources(package) for one in imports(path, package)]


def own_targets(package: Path) -> list[tuple[Import, str]]:
    modules = {module_name(path, package) for path in sources(package)}
    reached = [(one, targets(one, modules)) for one in all_imports(package)]
    return [(one, target) for one, target in reached if target.split(".")[0] == package.name]


def wrong_direction(package: Path) -> list[str]:
    """Say which imports within the package go where the table does not let them."""
    wrong = []
    for one, target in own_targets(package):
        here, there = part(one.importer), part(target)
        if here != there and there not in DIRECTION.get(here, set()):
            wrong.append(f"{one.importer}:{one.line} imports {target}")
    return wrong


def cycles(package: Path) -> list[str]:
    """Return the first import cycle, as the modules that are on it."""
    graph: dict[str, set[str]] = {}
    for one, target in own_targets(package):
        if target not in (one.importer, package.name):  # a module in a package may name what the package shows
            graph.setdefault(one.importer, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def strangers(package: Path) -> list[tuple[Import, str]]:
    """Return the imports of what is neither Python's own nor the package's, with the distribution's top name."""
    tops = [(one, one.module.split(".")[0]) for one in all_imports(package)]
    return [(one, top) for one, top in tops if top not in sys.stdlib_module_names and top != package.name]


def wrong_strangers(package: Path) -> list[str]:
    return [
        f"{one.importer}:{one.line} imports {one.module}"
        for one, top in strangers(package)
        if part(one.importer) not in STRANGERS.get(top, set())
    ]


def impure(package: Path) -> list[str]:
    """Say which module that must be pure imports what has effects."""
    return [
        f"{one.importer}:{one.line} imports {one.module}"
        for one in all_imports(package)
        if part(one.importer) in PURE and one.module.split(".")[0] in IMPURE
    ]


def private(package: Path) -> list[str]:
    """Say where a plugin reaches behind the public surface of the core."""
    return [
        f"{one.importer}:{one.line} imports {one.name or 'all'} from {one.module}"
        for one in all_imports(package)
        if one.module.split(".")[0] == "hotfn_core" and (one.module not in PUBLIC or one.name.startswith("_"))
    ]


def undeclared(plugin: Path) -> list[str]:
    """Say which imports of a plugin its own pyproject.toml does not ask for."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[^A-Za-z0-9_-]", one)[0].replace("-", "_").lower() for one in project["dependencies"]}
    return [
        f"{one.importer}:{one.line} imports {top}"
        for package in packages(plugin)
        for one, top in strangers(package)
        if top.lower() not in asked
    ]


def packages(plugin: Path) -> list[Path]:
    return [path.parent for path in plugin.rglob("__init__.py") if not (path.parent.parent / "__init__.py").exists()]


def plugin_names(folder: Path, names: set[str]) -> list[str]:
    """Say where a string in the source is the name of a plugin's module, as an import at run time would need it."""
    return [
        f"{path.name}:{node.lineno} names {node.value}"
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(".")[0] in names
    ]


def function_lengths(folder: Path) -> dict[str, int]:
    """Return the lines of each function, by where it is: from `def` to its end, without the docstring."""
    lengths = {}
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lengths[f"{path.name}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1 - docstring(node)
    return lengths


def docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def long_files(folder: Path, limit: int = FILE_LINES) -> list[str]:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(folder)}
    return [f"{path.name} has {lines} lines" for path, lines in lengths.items() if lines > limit]


def broad_excepts(folder: Path) -> list[str]:
    """Say where anything at all is caught and kept, without a comment on that line, or the next, that says why."""
    wrong = []
    for path in sources(folder):
        lines = path.read_text().splitlines()
        handlers = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.ExceptHandler)]
        for node in filter(keeps_anything, handlers):
            reasons = [line for line in lines[node.lineno - 1 : node.lineno + 1] if "# " in line]
            wrong += [] if reasons else [f"{path.name}:{node.lineno}"]
    return wrong


def possessive_groups(folder: Path) -> list[str]:
    """Say where a regular expression repeats a group possessively: Python 3.11.0 to 3.11.3 matches too much there."""
    return [
        f"{path.name}:{node.lineno}"
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and repeats_possessively(node.value)
    ]


def repeats_possessively(regex: str | bytes) -> bool:
    text = regex if isinstance(regex, str) else regex.decode("latin-1")
    without_sets = re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "[]", text)
    return re.search(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+(?!\w)", without_sets) is not None


def keeps_anything(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler catches all there is and does not end by raising it again, as one that cleans up does."""
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        one is None or (isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"}) for one in names
    )
    return broad and not (isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None)


class TestTheCore:
    def test_every_file_has_its_place_in_the_table(self) -> None:
        parts = {part(module_name(path, CORE)) for path in sources(CORE)}
        assert parts - set(DIRECTION) == set()

    def test_the_table_itself_has_no_cycle(self) -> None:
        TopologicalSorter(DIRECTION).prepare()

    def test_imports_go_downwards(self) -> None:
        assert wrong_direction(CORE) == []

    def test_no_import_goes_in_a_circle(self) -> None:
        assert cycles(CORE) == []

    def test_no_engine_no_parser_and_no_plugin_is_known(self) -> None:
        assert wrong_strangers(CORE) == []
        assert plugin_names(CORE, {path.name for plugin in PLUGINS for path in packages(plugin)}) == []

    def test_the_rules_and_the_values_have_no_effects(self) -> None:
        assert impure(CORE) == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
class TestThePlugins:
    def test_it_builds_on_the_public_surface_only(self, plugin: Path) -> None:
        assert [line for package in packages(plugin) for line in private(package)] == []

    def test_it_asks_for_what_it_imports(self, plugin: Path) -> None:
        assert undeclared(plugin) == []

    def test_no_import_goes_in_a_circle(self, plugin: Path) -> None:
        assert [line for package in packages(plugin) for line in cycles(package)] == []

    def test_it_enters_by_the_entry_point_of_a_stranger(self, plugin: Path) -> None:
        project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
        assert project["entry-points"]["hotfn"]
        assert any(re.match(r"hotfn-core\b", one) for one in project["dependencies"])


@pytest.mark.parametrize("folder", [CORE, *PLUGINS], ids=lambda folder: folder.name)
class TestSize:
    def test_a_file_is_about_one_idea(self, folder: Path) -> None:
        assert long_files(folder) == []

    def test_functions_are_small(self, folder: Path) -> None:
        lengths = function_lengths(folder)
        longest = [f"{name} has {lines} lines" for name, lines in lengths.items() if lines > FUNCTION_LONGEST]
        assert longest == []
        assert statistics.median(lengths.values()) <= FUNCTION_MEDIAN
        assert statistics.quantiles(lengths.values(), n=10)[-1] <= FUNCTION_90TH


@pytest.mark.parametrize("folder", [CORE, *PLUGINS], ids=lambda folder: folder.name)
def test_who_catches_anything_says_why(folder: Path) -> None:
    assert broad_excepts(folder) == []


@pytest.mark.parametrize("folder", [CORE, *PLUGINS], ids=lambda folder: folder.name)
def test_every_supported_python_reads_the_regular_expressions_alike(folder: Path) -> None:
    assert possessive_groups(folder) == []


def test_the_helper_needs_nothing_and_has_small_functions() -> None:
    project = tomllib.loads((HELPER / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []
    assert [path.name for path in HELPER.glob("*.py")] == ["hotfn_function.py"]
    assert max(function_lengths(HELPER).values()) <= FUNCTION_LONGEST
    assert broad_excepts(HELPER) == []


def test_the_plugins_of_this_repository_are_found() -> None:
    assert {"hotfn-local", "hotfn-protocols"} <= {plugin.name for plugin in PLUGINS}


class TestTheChecksThemselves:
    """Each check finds what it is there to find, planted in a package of its own."""

    @pytest.fixture
    def plant(self, tmp_path: Path) -> Callable[..., Path]:
        def plant(package: str = "hotfn_core", **files: str) -> Path:
            folder = tmp_path / package
            for name, source in {"__init__": "", **files}.items():
                path = folder / (name.replace("__in__", "/") + ".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(textwrap.dedent(source))
            return folder

        return plant

    @pytest.mark.parametrize(
        "source",
        [
            "from .supervisor import Supervisor",
            "from . import supervisor",
            "import hotfn_core.supervisor",
            "from hotfn_core.supervisor import Supervisor",
            "def late():\n    from .supervisor import Supervisor",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .supervisor import Supervisor",
        ],
    )
    def test_an_import_upwards_is_found(self, plant: Callable[..., Path], source: str) -> None:
        (found,) = wrong_direction(plant(state=source, supervisor="class Supervisor: ..."))
        assert re.fullmatch(r"hotfn_core\.state:\d imports hotfn_core\.supervisor", found)

    def test_an_import_between_siblings_is_found(self, plant: Callable[..., Path]) -> None:
        found = wrong_direction(plant(protocol="from .driver import Driver", driver=""))
        assert found == ["hotfn_core.protocol:1 imports hotfn_core.driver"]

    def test_an_import_from_a_package_inside_is_found(self, plant: Callable[..., Path]) -> None:
        found = wrong_direction(plant(config__in__file="from ..manager import Manager", manager=""))
        assert found == ["hotfn_core.config.file:1 imports hotfn_core.manager"]

    def test_a_file_that_is_not_in_the_table_may_import_nothing(self, plant: Callable[..., Path]) -> None:
        assert wrong_direction(plant(novel="from .errors import HotfnError", errors="")) != []

    def test_a_right_import_is_not_found(self, plant: Callable[..., Path]) -> None:
        assert wrong_direction(plant(state="from .model import Call\nfrom . import errors", model="", errors="")) == []

    def test_a_circle_is_found(self, plant: Callable[..., Path]) -> None:
        package = plant(
            cli__in__a="from .b import x", cli__in__b="def f():\n    from . import c", cli__in__c="from .a import y"
        )
        names = {"hotfn_core.cli.a", "hotfn_core.cli.b", "hotfn_core.cli.c"}
        assert names <= set(cycles(package))
        assert cycles(plant("straight", a="from .b import x", b="from . import c", c="")) == []

    @pytest.mark.parametrize("source", ["import docker", "import httptools", "import hotfn_local", "import rich.table"])
    def test_a_stranger_in_the_core_is_found(self, plant: Callable[..., Path], source: str) -> None:
        assert wrong_strangers(plant(manager=source)) == [f"hotfn_core.manager:1 imports {source[7:]}"]

    def test_a_plugin_named_in_a_string_is_found(self, plant: Callable[..., Path]) -> None:
        package = plant(manager="import importlib\nimportlib.import_module('hotfn_local.driver')")
        assert plugin_names(package, {"hotfn_local"}) == ["manager.py:2 names hotfn_local.driver"]

    @pytest.mark.parametrize("module", ["asyncio", "time", "random", "logging"])
    def test_an_effect_in_the_rules_is_found(self, plant: Callable[..., Path], module: str) -> None:
        assert impure(plant(state=f"import {module}")) == [f"hotfn_core.state:1 imports {module}"]
        assert impure(plant(state=f"def f():\n    from {module} import x")) != []
        assert impure(plant(supervisor=f"import {module}", state="import heapq")) == []

    @pytest.mark.parametrize(
        "source",
        ["from hotfn_core.supervisor import Supervisor", "import hotfn_core.state", "from hotfn_core.model import _x"],
    )
    def test_a_plugin_that_reaches_behind_is_found(self, plant: Callable[..., Path], source: str) -> None:
        assert len(private(plant("hotfn_mine", driver=source))) == 1
        assert (
            private(plant("hotfn_fair", driver="from hotfn_core import Driver\nfrom hotfn_core.errors import x")) == []
        )

    def test_an_undeclared_import_of_a_plugin_is_found(self, plant: Callable[..., Path]) -> None:
        plugin = plant("hotfn_mine", driver="import hotfn_core, httptools, msgspec").parent
        (plugin / "pyproject.toml").write_text('[project]\ndependencies = ["hotfn-core>=0.1", "msgspec>=0.18,<1"]')
        assert undeclared(plugin) == ["hotfn_mine.driver:1 imports httptools"]

    @pytest.mark.parametrize("what", [" Exception", " BaseException as e", "", " (OSError, Exception)"])
    def test_a_broad_except_without_a_reason_is_found(self, plant: Callable[..., Path], what: str) -> None:
        assert broad_excepts(plant(manager=f"try: x()\nexcept{what}:\n    pass")) == ["manager.py:2"]
        assert broad_excepts(plant(manager=f"try: x()\nexcept{what}:  # it may raise anything\n    pass")) == []

    @pytest.mark.parametrize("regex", ["rb'(?:a|b)*+'", "'(a)++'", "r'x(a){2,3}+'"])
    def test_a_possessive_group_is_found(self, plant: Callable[..., Path], regex: str) -> None:
        assert possessive_groups(plant(manager=f"x = {regex}")) == ["manager.py:1"]
        assert possessive_groups(plant(manager="x = '[^a]++(?:b)*(?>(c){2,3})[()*+]'")) == []

    def test_cleaning_up_needs_no_reason(self, plant: Callable[..., Path]) -> None:
        assert broad_excepts(plant(manager="try: x()\nexcept BaseException:\n    y()\n    raise")) == []
        assert broad_excepts(plant(manager="try: x()\nexcept Exception:\n    raise ValueError from None")) != []

    def test_a_narrow_except_needs_no_reason(self, plant: Callable[..., Path]) -> None:
        assert broad_excepts(plant(manager="try: x()\nexcept (OSError, ValueError):\n    pass")) == []

    def test_lengths_are_counted_without_the_docstring(self, plant: Callable[..., Path]) -> None:
        package = plant(
            manager='''
            def short(): return 1

            async def long(
                a,
            ):
                """A docstring
                of two lines."""
                return a
            '''
        )
        assert function_lengths(package) == {"manager.py:2 short": 1, "manager.py:4 long": 4}

    def test_a_long_file_is_found(self, plant: Callable[..., Path]) -> None:
        assert long_files(plant(manager="x = 1\n" * 351)) == ["manager.py has 351 lines"]
        assert long_files(plant(manager="x = 1\n" * 350)) == []
