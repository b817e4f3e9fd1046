"""Studies as a `datasets.Dataset` that TRL's trainers read: chat turns and lazily decoded pictures."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, overload

from wetread.errors import ConfigError, UsageError, WetreadWarning
from wetread.models.transformers import to_picture, turns
from wetread.prompts import Style
from wetread.records import Image, Study
from wetread.studies import folder, leaks, priors
from wetread.studies.priors import PriorCount
from wetread.studies.splits import check_leaks, unnamed
from wetread.training.config import DataConfig
from wetread.training.lessons import Lesson

CACHE_BYTES = 512 * 1024 * 1024
"""Decoded pictures kept in memory; beyond it the oldest go, so that large data sets stay on disk."""
MOST_REPEATS = 1000
"""How often weights may repeat a study in one epoch; more is surely a slip."""


class Pictures:
    """Decoded pictures, most recently used first, up to ``CACHE_BYTES``; a prior's picture is that of its own study."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def get(self, study: str, image: Image) -> Any:
        """Return the picture (``PIL.Image``, RGB) of an image of a study."""
        file = image.file
        key = (study, image.name) if file is None else ("", str(file))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        picture = to_picture(image.pixels())
        self._kept[key] = picture
        self._bytes += picture.width * picture.height * 3
        while self._bytes > self._limit and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.width * old.height * 3
        return picture


