"""Configs: frozen dataclasses, nested, filled from one YAML file and `--set key=value`.

A config class says for each field its type, its default, its docstring and, through ``limits``, its range. Nothing else
reads YAML. An unknown key is answered with the keys that exist and the nearest of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from wetread.errors import ConfigError, MissingError, nearest

T = TypeVar("T")
MERGE = "tag:yaml.org,2002:merge"
"""Tag of YAML's key ``<<``, which may come more than once."""


def limits(default: Any, low: float | None = None, high: float | None = None, *, above: float | None = None) -> Any:
    """Return a dataclass field with a default and a range: ``low`` ≤ value ≤ ``high``, value > ``above``."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "above": above})


def build(
    cls: type[T], path: str | Path | None = None, sets: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> T:
    """Return a ``cls`` from defaults, then ``base``, then a YAML file, then ``key=value`` settings.

    Parameters
    ----------
    cls
        The config dataclass.
    path
        YAML file with (nested) keys, or None.
    sets
        ``key=value`` with dotted keys; the value is read as YAML, so ``1e-3``, ``true`` and ``[a, b]`` work.
    base
        Keys, nested as in a file, that take precedence over defaults only.

    Raises
    ------
    ConfigError
        Unknown key, wrong type, out of range, a key that is set twice, or YAML that does not parse.
    MissingError
        The YAML file is not there.
    """
    values = merged(base or {}, {} if path is None else read(path))
    for item in sets:
        put(values, *setting(item))
    made: T = _make(cls, values, "", None, keys(cls))
    return made


def setting(item: str) -> tuple[str, Any]:
    """Return the dotted key and the value of ``key=value`` (``ConfigError`` where it is neither)."""
    key, mark, text = item.partition("=")
    if not mark or not key.strip():
        raise ConfigError(f"--set {item!r} is not key=value. Example: --set optim.rate=1e-3")
    return key.strip(), _yaml(text, f"--set {item}")


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested values.

    >>> values = {"optim": {"rate": 0.1}}
    >>> put(values, "optim.steps", 3)
    >>> values
    {'optim': {'rate': 0.1, 'steps': 3}}
    """
    first, dot, rest = key.partition(".")
    if not dot:
        values[first] = value
        return
    inner = values.get(first)
    inside = dict(inner) if isinstance(inner, Mapping) else {}
    put(inside, rest, value)
    values[first] = inside


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values: those of ``base`` with those of ``over`` put in, group by group.

    >>> merged({"optim": {"rate": 0.1, "steps": 2}}, {"optim": {"steps": 3}})
    {'optim': {'rate': 0.1, 'steps': 3}}
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def keys(cls: type) -> list[str]:
    """Return the dotted keys of a config class, in order."""
    found: list[str] = []
    for field, kind in _fields(cls):
        if dataclasses.is_dataclass(kind):
            found.extend(f"{field.name}.{key}" for key in keys(typing.cast(type, kind)))
        else:
            found.append(field.name)
    return found


