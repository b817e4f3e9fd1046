"""Configs: frozen dataclasses, nested, filled from one YAML file and `--set key=value`.

A config class says for each field its type, its default, its docstring and, through ``limits``, its range. Nothing else
reads YAML. An unknown key is answered with the keys that exist and the nearest of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from wetread.errors import ConfigError, MissingError, nearest
from wetread.runs.store import flatten

T = TypeVar("T")


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
        Dotted keys that take precedence over defaults only.

    Raises
    ------
    ConfigError
        Unknown key, wrong type, out of range, or YAML that does not parse.
    MissingError
        The YAML file is not there.
    """
    values: dict[str, Any] = dict(base or {})
    if path is not None:
        values |= _read(Path(path))
    for item in sets:
        key, mark, text = item.partition("=")
        if not mark or not key.strip():
            raise ConfigError(f"--set {item!r} is not key=value. Example: --set optim.rate=1e-3")
        values[key.strip()] = _yaml(text, f"--set {item}")
    allowed = keys(cls)
    for key in values:
        if key not in allowed:
            raise ConfigError(
                f"unknown config key {key!r}.{nearest(key, allowed)} Keys of this config: {', '.join(allowed)}."
            )
    return _make(cls, values, "")


def keys(cls: type) -> list[str]:
    """Return the dotted keys of a config class, in order."""
    found: list[str] = []
    for field, kind in _fields(cls):
        if dataclasses.is_dataclass(kind):
            found.extend(f"{field.name}.{key}" for key in keys(typing.cast(type, kind)))
        else:
            found.append(field.name)
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested JSON values."""
    return {
        field.name: to_dict(value)
        if dataclasses.is_dataclass(value)
        else list(value)
        if isinstance(value, tuple)
        else value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
    }


def _read(path: Path) -> dict[str, Any]:
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
    return flatten({str(key): value for key, value in data.items()})


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not YAML ({getattr(error, 'problem', error)}).") from error


def _fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls)]


def _make(cls: type[T], values: Mapping[str, Any], prefix: str) -> T:
    made: dict[str, Any] = {}
    for field, kind in _fields(cls):
        key = prefix + field.name
        if dataclasses.is_dataclass(kind):
            made[field.name] = _nested(field, kind, values, key)
        elif key in values:
            made[field.name] = _checked(values[key], kind, field, key)
    return cls(**made)


def _nested(field: dataclasses.Field[Any], kind: Any, values: Mapping[str, Any], key: str) -> Any:
    """Return a nested group; what is not set keeps the value that the parent gives it, which may differ from the group's."""
    default: Any = None
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    inherited = {} if default is None else {f"{key}.{k}": v for k, v in flatten(to_dict(default)).items()}
    return _make(kind, {**inherited, **values}, key + ".")


def _checked(value: Any, kind: Any, field: dataclasses.Field[Any], key: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        kind = next(one for one in arguments if one is not type(None))
        return _checked(value, kind, field, key)
    if origin is Literal:
        if value not in arguments:
            hint = nearest(str(value), [str(one) for one in arguments])
            raise ConfigError(f"{key}={value!r} is not allowed.{hint} Allowed: {', '.join(map(str, arguments))}.")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_checked(item, arguments[0], field, key) for item in items)
    return _in_range(_converted(value, kind, key), field, key)


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
