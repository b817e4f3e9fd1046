"""Names to things, loaded when asked for.

A registry is a plain dictionary from a public name to ``"module:attribute"``. A name that is not there is answered with
the names that are. Nothing is imported before it is used, so ``wetread --help`` stays light.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from wetread.errors import UsageError, nearest


class Registry:
    """A lazy, read-only mapping from names to objects of one kind.

    Parameters
    ----------
    kind
        What the names are, in words for the error message: ``"metric"``, ``"prompt style"``.
    entries
        Name to ``"package.module:attribute"``.

    >>> maths = Registry("function", {"sqrt": "math:sqrt"})
    >>> maths["sqrt"](9.0)
    3.0
    >>> maths["sqr"]
    Traceback (most recent call last):
    wetread.errors.UsageError: no function is called 'sqr'. Did you mean 'sqrt'? There are: sqrt.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        try:
            target = self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries))
            hint = nearest(name, self._entries)
            raise UsageError(f"no {self.kind} is called {name!r}.{hint} There are: {known}.") from None
        module, attribute = target.split(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, target: str) -> None:
        """Add ``name`` as ``"module:attribute"``; a name that is taken is refused (``UsageError``)."""
        if name in self._entries:
            raise UsageError(f"the {self.kind} {name!r} exists already ({self._entries[name]}); choose another name.")
        self._entries[name] = target
