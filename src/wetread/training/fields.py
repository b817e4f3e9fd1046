"""Fields of a recipe by name: dotted, from a stage or a shared group on; an item of a list by its metric, name or number."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from wetread.errors import ConfigError
from wetread.runs.config import put

NOWHERE = object()
"""What ``found`` returns where there is no such field."""


def found(tree: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path, or ``NOWHERE``."""
    here = tree
    for step in path:
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list | tuple) and (place := _place(here, step)) is not None:
            here = here[place]
        else:
            return NOWHERE
    return here


def set_field(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a field; an item of a list that is on the way is found by its metric, name or number.

    Raises
    ------
    ConfigError
        A list on the way has no such item, or the item has no fields.
    """
    path = key.split(".")
    for depth in range(1, len(path)):
        here = found(tree, path[:depth])
        if isinstance(here, list):
            items = copy.deepcopy(here)
            _set_item(items, path[depth:], value, key)
            put(tree, ".".join(path[:depth]), items)
            return
    put(tree, key, value)


def leaves(tree: Any, prefix: str = "") -> list[str]:
    """Return the names of all fields that are no groups."""
    if isinstance(tree, Mapping):
        return [leaf for key, value in tree.items() for leaf in leaves(value, f"{prefix}{key}.")]
    if isinstance(tree, list) and tree and all(isinstance(item, Mapping) for item in tree):
        named = [(item.get("metric") or item.get("name") or number, item) for number, item in enumerate(tree)]
        return [leaf for key, item in named for leaf in leaves(item, f"{prefix}{key}.")]
    return [prefix.rstrip(".")]


def _set_item(items: list[Any], path: Sequence[str], value: Any, key: str) -> None:
    place = _place(items, path[0])
    if place is None:
        raise ConfigError(f"unknown field {key!r}: the list has no item {path[0]!r}.")
    if len(path) == 1:
        items[place] = value
    elif isinstance(items[place], dict):
        put(items[place], ".".join(path[1:]), value)
    else:
        raise ConfigError(
            f"unknown field {key!r}: item {path[0]} of the list is {items[place]!r}, which has no fields."
        )


def _place(items: Sequence[Any], name: str) -> int | None:
    for place, item in enumerate(items):
        if isinstance(item, Mapping) and name in (item.get("metric"), item.get("name")):
            return place
    return int(name) if name.isdecimal() and int(name) < len(items) else None
