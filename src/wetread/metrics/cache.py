"""What a text encoder found, kept on disk: one SQLite file for any number of processes."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wetread.errors import WetreadWarning

Features = Mapping[str, NDArray[np.generic]]
"""What an encoder says of one text: named arrays."""

VARIABLE = "WETREAD_CACHE"
"""Environment variable that names the cache file; ``off`` turns it off."""
_WAIT = 30.0
_MOST = 500


class Cache:
    """Features by (signature, text).

    Texts are stored as hashes only, so that no report can be read from the file. A cache that cannot be read or written is
    told of once and then passed over: it makes scoring faster, never different.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._broken = False

    def get(self, signature: str, texts: Sequence[str]) -> dict[str, Features]:
        """Return what is known of ``texts``; those that are not known are left out."""
        keys = {_key(signature, text): text for text in texts}
        found: dict[str, Features] = {}
        names = list(keys)
        try:
            for start in range(0, len(names), _MOST):
                part = names[start : start + _MOST]
                marks = ",".join("?" * len(part))
                rows = self._connection().execute(f"SELECT key, value FROM features WHERE key IN ({marks})", part)
                for key, value in rows:
                    with contextlib.suppress(SafetensorError):  # a damaged row is computed anew
                        found[keys[key]] = load(value)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return found

    def put(self, signature: str, found: Mapping[str, Features]) -> None:
        """Store features of texts; those that are there already stay."""
        if not found:
            return
        rows = [(_key(signature, text), save(dict(features))) for text, features in found.items()]
        try:
            with self._connection() as connection:
                connection.executemany("INSERT OR IGNORE INTO features (key, value) VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
            self._local.connection = connection
        return connection

    def _give_up(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            warnings.warn(
                f"the cache {self.path.name} cannot be used ({error}); scoring goes on without it.",
                WetreadWarning,
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}

    def __setstate__(self, state: Mapping[str, Path]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def _key(signature: str, text: str) -> bytes:
    data = signature.encode() + b"\0" + text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).digest()
