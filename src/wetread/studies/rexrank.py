"""ReXrank's JSON: studies to draft in, the same entries with ``model_prediction`` out.

The input is one object, study id to ``image_path`` (a list), ``key_image_path``, ``frontal_lateral`` (a list beside the paths),
``context`` and, on public sets, ``section_findings``, ``section_impression`` and ``report``. The context is one line such as
``Age:50-60.Gender:M.Indication: Cough. Comparison: None.``; what it does not say is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from wetread.errors import StudyError, UsageError, WetreadError
from wetread.records import Image, Sex, Study
from wetread.studies.open import Problem, open_study
from wetread.studies.reports import read_json
from wetread.studies.tables import JsonObject
from wetread.studies.texts import check

PREDICTION = "model_prediction"
"""Key that holds the draft."""
IMAGES = "image_path"
"""Key that holds the images, relative to the folder of images."""
_KEYS = re.compile(r"\b(Age|Gender|Sex|Indication|History|Comparison)\s*:\s*", re.IGNORECASE)
_NOTHING = {"", "none", "n/a", "unknown", "not available"}
_SEXES: dict[str, Sex] = {"m": "male", "male": "male", "f": "female", "female": "female"}


@dataclass(frozen=True)
class Context:
    """What the context line says."""

    indication: str = ""
    """Why the examination was asked for; empty when it is not said."""
    comparison: str = ""
    """What it is compared with; empty when it is not said."""
    age: int | None = None
    """Age in years; None when only a range is given."""
    sex: Sex = "unknown"
    """Sex."""


def context_of(text: str) -> Context:
    """Return what a context line says.

    >>> context_of("Age:50-60.Gender:M.Indication: Cough. Comparison: None.")
    Context(indication='Cough', comparison='', age=None, sex='male')
    """
    parts = _KEYS.split(text)
    said = {key.lower(): value.strip().rstrip(".").strip() for key, value in zip(parts[1::2], parts[2::2], strict=True)}
    said = {key: "" if value.lower() in _NOTHING else value for key, value in said.items()}
    age = said.get("age", "")
    return Context(
        indication=said.get("indication", "") or said.get("history", ""),
        comparison=said.get("comparison", ""),
        age=int(age) if age.isascii() and age.isdigit() and int(age) <= 130 else None,
        sex=_SEXES.get((said.get("gender") or said.get("sex") or "").lower(), "unknown"),
    )


def read(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a ReXrank file, study id to entry, in its order.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is a folder, or study ids are repeated; names the first.
    StudyError
        It is not JSON of this form.
    """
    check(path)
    data = read_json(path)
    if not isinstance(data, JsonObject) or not data or not all(isinstance(one, dict) for one in data.values()):
        raise StudyError(f"{path.name}: one object of study id to entry must be in it, each entry an object.")
    if data.pairs is not None:
        names = [name for name, _ in data.pairs]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise UsageError(
            f"{path.name}: {len(twice)} study ids are repeated: {', '.join(twice[:10])}; keep one of each."
        )
    return {name: dict(entry) for name, entry in data.items()}


def studies(entries: Mapping[str, Mapping[str, Any]], root: Path, *, force: bool = False) -> Iterator[Study | Problem]:
    """Yield each entry as a study with its images, the key image first and frontal views before lateral ones.

    The reference, where an entry has one, is left out: nothing of it may reach the model.

    Parameters
    ----------
    entries
        As ``read`` gives them.
    root
        Folder that the image paths are relative to.
    force
        As in ``studies.open_study``.

    Yields
    ------
    Study or Problem
        A problem where none of the images can be opened, named like the study. Of several images those that cannot be
        opened are left out, and the first image's notes say so.
    """
    for name, entry in entries.items():
        try:
            yield _study(name, entry, root, force)
        except WetreadError as error:
            yield Problem(name, "failed", str(error))


def written(entries: Mapping[str, Mapping[str, Any]], predictions: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the entries with their predictions, ready to be written; an id without one gets an empty text."""
    return {name: {**entry, PREDICTION: predictions.get(name, "")} for name, entry in entries.items()}


def _study(name: str, entry: Mapping[str, Any], root: Path, force: bool) -> Study:
    found: list[Study] = []
    problems: list[str] = []
    for path, view in image_paths(name, entry):
        try:
            study = open_study(root / path, force=force)
        except WetreadError as error:
            problems.append(str(error))
            continue
        image = study.images[0]
        if view == "lateral" and image.view == "unknown":
            image = replace(image, view="lateral")
        found.append(replace(study, images=(replace(image, name=path),)))
    if not found:
        raise StudyError(problems[0])
    first = found[0].images[0]
    if problems:
        first = replace(first, notes=(*first.notes, f"{len(problems)} images of the study left out: {problems[0]}"))
    said = context_of(entry["context"]) if isinstance(entry.get("context"), str) else Context()
    images: tuple[Image, ...] = (first, *(one.images[0] for one in found[1:]))
    return Study(
        name,
        images,
        indication=said.indication or found[0].indication,
        comparison=said.comparison,
        age=said.age if said.age is not None else found[0].age,
        sex=said.sex if said.sex != "unknown" else found[0].sex,
        source="ReXrank",
    )


def image_paths(name: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the paths of an entry's images with their views, the key image first, then frontal before lateral.

    Raises
    ------
    StudyError
        They are no list of paths, or one is absolute or leads out of its folder.
    """
    paths = entry.get(IMAGES)
    paths = [paths] if isinstance(paths, str) else paths
    key = entry.get("key_image_path")
    if not paths and isinstance(key, str):
        paths = [key]
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise StudyError(f"study {name}: {IMAGES!r} must be a list of paths.")
    for path in paths:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise StudyError(f"study {name}: an image path must be relative to --img_root_dir and stay below it.")
    views = entry.get("frontal_lateral")
    views = views if isinstance(views, list) and len(views) == len(paths) else [""] * len(paths)
    pairs = [(path, str(view).strip().lower()) for path, view in zip(paths, views, strict=True)]
    return sorted(pairs, key=lambda one: (one[0] != key, one[1] == "lateral"))
