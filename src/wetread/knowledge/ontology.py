"""What wetread knows of one modality: read from a YAML file, checked, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from wetread.errors import KnowledgeError, MissingError, UsageError, nearest
from wetread.records import Change, Severity, Side

Urgency = Literal["urgent", "actionable", "minor", "benign"]
RANK: Mapping[Urgency, int] = {"urgent": 0, "actionable": 1, "minor": 2, "benign": 3}
"""Urgency to its place, the most pressing first."""
SIGNIFICANT: frozenset[str] = frozenset({"urgent", "actionable"})
"""Urgencies whose errors count as clinically significant."""

CHEXPERT14: tuple[str, ...] = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
"""The 14 CheXpert observations in the order of CheXbert's heads (Smit et al. 2020)."""

NIH14: tuple[str, ...] = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
"""The 14 ChestX-ray14 classes in their data set's order (Wang et al. 2017)."""

DEFAULT = Path(__file__).with_name("chest_xray.yaml")


@dataclass(frozen=True)
class Code:
    """A concept's code in a published vocabulary."""

    scheme: str
    """Coding scheme by its name in DICOM: ``SCT`` (SNOMED CT), ``DCM`` (DICOM's own), ``RADLEX``, ``LN`` (LOINC), ``UCUM``."""
    value: str
    """The code."""
    meaning: str
    """What the vocabulary calls it."""


@dataclass(frozen=True)
class FindingSpec:
    """What is known of one finding."""

    name: str
    """Its name, the same in every record."""
    region: str
    """Region of the perception tree."""
    radlex: str
    """Its name in the style of RadLex."""
    terms: tuple[str, ...]
    """Phrases that name it (``/`` alternatives, ``~`` a gap)."""
    sides: tuple[Side, ...] = ()
    """Sides that may be stated; empty: it has none."""
    locations: tuple[str, ...] = ()
    """Locations that may be stated; empty: none."""
    severities: tuple[Severity, ...] = ()
    """Grades that may be stated; empty: it is not graded."""
    changes: tuple[Change, ...] = ()
    """Changes that may be stated."""
    parent: str = ""
    """The more general finding that also names it; empty: none."""
    chexpert: str = ""
    """CheXpert observation; empty: none."""
    nih: str = ""
    """Class of the NIH ChestX-ray14 label set; empty: none."""
    urgency: Urgency = "minor"
    """How soon somebody must act on it."""
    descriptive: bool = False
    """Whether it is a mere sign, which "in keeping with X" explains away."""
    normal: bool = False
    """Whether it names the absence of findings; never extracted."""
    knowledge: str = ""
    """How it looks and what it implies, in one or two sentences."""
    lay: str = ""
    """The same in plain words for a patient."""
    codes: tuple[Code, ...] = ()
    """The same concept in published vocabularies; empty where none is known to be the same."""

    @property
    def significant(self) -> bool:
        """Whether an error about it matters clinically (urgency ``urgent`` or ``actionable``)."""
        return self.urgency in SIGNIFICANT


@dataclass(frozen=True)
class Part:
    """One place of the anatomy tree: a region of the body or a part of one."""

    name: str
    """Its name."""
    title: str = ""
    """How reports and checklists call a region; empty for parts."""
    parts: tuple[Part, ...] = ()
    """What lies in it, in reading order."""


@dataclass(frozen=True)
class Location:
    """Words for one place."""

    name: str
    """Canonical name."""
    terms: tuple[str, ...]
    """Phrases that mean it."""
    side: Side = ""
    """Side that the words imply, such as left for the lingula."""
    codes: tuple[Code, ...] = ()
    """The place in published vocabularies, without its side."""


@dataclass(frozen=True)
class NormalSpec:
    """What a statement of normality about one part of the body denies."""

    name: str
    """Name of the part."""
    subjects: tuple[str, ...]
    """Phrases that become normal with a word of normality: ``lung`` in "lungs are clear"."""
    abnormalities: tuple[str, ...]
    """Phrases that are denied with a negation: "no acute osseous abnormality"."""
    absent: tuple[str, ...]
    """Findings that are then absent."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """One modality's knowledge; compared and hashed by identity, since it is loaded once."""

    modality: str
    """Name, as in ``Study.modality``."""
    language: str
    """Language of its terms, as a two-letter code."""
    version: str
    """Changes when any extraction may change."""
    anatomy: tuple[Part, ...]
    """The regions with their parts, in reading order."""
    findings: Mapping[str, FindingSpec]
    """Finding name to its spec, in file order."""
    normals: tuple[NormalSpec, ...]
    """What statements of normality deny."""
    locations: tuple[Location, ...]
    """Words of place."""
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Further vocabulary: ``words[group][value]`` is a tuple of phrases (sides, severities, negation …)."""
    spelling: Mapping[str, str]
    """Variant spelling to the word that is meant."""
    source: str = ""
    """Name of the file."""

    def __getitem__(self, name: str) -> FindingSpec:
        try:
            return self.findings[name]
        except KeyError:
            known = ", ".join(self.findings)
            hint = nearest(name, self.findings)
            raise KnowledgeError(f"{self.source}: no finding is called {name!r}.{hint} There are: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self.findings

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return the more general findings of ``name``, nearest first; empty for an unknown name.

        >>> load().ancestors("rib fracture")
        ('fracture',)
        """
        found: list[str] = []
        spec = self.findings.get(name)
        while spec is not None and spec.parent and spec.parent not in found:
            found.append(spec.parent)
            spec = self.findings.get(spec.parent)
        return tuple(found)

    @cached_property
    def regions(self) -> Mapping[str, str]:
        """Region name to title, in reading order."""
        return MappingProxyType({region.name: region.title for region in self.anatomy})

    @cached_property
    def within(self) -> Mapping[str, str]:
        """Place to the larger place that it lies in; regions are no places.

        >>> load().within["base"]
        'lower zone'
        """
        found: dict[str, str] = {}
        todo = [part for region in self.anatomy for part in region.parts]
        while todo:
            part = todo.pop()
            found.update({inner.name: part.name for inner in part.parts})
            todo.extend(part.parts)
        return MappingProxyType(found)


@lru_cache(maxsize=8)
def _load(path: Path, stamp: int) -> Knowledge:
    from wetread.knowledge.reader import read  # here, so that importing the room costs nothing

    del stamp  # part of the cache key: an edited file is read again
    return read(path, packaged=DEFAULT)


def load(path: str | Path | None = None) -> Knowledge:
    """Return the knowledge of one modality, read once per file and edit (the packaged file once per process).

    Parameters
    ----------
    path
        A whole knowledge file, or a site's extension of the packaged one (``reader.merge`` says how); None: the chest
        X-ray file that comes with the package.

    Raises
    ------
    MissingError
        When there is no such file.
    KnowledgeError
        When the file is wrong; names file, line and what is allowed.

    >>> load()["pneumothorax"].urgency
    'urgent'
    """
    if path is None:
        return _packaged()
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{file} is a folder; give a YAML file of knowledge.")
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        raise MissingError(f"{file.name}: there is no such knowledge file; name a YAML file that exists.") from None
    return _load(file.resolve(), stamp)


@lru_cache(maxsize=1)
def _packaged() -> Knowledge:
    return _load(DEFAULT, 0)
