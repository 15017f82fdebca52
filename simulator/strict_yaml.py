"""YAML in which a key that is given twice is a fault: the later one would win in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

MERGE = "<<"

_UNFIT = (AttributeError, IndexError, KeyError, TypeError)
"""What PyYAML trips over where a value is not what its tag says (`!!timestamp x`, `!!bool x`)."""


class DuplicateKeysError(yaml.YAMLError):
    """Keys that are given more than once.

    Attributes:
        faults: each with its path in the file and all of its lines.

    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load(text: str) -> Any:
    """One document, as `yaml.safe_load` reads it; None when it is empty.

    Raises yaml.YAMLError; ValueError for a value that YAML's own types do not have (the
    30th of February); RecursionError.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        faults = sorted(_faults(root))
        if faults:
            raise DuplicateKeysError([told for _, told in faults])
        return loader.construct_document(root)
    except _UNFIT as error:
        raise ValueError("it is not what its tag says") from error
    finally:
        loader.dispose()


def _faults(root: yaml.Node) -> Iterator[tuple[int, str]]:
    """First line and description of every key that its mapping has twice."""
    # Keys are read by a loader of their own: one that fails leaves its traces.
    reader = yaml.SafeLoader("")
    waiting = [(root, "")]
    seen = set()  # an anchor's node is the same one wherever it stands
    while waiting:
        node, path = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            inner = [(item, f"{path}{number}.") for number, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            inner = [(value, f"{path}{_name(key)}.") for key, value in node.value]
            for keys in _same(reader, node):
                yield keys[0].start_mark.line, f"{path}{_name(keys[0])}: {_told(keys)}"
        else:
            continue
        waiting += reversed(inner)


def _same(reader: yaml.SafeLoader, node: yaml.MappingNode) -> list[list[yaml.ScalarNode]]:
    """Keys of a mapping that mean the same, in groups of two and more."""
    groups: dict[object, list[yaml.ScalarNode]] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            # As written, too: `1` and `"1"` are one number for a model of numbers.
            value = _value(reader, key)
            group = groups.get(key.value) or groups.get(value) or []
            group.append(key)
            groups[key.value] = groups[value] = group
    distinct = {id(group): group for group in groups.values()}
    return [group for group in distinct.values() if len(group) > 1]


def _value(reader: yaml.SafeLoader, key: yaml.ScalarNode) -> object:
    """What a key is read as; a merge is no value."""
    try:
        return reader.construct_object(key)
    except (yaml.YAMLError, ValueError, *_UNFIT):
        return key.value


def _name(key: yaml.Node) -> str:
    return str(key.value)[:80] if isinstance(key, yaml.ScalarNode) else "?"


def _told(keys: list[yaml.ScalarNode]) -> str:
    *lines, last = [str(key.start_mark.line + 1) for key in keys]
    times = "twice" if len(keys) == 2 else f"{len(keys)} times"
    hint = "; several are merged by <<: [*one, *other]" if keys[0].value == MERGE else ""
    return f"given {times}, in lines {', '.join(lines)} and {last}{hint}"
