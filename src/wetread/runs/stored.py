"""The scores of one system, as ``wetread score --out`` stored them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wetread.errors import MissingError, RunError, UsageError
from wetread.records import Score
from wetread.runs.store import RUN_FILE, JsonLines, read_run

_FILE = "scores.jsonl"


@dataclass(frozen=True)
class Stored:
    """One system's stored scores."""

    name: str
    """Name in the table: that of its folder."""
    signatures: Mapping[str, str]
    """Metric to signature, without the number of studies."""
    patients: Mapping[str, str]
    """Study to patient."""
    references: Mapping[str, str]
    """Study to the digest of its reference."""
    scores: Mapping[str, Mapping[str, Score]]
    """Metric to study to score."""


def load(path: Path) -> Stored:
    """Return the scores in a run folder of ``wetread score --out``.

    Raises
    ------
    MissingError
        There is no such folder, or no scores are in it.
    UsageError
        It is no folder of ``wetread score``, or its scoring has not been finished.
    RunError
        It is damaged.
    """
    folder = _folder(path)
    if not (folder / RUN_FILE).is_file() or not (folder / _FILE).is_file():
        raise MissingError(f"{folder}: no stored scores there; make them with `wetread score … --out {folder.name}`.")
    meta = read_run(folder)
    if meta.get("kind") != "score":
        raise UsageError(f"{folder.name} holds a {meta.get('kind')!r} run; name folders of `wetread score --out`.")
    config = meta["config"]
    patients: dict[str, str] = {}
    references: dict[str, str] = {}
    scores: dict[str, dict[str, Score]] = {name: {} for name in config["metrics"]}
    for record in JsonLines(folder / _FILE).read():
        study = record["study"]
        try:
            patients[study], references[study] = record["patient"], record["reference"]
            for name, several in scores.items():
                one = record["scores"][name]
                several[study] = Score(name, one["value"], one.get("reason", ""), one.get("counts", {}))
        except (KeyError, TypeError) as error:
            raise RunError(f"{folder.name}/{_FILE}: study {study!r} lacks {error}; score again.") from error
    if len(patients) != config["studies"]:
        raise UsageError(
            f"{folder.name} holds {len(patients)} of {config['studies']} studies; run its `wetread score` again, it continues."
        )
    signatures = {name: config["signatures"][name].rpartition("|")[0] for name in config["metrics"]}
    return Stored(folder.resolve().name, signatures, patients, references, scores)


def files(path: Path) -> list[Path]:
    """Return the files of a run folder that nothing may be written over."""
    return [one for one in _folder(path).iterdir() if one.is_file()]


def _folder(path: Path) -> Path:
    return path.parent if path.name == _FILE else path
