"""Looking at a folder of studies again: is it whole, and may it be trained on and tested on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wetread.errors import StudyError, UsageError
from wetread.records import Study
from wetread.runs.importing import CARD
from wetread.studies import folder, leaks, splits
from wetread.studies.datasets import SETS, DataSet, card_text
from wetread.studies.datasets.card import Card, describe

SHOWN = 5
"""Things of one kind that are named."""


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    what: str
    """What was looked at, in words."""
    problems: int = 0
    """How many things are wrong."""
    told: str = ""
    """What was found, in words."""
    first: tuple[str, ...] = ()
    """The first of them."""

    @property
    def line(self) -> str:
        """The same in one line."""
        named = f": {', '.join(self.first)}{' …' if self.problems > len(self.first) else ''}" if self.first else ""
        return f"{'ok     ' if not self.problems else 'PROBLEM'}  {self.what}: {self.told}{named}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"what": self.what, "problems": self.problems, "told": self.told, "first": list(self.first)}


@dataclass(frozen=True)
class Checked:
    """What was found in a folder."""

    findings: tuple[Finding, ...] = field(default=())
    """Look by look."""
    card: Card = field(default_factory=Card)
    """What is in the studies that can be read."""
    text: str = ""
    """The card as Markdown."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(one.problems for one in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"sound": self.sound, "checks": [one.to_json() for one in self.findings], "data": self.card.to_json()}


def check(path: Path, *, images: bool = True, labels: bool = True) -> Checked:
    """Look at everything in a folder of studies; a line that is no study does not end it.

    Parameters
    ----------
    path
        The folder, or its ``studies.jsonl``.
    images
        Whether image files are opened, and equal pictures looked for among studies with equal reports.
    labels
        Whether the card has labels.

    Raises
    ------
    MissingError
        There is no list of studies.
    UsageError
        There is no study in it at all, and nothing wrong either.
    """
    studies, lines = _lines(path)
    if not studies and not lines.problems:
        raise UsageError(f"{path.name} has an empty {folder.LIST}; import studies into it first.")
    findings = [lines, _reports(studies), _bare(studies)]
    if images:
        findings += [_readable(studies)]
    findings += [_split(studies), *_priors(studies)]
    if images:
        findings += _copies(studies)
    card = describe(studies, labels=labels)
    data_set, imported = _import(path)
    title = data_set.title if data_set is not None else path.resolve().name
    return Checked(tuple(findings), card, card_text.markdown(card, title, data_set, imported))


def _some(problems: list[str]) -> tuple[str, ...]:
    return tuple(problems[:SHOWN])


def _lines(path: Path) -> tuple[list[Study], Finding]:
    studies: list[Study] = []
    wrong: list[str] = []
    for number, found in folder.scan(path):
        if found is None:
            wrong.append(f"line {number} is half written")
        elif isinstance(found, StudyError):
            wrong.append(str(found).removeprefix(f"{folder.LIST} "))
        else:
            studies.append(found)
    told = f"{len(studies):,} studies" + (f", {len(wrong):,} lines that are none" if wrong else "")
    return studies, Finding("lines of the list", len(wrong), told, _some(wrong))


def _reports(studies: list[Study]) -> Finding:
    without = [study.id for study in studies if not study.report]
    told = f"{len(studies) - len(without):,} of {len(studies):,} studies have one"
    return Finding("reports", len(without), told, _some(without))


def _bare(studies: list[Study]) -> Finding:
    """Studies without an image are a problem where others have one; a folder of reports alone is none."""
    bare = [study.id for study in studies if not study.images]
    if len(bare) == len(studies):
        return Finding("images listed", 0, "none; reports alone, for scoring, not for training")
    told = f"{len(studies) - len(bare):,} of {len(studies):,} studies have one"
    return Finding("images listed", len(bare), told, _some(bare))


def _readable(studies: list[Study]) -> Finding:
    shown = [(study.id, image) for study in studies for image in study.images]
    shown += [(study.id, image) for study in studies if study.prior for image in study.prior.images]
    files, odd = folder.unreadable(shown)
    told = f"{files - len(odd):,} of {files:,} can be read"
    return Finding("image files", len(odd), told, _some([f"{image.name} of {study}" for study, image in odd]))


def _split(studies: list[Study]) -> Finding:
    found = splits.leaks(studies)
    nameless = splits.unnamed(studies)
    told = f"{len(found):,} patients in more than one" if found else "no patient in more than one"
    if nameless:
        told += f"; {nameless:,} studies name no patient, so that of them it cannot be told"
    return Finding(
        "splits", len(found), told, _some([f"{patient} in {' and '.join(in_)}" for (_, patient), in_ in found.items()])
    )


def _priors(studies: list[Study]) -> list[Finding]:
    """Look at every split's priors as its training would."""
    with_prior = sum(study.prior is not None for study in studies)
    wrong: list[str] = []
    names = sorted({study.split for study in studies})
    for name in names:
        mine = [study for study in studies if study.split == name]
        others = [study for study in studies if study.split != name]
        try:
            leaks.check_priors(mine, others)
        except StudyError as error:
            wrong.append(f"split {name or '(none)'}: {error}")
    return [Finding("priors", len(wrong), f"{with_prior:,} studies have one", _some(wrong))]


def _copies(studies: list[Study]) -> list[Finding]:
    """Studies with the report and a picture of another one; across splits it is a leak."""
    pairs = list(leaks.equal_pairs(studies))
    across = [
        f"{later.id} ({later.split}) of {first.id} ({first.split})"
        for first, later in pairs
        if first.split != later.split
    ]
    told = f"{len(pairs):,} studies have report and picture of another one, {len(across):,} of them of another split"
    return [Finding("copies", len(across), told, _some(across))]


def _import(path: Path) -> tuple[DataSet | None, dict[str, Any] | None]:
    """Return the data set and the counts of the import that made the folder; None where none is known."""
    file = (path.parent if path.name == folder.LIST else path) / CARD
    try:
        body = json.loads(file.read_text("utf-8"))
        name, imported = body["set"]["name"], body["import"]
        if name not in SETS or not all(key in imported for key in ("rows", "studies", "kept", "dropped")):
            return None, None
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    data_set: DataSet = SETS[name]
    return data_set, imported
