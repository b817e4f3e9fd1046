"""The data card: what is in a folder of studies, counted in one pass."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wetread.knowledge import CHEXPERT14, extract, label_set, load
from wetread.records import Report, Study
from wetread.studies.datasets.wording import MARK
from wetread.studies.matching import age_band
from wetread.studies.splits import patient_key

SECTIONS = ("findings", "impression", "indication", "comparison")
_VALUES = {1: "present", -1: "uncertain", 0: "denied"}


@dataclass(frozen=True)
class Words:
    """How long the texts of one section are, in words between blanks; empty ones are left out."""

    texts: int
    """How many there are."""
    mean: float
    """Mean."""
    low: int
    """5th percentile."""
    median: int
    """Median."""
    high: int
    """95th percentile."""
    longest: int
    """Greatest."""


@dataclass(frozen=True)
class Card:
    """What is in a set of studies."""

    studies: int = 0
    """Studies."""
    patients: int = 0
    """Distinct patients, told apart by source."""
    unnamed: int = 0
    """Studies that name no patient."""
    images: int = 0
    """Images of the studies, without those of priors."""
    images_per_study: Mapping[str, int] = field(default_factory=dict)
    """Number of images to studies with so many."""
    views: Mapping[str, int] = field(default_factory=dict)
    """View to images."""
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Split (``none`` where there is none) to its ``studies`` and ``patients``."""
    leaks: int = 0
    """Patients with studies in more than one split."""
    sections: Mapping[str, int] = field(default_factory=dict)
    """Which sections the reports have, to studies."""
    words: Mapping[str, Words] = field(default_factory=dict)
    """Section to the length of its texts."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Section to studies that have a mark of de-identification in it."""
    texts: int = 0
    """Distinct reports, by their words in any case."""
    most_frequent: int = 0
    """Studies with the most frequent report."""
    repeated: Mapping[str, int] = field(default_factory=dict)
    """Split other than train to its studies whose report is also that of a training study, word for word."""
    dated: int = 0
    """Studies with a date."""
    priors: Mapping[str, int] = field(default_factory=dict)
    """Studies with a prior, with a prior's report, and with a prior's image."""
    sexes: Mapping[str, int] = field(default_factory=dict)
    """Sex to studies."""
    ages: Mapping[str, int] = field(default_factory=dict)
    """Age band to studies."""
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """CheXpert class to the studies whose report has it ``present``, ``uncertain``, ``denied``, as the extractor reads them."""
    unlabelled: str = ""
    """Why no labels were read; empty where they were."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class Counting:
    """Counts studies; ``add`` each, then ``card``."""

    def __init__(self, *, labels: bool = True) -> None:
        self._labels = labels
        self._modality = load().modality
        self._other: set[str] = set()
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._lengths: dict[str, array[int]] = {name: array("I") for name in SECTIONS}
        self._patients: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._texts: dict[bytes, Counter[str]] = defaultdict(Counter)
        self._known: dict[bytes, tuple[int | None, ...]] = {}
        self._classes: dict[str, Counter[str]] = {name: Counter() for name in CHEXPERT14}
        self.shape = Shape()
        """What kinds of values the studies' ``meta`` hold."""

    def add(self, study: Study) -> None:
        """Count one study."""
        counts, split = self._counts, study.split or "none"
        counts["all"]["studies"] += 1
        counts["splits"][split] += 1
        patient = patient_key(study)
        if patient is None:
            counts["all"]["unnamed"] += 1
        else:
            self._patients[patient].add(split)
        counts["all"]["images"] += len(study.images)
        counts["images"][str(len(study.images))] += 1
        counts["views"].update(image.view for image in study.images)
        counts["sexes"][study.sex] += 1
        counts["ages"]["unknown" if study.age is None else age_band(study.age)] += 1
        counts["all"]["dated"] += bool(study.date)
        if study.prior is not None:
            counts["priors"]["with a prior"] += 1
            counts["priors"]["with the prior's report"] += bool(study.prior.report)
            counts["priors"]["with the prior's image"] += bool(study.prior.images)
        self._report(study, study.report or Report(), split)
        self.shape.add(study.meta)

    def _report(self, study: Study, report: Report, split: str) -> None:
        texts = (report.findings, report.impression, study.indication, study.comparison)
        for name, text in zip(SECTIONS, texts, strict=True):
            if text.strip():
                self._lengths[name].append(len(text.split()))
                self._counts["marks"][name] += bool(MARK.search(text))
        self._counts["sections"][" and ".join(report.sections) or "none"] += 1
        if not report:
            return
        digest = hashlib.blake2b(" ".join(report.text.casefold().split()).encode(), digest_size=16).digest()
        self._texts[digest][split] += 1
        if study.modality != self._modality:
            self._other.add(study.modality)
        elif self._labels:
            if digest not in self._known:
                self._known[digest] = tuple(label_set("chexpert14", extract(report.text)).values())
            for name, value in zip(CHEXPERT14, self._known[digest], strict=True):
                if value is not None:
                    self._classes[name][_VALUES[value]] += 1

    def card(self) -> Card:
        """Return what was counted."""
        counts = self._counts
        patients: Counter[str] = Counter(split for splits in self._patients.values() for split in splits)
        trained = [splits for splits in self._texts.values() if splits["train"]]
        others = sorted({split for splits in trained for split in splits} - {"train"})
        unlabelled = "" if self._labels else "not asked for"
        if self._other:
            unlabelled = f"there is no knowledge of {', '.join(sorted(self._other))}"
        return Card(
            studies=counts["all"]["studies"],
            patients=len(self._patients),
            unnamed=counts["all"]["unnamed"],
            images=counts["all"]["images"],
            images_per_study=_sorted(counts["images"], int),
            views=_ranked(counts["views"]),
            splits={
                split: {"studies": n, "patients": patients[split]} for split, n in _ranked(counts["splits"]).items()
            },
            leaks=sum(len(splits - {"none"}) > 1 for splits in self._patients.values()),
            sections=_ranked(counts["sections"]),
            words={name: _words(lengths) for name, lengths in self._lengths.items() if lengths},
            marks={name: count for name, count in counts["marks"].items() if count},
            texts=len(self._texts),
            most_frequent=max((sum(splits.values()) for splits in self._texts.values()), default=0),
            repeated={split: sum(splits[split] for splits in trained) for split in others},
            dated=counts["all"]["dated"],
            priors=dict(counts["priors"]),
            sexes=_ranked(counts["sexes"]),
            ages=_sorted(counts["ages"], str),
            labels={} if unlabelled else {name: dict(found) for name, found in self._classes.items()},
            unlabelled=unlabelled,
        )


