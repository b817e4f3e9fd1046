"""Conversations about images: LLaVA's JSON and ms-swift's JSONL, in which the one answer is the report.

Layout: a JSON list or JSONL of entries with ``id``, ``image`` (a path or a list of them) and ``conversations``, turns of
``from`` (human, gpt) and ``value`` (github.com/haotian-liu/LLaVA, ``docs/Finetune_Custom_Data.md``); or of ``messages``, turns of
``role`` (system, user, assistant) and ``content``, and ``images`` (ms-swift, "Custom dataset"). Beside them LLaVA-Rad's files
and others have ``reason`` or ``indication``, ``comparison``, ``view``, ``split``, ``subject_id``, ``study_id``, ``age``, ``sex``.

An entry with more than one answer is left out, since nothing says which one is the report. The question is not read: what it
tells of the patient is in no fixed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wetread.errors import StudyError
from wetread.records import Image, Report, Study
from wetread.studies.datasets import wording
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place, Row
from wetread.studies.datasets.files import Anchor, anchor, below, first_of, must_exist, wrong_layout
from wetread.studies.reports import read_json
from wetread.studies.tables import json_lines

TITLE = "conversations"
NO_ANSWER = "no answer that is the report"
SEVERAL = "several answers where one must be the report"
_TURNS = ("conversations", "conversation", "messages")
_ANSWERERS = frozenset({"gpt", "assistant", "model"})
_PATIENTS = ("patient", "patient_id", "subject_id")


def open_set(place: Place) -> Opened:
    """Find the JSON or JSONL; see ``DataSet.open``."""
    must_exist(place)
    path = place.root if place.root.is_file() else first_of([place.root], ["*.json", "*.jsonl"])
    if path is None or path.suffix not in (".json", ".jsonl"):
        raise wrong_layout(place, "LLaVA's data", "one .json or .jsonl with conversations or messages")
    first = next((entry for _, entry in _entries(path) if isinstance(entry, dict)), None)
    if first is None or not any(name in first for name in _TURNS):
        have = ", ".join(list(first)[:12]) if first else "no object"
        raise StudyError(f"{path.name}: entries must have {' or '.join(_TURNS)}; the first has: {have}.")
    return Opened(
        f"{path.name}, {next(name for name in _TURNS if name in first)}", partial(_rows, place, path), (path,)
    )


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix == ".jsonl":
        yield from json_lines(path)
        return
    data = read_json(path)
    if not isinstance(data, list):
        raise StudyError(f"{path.name}: a list of entries must be in it; there is a JSON {type(data).__name__}.")
    yield from enumerate(data, start=1)


def _rows(place: Place, path: Path) -> Iterator[Row]:
    names = []
    if place.look:
        names = [name for _, entry in _entries(path) if isinstance(entry, dict) for name in _images(entry, place)]
    images = anchor(place, names, SET.images, ("images", "files"))
    for number, entry in _entries(path):
        yield _entry(entry, f"{path.name}, entry {number}", place, images)


def _images(entry: Mapping[str, Any], place: Place) -> list[str]:
    """Return the paths of an entry's images; an absolute one below the folder of images becomes relative to it."""
    value = entry.get("images", entry.get("image"))
    values = value if isinstance(value, list) else [value]
    found = []
    for one in values:
        one = one.get("path") if isinstance(one, dict) else one
        if isinstance(one, str) and one.strip():
            found.append(_relative(one, place))
    return found


def _relative(name: str, place: Place) -> str:
    top = place.images or (place.root if place.root.is_dir() else place.root.parent)
    path = Path(name)
    return (
        path.relative_to(top.absolute()).as_posix()
        if path.is_absolute() and path.is_relative_to(top.absolute())
        else name
    )


def _answers(entry: Mapping[str, Any]) -> list[str]:
    turns: list[Any] = next((entry[name] for name in _TURNS if isinstance(entry.get(name), list)), [])
    found = []
    for turn in turns:
        if isinstance(turn, dict) and str(turn.get("from", turn.get("role", ""))).lower() in _ANSWERERS:
            said = turn.get("value", turn.get("content"))
            if isinstance(said, list):  # ms-swift and TRL write parts
                said = " ".join(part.get("text", "") for part in said if isinstance(part, dict))
            found.append(said if isinstance(said, str) else "")
    return found


def _entry(entry: Any, where: str, place: Place, images: Anchor) -> Row:
    if not isinstance(entry, dict):
        return Dropped("an entry that is no object", where, detail=entry if isinstance(entry, str) else "")
    names = _images(entry, place)
    study = (
        wording.plain(entry.get("study_id"))
        or wording.plain(entry.get("id"))
        or (wording.plain(names[0]) if names else "")
    )
    if not study:
        return Dropped("a row without its ids", where)
    answers = _answers(entry)
    if len(answers) != 1:
        return Dropped(NO_ANSWER if not answers else SEVERAL, where, study)
    paths = [below(name) for name in names]
    if None in paths:
        return Dropped("an image path that leads out of the folder", where, study)
    kept = [path for path in paths if path is not None]
    split = wording.split_of(entry.get("split"))
    if split is None:
        return Dropped("a split that is none of train, val, test", where, study)
    text = wording.said(answers[0])
    view = wording.view_of(entry.get("view"))
    made = Study(
        id=study,
        images=tuple(Image(str(path), view) for path in kept),
        patient=next((wording.plain(entry[name]) for name in _PATIENTS if entry.get(name) is not None), ""),
        indication=wording.said(entry.get("indication")) or wording.said(entry.get("reason")),
        comparison=wording.said(entry.get("comparison")),
        age=wording.age_of(entry.get("age")),
        sex=wording.sex_of(entry.get("sex")),
        date=wording.date_of(entry.get("date")),
        split=split,
        report=place.read(text) if text else Report(),
        source=TITLE,
    )
    return Found(made, tuple(images.file(path) for path in kept), where=where)


SET = DataSet(
    name="llava",
    title=TITLE,
    open=open_set,
    reference="the one answer; with section headers split by them, else findings",
    context="keys `indication` or `reason`, and `comparison`; the question is not read",
    splits="key `split`, else none",
    priors="by key `date` where there is one, else none",
    dropped="entries with no answer or several",
    images="the paths in image or images",
)
