"""Files that say the split of each study: a CSV with ``study_id`` and ``split``, or R2Gen's ``annotation.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wetread.studies.datasets import r2gen, wording
from wetread.studies.datasets.base import Dropped
from wetread.studies.datasets.files import beside, check_columns


def check(path: Path) -> None:
    """Refuse a file that is of neither form (``StudyError``)."""
    if path.suffix.lower() == ".json":
        r2gen.read_annotation(path)
    else:
        check_columns(path, ("study_id", "split"))


def read(path: Path, key: Callable[[str], str], problems: list[Dropped]) -> dict[str, str | None]:
    """Return the split of each study; None for a word that is no split.

    Parameters
    ----------
    path
        The file.
    key
        Makes the set's id of a study of the one in the file.
    problems
        Rows that cannot be read are added here.
    """
    if path.suffix.lower() == ".json":
        entries = r2gen.read_annotation(path)
        pairs = ((entry, split) for split, part in entries.items() for entry in part if isinstance(entry, dict))
        return {key(wording.plain(entry.get("id"))): split for entry, split in pairs}
    return {key(wording.plain(row["study_id"])): wording.split_of(row["split"]) for row in beside(path, problems)}