class Shape:
    """The kinds of values that studies' ``meta`` hold, for a typed table of them."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = defaultdict(set)
        self._inner: dict[str, Shape] = {}

    def add(self, meta: Mapping[str, Any]) -> None:
        """Add one mapping."""
        for name, value in meta.items():
            kinds = self._kinds[name]
            if isinstance(value, Mapping):
                kinds.add("struct")
                self._inner.setdefault(name, Shape()).add(value)
            elif value is not None:
                kinds.add({bool: "bool", int: "int64", float: "float64", str: "string"}.get(type(value), "other"))

    def features(self) -> list[dict[str, Any]] | None:
        """Return the columns as the YAML of a dataset card writes them; None where a column is of several kinds."""
        made: list[dict[str, Any]] = []
        for name, kinds in sorted(self._kinds.items()):
            if kinds == {"struct"}:
                inner = self._inner[name].features()
                if not inner:
                    return None
                made.append({"name": name, "struct": inner})
            elif kinds == {"int64", "float64"}:
                made.append({"name": name, "dtype": "float64"})
            elif len(kinds) <= 1 and kinds != {"other"}:
                made.append({"name": name, "dtype": next(iter(kinds), "string")})
            else:
                return None
        return made or None


def describe(studies: Iterable[Study], *, labels: bool = True) -> Card:
    """Return the card of studies, one pass over them.

    Parameters
    ----------
    studies
        The studies.
    labels
        Whether labels are read from the reports (about 6,000 reports a second).
    """
    counting = Counting(labels=labels)
    for study in studies:
        counting.add(study)
    return counting.card()


def _words(lengths: Sequence[int]) -> Words:
    ordered = sorted(lengths)

    def at(share: float) -> int:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Words(len(ordered), round(sum(ordered) / len(ordered), 1), at(0.05), at(0.5), at(0.95), ordered[-1])


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _sorted(counts: Counter[str], key: Any) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts, key=key)}