class Examples:
    """Transform from row numbers to TRL examples, for ``Dataset.set_transform``; it stays in the process that made it.

    ``datasets`` pickles a transform several times to hash it. With thousands of studies in it that takes seconds,
    so what is pickled is a digest of what they are.
    """

    def __init__(self, lessons: Sequence[Lesson], style: Style, *, with_target: bool) -> None:
        self.lessons = lessons
        self.style = style
        self.with_target = with_target
        self.pictures = Pictures()
        ids = "\n".join(
            f"{one.study.id} {one.first} {one.plain} {one.thought.text if one.thought else None}" for one in lessons
        )
        self.digest = hashlib.blake2b(f"{style!r} {with_target} {ids}".encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (self.digest,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Examples:
        return self

    def __call__(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Return the examples of the rows, column by column."""
        out: dict[str, list[Any]] = {"prompt": [], "images": [], "study": [], "before": []}
        if self.with_target:
            out["completion"] = []
        for number in rows["row"]:
            lesson = self.lessons[number]
            prompt = lesson.prompt(self.style)
            out["prompt"].append(turns(prompt))
            out["images"].append([self.pictures.get(prompt.study, image) for image in prompt.all_images])
            out["study"].append(prompt.study)
            out["before"].append(lesson.first)
            if self.with_target and lesson.study.report is not None:
                out["completion"].append([{"role": "assistant", "content": lesson.target(self.style)}])
        return out


def _elsewhere(digest: str) -> Examples:
    raise TypeError(f"the examples {digest} are in the process that made them; make them anew with as_dataset")


def as_dataset(samples: Sequence[Study] | Sequence[Lesson], style: Style, *, with_target: bool) -> Any:
    """Return a ``datasets.Dataset`` with columns prompt, images, study and, ``with_target``, completion."""
    from datasets import Dataset

    lessons = [one if isinstance(one, Lesson) else Lesson(one) for one in samples]
    data = Dataset.from_dict({"row": list(range(len(lessons)))})
    data.set_transform(Examples(lessons, style, with_target=with_target))
    return data


@dataclass(frozen=True)
class Part:
    """One folder's part in a mixture."""

    folder: str
    """The folder, as the config names it."""
    source: str
    """The data set's name, as its studies say it."""
    studies: int
    """Its studies with a report in the split."""
    samples: int
    """Its samples in an epoch; more than ``studies`` where weights repeat some."""


@dataclass(frozen=True)
class Samples(Sequence[Study]):
    """The samples of an epoch, in no order: studies, some of them more than once where weights ask for it."""

    studies: tuple[Study, ...]
    """Each study once; their ids differ."""
    rows: tuple[int, ...]
    """Number of the study that each sample is."""
    parts: tuple[Part, ...]
    """What each folder gives."""
    duplicates: int = 0
    """Studies that have report and picture of another one in the mixture."""
    compared: int = 0
    """Studies of all splits and of what is held out, among which leaks were looked for."""
    unnamed: int = 0
    """Those of them that name no patient; leaks between these cannot be seen."""
    priors: PriorCount | None = None
    """What was found where the folders' priors were looked for (``data.priors``); None: they were not."""
    reported: Mapping[str, int] = field(default_factory=dict)
    """Split to how many studies of the folders have a report."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Study: ...
    @overload
    def __getitem__(self, at: slice) -> list[Study]: ...
    def __getitem__(self, at: int | slice) -> Study | list[Study]:
        if isinstance(at, slice):
            return [self.studies[row] for row in self.rows[at]]
        return self.studies[self.rows[at]]

    def event(self) -> dict[str, Any]:
        """Return what ``events.jsonl`` says of the data."""
        sources = [{**vars(part), "share": round(part.samples / len(self), 4)} for part in self.parts]
        return {
            "studies": len(self.studies),
            "samples": len(self),
            "duplicates": self.duplicates,
            "unnamed": self.unnamed,
            "priors": self.priors and self.priors.to_json(),
            "sources": sources,
        }


def select(config: DataConfig, seed: int = 0) -> Samples:
    """Return the samples that ``config`` names, after checking that nothing that is tested on is among them.

    Without weights every study is one sample. With weights an epoch is as long as it takes to show each study at least
    once while each folder has its share: the folder that is shortest of samples gives each study once, those of the others
    are repeated, and what is left over is dealt by ``seed``.

    Raises
    ------
    MissingError
        No `studies.jsonl` in a folder.
    UsageError
        A folder has no study with a report in the split; names the splits that exist.
    ConfigError
        Weights or limits do not fit the folders.
    StudyError
        A patient is in two splits, a prior is of another split or patient, something of another split or held out is
        trained on, or a study has no image.

    Warns
    -----
    WetreadWarning
        Studies that have report and picture of another one, are listed in two folders, or name no patient.
    """
    limits = _one_each(config)
    train: list[list[Study]] = []
    others: list[Study] = []
    folders, found = priors.read(config.path, config.priors)
    for every, limit in zip(folders, limits, strict=True):
        train.append(folder.choose(every, config.split, limit))
        others += [study for study in every if study.split not in ("", config.split)]
    held_out = _held_out(config)
    flat = [study for part in train for study in part]
    folder.check_shown(flat)
    compared = [*flat, *others, *held_out]
    check_leaks([*flat, *others])
    leaks.check_copies(flat, others, "study of another split")
    if held_out:
        leaks.check_held_out(flat, held_out)
    leaks.check_priors(flat, [*others, *held_out])
    parts, repeated = distinct(train)
    duplicates = sum(1 for _ in leaks.equal_pairs([study for part in parts for study in part]))
    for count, what in (
        (repeated, "are listed in more than one folder and taken once"),
        (duplicates, "have report and picture of another one"),
    ):
        if count:
            warnings.warn(f"{count} of the {len(flat)} training studies {what}.", WetreadWarning, stacklevel=2)
    nameless = unnamed(compared)
    if nameless:
        warnings.warn(
            f"{nameless:,} of the {len(compared):,} studies name no patient; leaks between them cannot be seen.",
            WetreadWarning,
            stacklevel=2,
        )
    rows = _rows([len(part) for part in parts], config.weights, seed)
    return Samples(
        tuple(study for part in parts for study in part),
        tuple(row for part in rows for row in part),
        tuple(
            Part(path, part[0].source, len(part), len(row))
            for path, part, row in zip(config.path, parts, rows, strict=True)
        ),
        duplicates,
        len(compared),
        nameless,
        found,
        Counter(study.split for every in folders for study in every if study.report),
    )


def digests(samples: Samples) -> dict[str, str]:
    """Return what stands for the data of a training, part by part; of images it is their names, not what is in them."""
    made = marks(samples.studies)
    rows = hashlib.blake2b(repr((made["studies"], samples.rows)).encode(), digest_size=8)
    return {**made, "studies": rows.hexdigest()}


def marks(studies: Sequence[Study]) -> dict[str, str]:
    """Return what stands for the studies, their reports, and what else of them a model may be shown."""
    kept = {part: hashlib.blake2b(digest_size=8) for part in ("studies", "reports", "contexts")}
    for study in studies:
        kept["studies"].update(repr((study.source, study.id, _names(study.images))).encode())
        kept["reports"].update(repr(study.report).encode())
        prior = study.prior and (study.prior.study, study.prior.report, _names(study.prior.images))
        kept["contexts"].update(repr((study.indication, study.comparison, study.age, study.sex, prior)).encode())
    return {part: mark.hexdigest() for part, mark in kept.items()}


def _names(images: Sequence[Image]) -> list[tuple[str, str]]:
    return [(image.name, image.view) for image in images]


def _one_each(config: DataConfig) -> tuple[int, ...]:
    """Return one limit a folder; ``ConfigError`` where paths, limits and weights do not fit."""
    count = len(config.path)
    if not count or len({str(path) for path in config.path}) < count:
        raise ConfigError(f"data.path names {count} folders; give one or several different ones.")
    if len(config.limit) not in (1, count):
        raise ConfigError(
            f"data.limit has {len(config.limit)} numbers; give one, or one for each of the {count} folders."
        )
    if len(config.weights) not in (0, count):
        raise ConfigError(f"data.weights has {len(config.weights)} numbers; give one for each of the {count} folders.")
    return config.limit if len(config.limit) == count else config.limit * count


def _held_out(config: DataConfig) -> list[Study]:
    """Return the studies that will be tested on: all of the named folders but those of the split that is trained on."""
    found: list[Study] = []
    for path in config.held_out:
        studies = [study for study in folder.read(path) if study.split != config.split]
        if not studies:
            raise UsageError(
                f"data.held_out: {path} has studies of split {config.split!r} only; name a folder with others."
            )
        found += studies
    return found


def distinct(folders: Sequence[Sequence[Study]], name: str = "data.path") -> tuple[list[list[Study]], int]:
    """Return the folders' studies with ids that differ, and how many were left out as listed before.

    The same id from the same source is the same study; from another source it is another one and gets the source's name.

    Parameters
    ----------
    folders
        Studies, folder by folder.
    name
        The config key that names the folders.

    Raises
    ------
    UsageError
        A folder has nothing that those before it do not have.
    """
    seen: set[tuple[str, str]] = set()
    ids: set[str] = set()
    parts: list[list[Study]] = []
    repeated = 0
    for number, part in enumerate(folders):
        kept = []
        for study in part:
            key = (study.source, study.id)
            if key in seen:
                repeated += 1
                continue
            seen.add(key)
            one = study if study.id not in ids else replace(study, id=f"{study.source or number}:{study.id}")
            ids.add(one.id)
            kept.append(one)
        if not kept:
            raise UsageError(f"{name}: every study of a folder is also in one before it; name it once.")
        parts.append(kept)
    return parts, repeated


def _rows(sizes: Sequence[int], weights: Sequence[float], seed: int) -> list[list[int]]:
    """Return, folder by folder, the numbers of the studies of an epoch.

    >>> [len(rows) for rows in _rows([6, 2], [1, 1], seed=0)]
    [6, 6]
    >>> _rows([2, 1], (), seed=0)
    [[0, 1], [2]]
    """
    import numpy as np

    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    if not weights:
        return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    scale = max(Fraction(size) / Fraction(weight) for size, weight in zip(sizes, weights, strict=True))
    rows = []
    for number, (start, size, weight) in enumerate(zip(starts, sizes, weights, strict=True)):
        wanted = round(scale * Fraction(weight))
        if wanted > MOST_REPEATS * size:
            raise ConfigError(
                f"data.weights={list(weights)} would show each of the {size} studies of folder {number + 1} "
                f"{math.floor(wanted / size)} times an epoch; at most {MOST_REPEATS} are allowed, lower its weight."
            )
        whole, rest = divmod(wanted, size)
        extra = np.random.default_rng([seed, number]).permutation(size)[:rest]
        rows.append([*list(range(start, start + size)) * whole, *(start + int(i) for i in sorted(extra))])
    return rows
