"""The run folder: append-only JSONL that survives kill -9, and the config that made it.

    run.json         what made it: kind, wetread version, config and its hash, created
    config.yaml      the effective config, for people and for `--config`
    events.jsonl     what happened, a line each: losses, rewards, stages finished
    *.jsonl          records keyed by study: generations, drafts, scores
    run.lock         locked by the process that writes the folder, and which one that is or was

A line counts once its line break is on the disk. A half-written last line, the mark of a kill, is cut off when the
folder is opened again; every line before it is kept. Reading needs no lock; the system takes it from a process that ends,
also by kill -9.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

import wetread
from wetread.errors import RunError, UsageError

RUN_FILE = "run.json"
LOCK_FILE = "run.lock"
_BLOCK = 1 << 16


class JsonLines:
    """One append-only JSONL file.

    Opening it for writing repairs the tail that a kill may have left. ``append`` returns when the lines are on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repaired = False

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the records in order; a half-written last line is left out.

        Raises
        ------
        RunError
            When a line that is not the last one is not JSON; names the line.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise RunError(
                        f"{self.path.name}, line {number}: not JSON; the file is damaged. Move the run folder away and run again."
                    ) from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write the records, a line each, and wait until they are on the disk."""
        self.append_text([json.dumps(record, ensure_ascii=False) for record in records])

    def append_text(self, records: Iterable[str]) -> None:
        """Write records that are JSON already, a line each, and wait until they are on the disk."""
        self._repair()
        data = "".join(record + "\n" for record in records).encode(
            errors="replace"
        )  # half a character pair, from a model
        try:
            with self.path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._repaired = False
            raise disk_error(self.path, error) from error

    def _repair(self) -> None:
        if self._repaired or not self.path.exists():
            self._repaired = True
            return
        with self.path.open("rb+") as file:
            end = at = file.seek(0, os.SEEK_END)
            found = -1
            while at and found < 0:  # block by block from the end, since the file may be larger than memory
                at = max(0, at - _BLOCK)
                file.seek(at)
                found = file.read(_BLOCK).rfind(b"\n")
            kept = at + found + 1
            if kept < end:
                file.truncate(kept)
        self._repaired = True


class RunFolder:
    """A run folder, new or continued.

    Use ``RunFolder.open``; it refuses a folder that another config wrote.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        self.path = path
        self.meta = meta
        self.events = JsonLines(path / "events.jsonl")

    @classmethod
    def open(cls, path: Path, kind: str, config: Mapping[str, Any], *, alone: bool = False) -> RunFolder:
        """Create the folder for ``config``, or continue it.

        Parameters
        ----------
        path
            The folder.
        kind
            The verb that fills it: ``draft``, ``sft``, ``rl``, ``evaluate`` …
        config
            The effective config, JSON values; decides what may continue.
        alone
            Lock the folder, as ``hold`` does: for what trains or drafts for a long time.

        Raises
        ------
        UsageError
            ``path`` is a file.
        RunError
            Another kind or another config wrote the folder: the keys that differ and both values; or another process is
            writing it; or it cannot be made or written.
        """
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; a run folder is needed. Choose another --out.")
        if alone:
            hold(path)
        wanted = {"kind": kind, "config": json.loads(json.dumps(config))}
        file = path / RUN_FILE
        if file.exists():
            meta = _load(file)
            _refuse_other(path, meta, wanted)
            return cls(path, meta)
        _make(path)
        try:
            meta = {
                **wanted,
                "wetread": wetread.__version__,
                "signature": signature(config),
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            }
            (path / "config.yaml").write_text(yaml.safe_dump(wanted["config"], sort_keys=False), "utf-8")
            write_atomic(file, json.dumps(meta, indent=2) + "\n")
        except OSError as error:
            raise disk_error(path, error) from error
        return cls(path, meta)

    def lines(self, name: str) -> JsonLines:
        """Return the JSONL file ``name`` of the folder (without the suffix)."""
        return JsonLines(self.path / f"{name}.jsonl")

    def event(self, what: str, **fields: Any) -> None:
        """Append one event; the time is added."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self.events.append({"event": what, "time": now, **fields})

    def done(self, what: str) -> bool:
        """Whether an event ``what`` has been written."""
        return any(record["event"] == what for record in self.events.read())


_held: dict[Path, int] = {}
"""Folders that this process has locked, and the open file of each; a lock goes when the system closes it."""


def hold(path: Path) -> None:
    """Lock a run folder, made where it is not there, until ``letting_go`` or the end of this process; again is no error.

    Without effect where the system or the file system knows no locks.

    Raises
    ------
    RunError
        Another process has locked it; names the process.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    place = path.resolve()
    if place in _held:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return  # who may not write here will hear so from what it writes
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.pread(file, 200, 0).decode(errors="replace").strip()
        os.close(file)
        raise RunError(
            f"{path.name} is being written by another process{f' ({told})' if told else ''}; "
            "wait for it or choose another --out."
        ) from None
    except OSError:  # a file system without locks
        os.close(file)
        return
    with suppress(OSError):  # only told to people
        os.ftruncate(file, 0)
        os.pwrite(file, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    _held[place] = file


@contextmanager
def letting_go(path: Path) -> Iterator[None]:
    """Unlock a run folder at the end of the block, if it was locked in the block."""
    place = path.resolve()
    before = place in _held
    try:
        yield
    finally:
        if not before and place in _held:
            os.close(_held.pop(place))


def _forget() -> None:
    """In a forked process: close the files, which would keep the locks when the process that has them is gone."""
    while _held:
        os.close(_held.popitem()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def read_run(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` of a folder says (``RunError`` when it cannot be read)."""
    return _load(folder / RUN_FILE)


def restate(folder: Path, key: str, value: Any) -> None:
    """Let a run folder say something else in its config that means the same, such as the place of what has been moved.

    Raises
    ------
    RunError
        ``run.json`` cannot be read, or the folder cannot be written.
    """
    meta = _load(folder / RUN_FILE)
    config = {**meta["config"], key: value}
    meta |= {"config": config, "signature": signature(config)}
    try:
        write_atomic(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_atomic(folder / RUN_FILE, json.dumps(meta, indent=2) + "\n")
    except OSError as error:
        raise disk_error(folder, error) from error


def signature(config: Mapping[str, Any]) -> str:
    """Return 12 hex digits that stand for a config.

    >>> signature({"a": 1, "b": 2}) == signature({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def write_atomic(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a text, its pieces one after the other, or bytes, so that a kill leaves either the old file or the new one."""
    part = path.with_name(path.name + ".part")
    pieces = [content] if isinstance(content, str | bytes) else content
    with part.open("wb") as file:
        file.writelines(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, body: Any) -> None:
    """Write ``body`` as indented JSON to ``path``, whole or not at all; ``-`` is standard output.

    Raises
    ------
    RunError
        The disk is full or the file cannot be written.
    UsageError
        It is a folder.
    """
    write_pieces(path, [json.dumps(body, indent=2, ensure_ascii=False) + "\n"])


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write pieces of text to ``path`` one after the other; for the rest as ``write_json``."""
    if str(path) == "-":
        sys.stdout.writelines(pieces)
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file.")
    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written to, never replaced
            with path.open("w", encoding="utf-8") as file:
                file.writelines(pieces)
            return
        target = path.resolve() if path.is_symlink() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, pieces)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}. Free space or give another file.") from error


def disk_error(path: Path, error: OSError) -> RunError:
    """Return the one-line error for a failed write."""
    return RunError(
        f"cannot write {path.name} in the run folder: {error.strerror or error}. Free space or choose another --out; then run the same command again, it continues."
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_error(folder, error) from error
        raise RunError(
            f"cannot make the run folder {folder}: {error.strerror or error}. Choose another --out, in a folder that can be written."
        ) from error


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested config as one level of dotted keys.

    >>> flatten({"optim": {"lr": 0.1}, "seed": 0})
    {'optim.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file.parent.name}/{file.name} cannot be read ({error}). Choose another --out or remove the folder."
        ) from error
    return dict(data)


def _refuse_other(path: Path, meta: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if meta.get("kind") != wanted["kind"]:
        raise RunError(f"{path.name} holds a '{meta.get('kind')}' run, not '{wanted['kind']}'. Choose another --out.")
    old, new = flatten(meta.get("config", {})), flatten(wanted["config"])
    differ = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if differ:
        shown = ", ".join(f"{key} (was {old.get(key)!r}, now {new.get(key)!r})" for key in differ[:4])
        more = f" and {len(differ) - 4} more" if len(differ) > 4 else ""
        raise RunError(
            f"{path.name} was written by a different config: {shown}{more}. Choose another --out, or use the config it was made with ({path.name}/config.yaml)."
        )