def to_dict(config: Any) -> Any:
    """Return a config as nested JSON values."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    return [to_dict(item) for item in config] if isinstance(config, tuple | list) else config


def read(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file of keys holds, nested; errors as ``build``."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise MissingError(f"no config file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path.name} cannot be read: {error}.") from error
    data = _yaml(text, path.name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name} holds a {type(data).__name__}; a config is a mapping of keys to values.")
    return {str(key): value for key, value in data.items()}


def _yaml(text: str, where: str) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_nodes(node, where, {})
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not YAML ({getattr(error, 'problem', error)}).") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: not YAML ({error}).") from error  # 2027-02-30, which is read as a date


def _check_nodes(node: Any, where: str, seen: dict[int, bool]) -> None:
    """Refuse a key that is set twice, of which YAML would take the last, and an anchor that contains itself.

    ``seen`` holds the nodes that have been met, by their id, and whether all of what is in them has been.
    """
    if not isinstance(node, yaml.CollectionNode) or seen.get(id(node)):
        return
    if id(node) in seen:
        raise ConfigError(f"{where}, line {node.start_mark.line + 1}: what the anchor (&) names contains itself.")
    seen[id(node)] = False
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    first: dict[str, int] = {}
    for key, _ in pairs:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            raise ConfigError(
                f"{where}, line {line}: the key {key.value!r} is set already, in line {first[key.value]}; keep one of them."
            )
        first[key.value] = line
    for part in itertools.chain.from_iterable(pairs) if pairs else node.value:
        _check_nodes(part, where, seen)
    seen[id(node)] = True


def _fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls)]


def _make(cls: Any, values: Mapping[str, Any], prefix: str, default: Any, allowed: Sequence[str]) -> Any:
    """Return a ``cls``; what ``values`` do not set is as in ``default``, which may differ from the class's defaults."""
    fields = {field.name: (field, kind) for field, kind in _fields(cls)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            key = f"{prefix}{name}"
            raise ConfigError(
                f"unknown config key {key!r}.{nearest(key, allowed)} Keys of this config: {', '.join(allowed)}."
            )
        field, kind = fields[name]
        made[name] = _checked(value, kind, field, prefix + name, _default(field, default), allowed)
    if default is not None:
        return dataclasses.replace(default, **made)
    for name, (field, _) in fields.items():
        if name not in made and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{name} is not set, and it has no default; add it.")
    return cls(**made)


def _default(field: dataclasses.Field[Any], parent: Any) -> Any:
    if parent is not None:
        return getattr(parent, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _checked(
    value: Any, kind: Any, field: dataclasses.Field[Any], key: str, default: Any, allowed: Sequence[str]
) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        kinds = [one for one in arguments if one is not type(None)]
        fit = [one for one in kinds if _is_mapping(one) == isinstance(value, Mapping)]
        return _checked(value, (fit or kinds)[0], field, key, default, allowed)
    if dataclasses.is_dataclass(kind):
        inside = [f"{key}.{one}" for one in keys(typing.cast(type, kind))]
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value!r}: {key} is a group of keys; set one of {', '.join(inside)}.")
        known = allowed if any(one.startswith(f"{key}.") for one in allowed) else inside
        return _make(kind, value, key + ".", default, known)
    if _is_mapping(kind):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value!r} is not a mapping of keys to values.")
        return {str(name): one for name, one in value.items()}
    if origin is Literal:
        if value not in arguments:
            hint = nearest(str(value), [str(one) for one in arguments])
            raise ConfigError(f"{key}={value!r} is not allowed.{hint} Allowed: {', '.join(map(str, arguments))}.")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        groups = dataclasses.is_dataclass(arguments[0])
        return tuple(
            _checked(item, arguments[0], field, f"{key}.{number}" if groups else key, None, allowed)
            for number, item in enumerate(items)
        )
    return _in_range(_converted(value, kind, key), field, key)


def _is_mapping(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or typing.get_origin(kind) is Mapping


def _converted(value: Any, kind: Any, key: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as text
            return float(value)
    if kind is int and isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    if kind is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{key}={value!r} is not of type {kind.__name__}.")


def _in_range(value: Any, field: dataclasses.Field[Any], key: str) -> Any:
    low, high, above, multiple = (field.metadata.get(name) for name in ("low", "high", "above", "multiple"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        finite = value == value and abs(value) != float("inf")
        if (
            not finite
            or (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
        ):
            least = f"above {above}" if above is not None else f"at least {low}" if low is not None else ""
            most = f"at most {high}" if high is not None else ""
            raise ConfigError(
                f"{key}={value} is out of range; allowed is a number {' and '.join(part for part in (least, most) if part) or 'that is finite'}."
            )
        if multiple and value % multiple:
            raise ConfigError(f"{key}={value} is not allowed; it must be a multiple of {multiple}.")
    return value
