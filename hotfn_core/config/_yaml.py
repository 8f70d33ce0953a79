"""Reading YAML: one mapping, no aliases, no key twice, and the line of every top-level key.

The tests of a function file are JSON and text: what YAML has besides, dates above all, is text there, as written.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

import yaml

from ._source import Source

_YAML = "tag:yaml.org,2002:"
_STR = _YAML + "str"
_JSON = {_YAML + one for one in ("str", "int", "float", "bool", "null", "seq", "map")}
_WRITTEN = {_YAML + one for one in ("timestamp", "value", "merge")}
_NO_NUMBERS = (".inf", ".nan")  # in JSON


class Key(NamedTuple):
    """One top-level key: its value and its line."""

    value: Any
    line: int


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of them can stand for gigabytes, and no function file needs one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs leave it out
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=mark)
        return super().compose_node(parent, index)


def load(source: Source, as_text: Container[str]) -> dict[str, Key]:
    """Return the keys of the one mapping in the file. Values of the keys in `as_text` stay what is written."""
    try:
        loader = _Loader(source.text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise source.error("is not a function file: it has no keys")
        _check_unique(source, root, "")
        return {str(key.value): _key(source, loader, key, value, as_text) for key, value in root.value}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise source.error(f"is not YAML: {error.problem}", line=line) from None
    except yaml.YAMLError as error:
        raise source.error(f"is not YAML: {error}") from None
    except RecursionError:
        raise source.error("is nested too deeply") from None


def _key(source: Source, loader: yaml.SafeLoader, key: yaml.Node, node: yaml.Node, as_text: Container[str]) -> Key:
    line = key.start_mark.line + 1
    # A value of config is what stands there: `1.10` is not 1.1, and `yes` is not true.
    if key.value in as_text:
        return Key(_as_text(node), line)
    if key.value == "tests":
        _check_json(source, node)
        _keep_texts(node)
    try:
        return Key(loader.construct_document(node), line)
    except ValueError as error:  # a date or a number that cannot be
        raise source.error(f"is no value: {error}", key=str(key.value), line=line) from None


def _as_text(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _as_text(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_as_text(one) for one in node.value]
    return "" if node.tag.endswith(":null") else node.value


def _check_json(source: Source, node: yaml.Node) -> None:
    """Make text of what JSON does not have; raises ConfigError for what is no text either."""
    if node.tag in _WRITTEN or (node.tag == _YAML + "float" and node.value.lstrip("+-").lower() in _NO_NUMBERS):
        node.tag = _STR
    if node.tag not in _JSON:
        tag = node.tag.replace(_YAML, "!!")
        raise source.error(f"{tag} means nothing in a test", key="tests", line=node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _check_json(source, one)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            key.tag = _STR
            _check_json(source, value)


def _keep_texts(tests: yaml.Node) -> None:
    """Keep the texts of each test as they are written. `out` is none of them: it may be a number."""
    for test in tests.value if isinstance(tests, yaml.SequenceNode) else ():
        for key, value in test.value if isinstance(test, yaml.MappingNode) else ():
            _keep(value if key.value in {"name", "in", "err"} else None)
            if key.value == "env" and isinstance(value, yaml.MappingNode):
                for _, one in value.value:
                    _keep(one)


def _keep(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.ScalarNode) and node.tag != _YAML + "null":
        node.tag = _STR


def _check_unique(source: Source, node: yaml.Node, prefix: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _check_unique(source, one, prefix)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise source.error("a key must be a word", key=prefix, line=key.start_mark.line + 1)
            if key.value in seen:
                raise source.error("is there twice", key=prefix + key.value, line=key.start_mark.line + 1)
            seen.add(key.value)
            _check_unique(source, value, f"{prefix}{key.value}.")
