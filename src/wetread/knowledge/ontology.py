"""What wetread knows of one modality: read from a YAML file, checked, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from wetread.errors import KnowledgeError, MissingError, nearest
from wetread.records import CHANGES, SEVERITIES, Change, Severity, Side

Urgency = Literal["urgent", "actionable", "minor", "benign"]
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)
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
class FindingSpec:
    """What is known of one finding."""

    name: str
    """Its name, the same in every record."""
    region: str
    """Region of the perception tree."""
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

    @property
    def significant(self) -> bool:
        """Whether an error about it matters clinically (urgency ``urgent`` or ``actionable``)."""
        return self.urgency in SIGNIFICANT


@dataclass(frozen=True)
class Location:
    """Words for one place."""

    name: str
    """Canonical name."""
    terms: tuple[str, ...]
    """Phrases that mean it."""
    within: str = ""
    """The larger place that it lies in; empty: none."""
    side: Side = ""
    """Side that the words imply, such as left for the lingula."""


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
    regions: Mapping[str, str]
    """Region name to title, in reading order."""
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
    def within(self) -> Mapping[str, str]:
        """Location name to the larger location that it lies in."""
        return MappingProxyType({place.name: place.within for place in self.locations if place.within})


_GROUPS: dict[str, tuple[str, ...]] = {
    "sides": ("left", "right", "bilateral"),
    "severities": tuple(filter(None, SEVERITIES)),
    "changes": tuple(filter(None, CHANGES)),
    "negation": ("before", "after", "not"),
    "uncertainty": ("before", "after", "between"),
    "breaks": ("hard", "with", "list", "or"),
    "headers": ("read", "skip"),
}
_LISTS = (
    "not_sides", "everything", "anaphora", "probable", "commitment", "history", "recommendation", "nearby", "normal", "ignore",
    "articles", "verbs", "plural_verbs", "seen", "prepositions",
)  # fmt: skip
_FINDING_KEYS = frozenset(FindingSpec.__dataclass_fields__)
_TOP_KEYS = ("modality", "language", "version", "regions", "findings", "normals", "vocabulary")


@lru_cache(maxsize=8)
def _load(path: Path, stamp: int) -> Knowledge:
    import yaml  # here, so that importing the room costs nothing

    del stamp  # part of the cache key: an edited file is read again
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise KnowledgeError(f"{path.name}{where}: {problem}; the file must be valid YAML.") from None
    return _Reader(path.name, text).knowledge(data)


def load(path: str | Path | None = None) -> Knowledge:
    """Return the knowledge of one modality, read once per file and edit (the packaged file once per process).

    Parameters
    ----------
    path
        A knowledge file; None: the chest X-ray file that comes with the package.

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
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        raise MissingError(f"{file.name}: there is no such knowledge file; name a YAML file that exists.") from None
    return _load(file.resolve(), stamp)


@lru_cache(maxsize=1)
def _packaged() -> Knowledge:
    return _load(DEFAULT, 0)


class _Reader:
    """Checks one parsed file and freezes it; every complaint names the file and the line."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    def fail(self, path: tuple[str | int, ...], problem: str) -> KnowledgeError:
        """Return the error for the node at ``path``."""
        return KnowledgeError(f"{self.file}, line {self._line(path)}: {problem}")

    def _line(self, path: tuple[str | int, ...]) -> int:
        import yaml

        node: Any = yaml.compose(self.text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        line = 1
        for step in path:
            if isinstance(node, yaml.MappingNode):
                pair = next(((k, v) for k, v in node.value if k.value == step), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def knowledge(self, data: Any) -> Knowledge:
        self.keys(data, _TOP_KEYS, _TOP_KEYS, ())
        regions = {}
        for index, item in enumerate(self.items(data["regions"], ("regions",))):
            self.keys(item, ("name", "title"), ("name", "title"), ("regions", index))
            regions[item["name"]] = item["title"]
        vocabulary = data["vocabulary"]
        self.keys(vocabulary, ("spelling", "locations", *_GROUPS, *_LISTS), None, ("vocabulary",))
        places = self.locations(vocabulary["locations"])
        findings = self.findings(data["findings"], regions, {place.name for place in places})
        words = {group: self.group(vocabulary[group], group, values) for group, values in _GROUPS.items()}
        words |= {name: {"": self.strings(vocabulary[name], ("vocabulary", name))} for name in _LISTS}
        return Knowledge(
            modality=data["modality"],
            language=data["language"],
            version=str(data["version"]),
            regions=MappingProxyType(regions),
            findings=MappingProxyType(findings),
            normals=self.normals(data["normals"], findings),
            locations=places,
            words=MappingProxyType(words),
            spelling=MappingProxyType(self.spelling(vocabulary["spelling"])),
            source=self.file,
        )

    def findings(self, data: Any, regions: Mapping[str, str], places: set[str]) -> dict[str, FindingSpec]:
        found: dict[str, FindingSpec] = {}
        for index, item in enumerate(self.items(data, ("findings",))):
            path = ("findings", index)
            self.keys(item, tuple(_FINDING_KEYS), ("name", "region", "urgency", "knowledge", "lay"), path)
            spec = self.finding(item, regions, places, path)
            if spec.name in found:
                raise self.fail(path, f"the finding {spec.name!r} is there twice; give each its own name.")
            found[spec.name] = spec
        for index, spec in enumerate(found.values()):
            if spec.parent:
                self.one_of(spec.parent, tuple(found), ("findings", index, "parent"), "parent")
        return found

    def finding(
        self, item: Mapping[str, Any], regions: Mapping[str, str], places: set[str], path: tuple[str | int, ...]
    ) -> FindingSpec:
        self.one_of(item["region"], tuple(regions), (*path, "region"), "region")
        self.one_of(item["urgency"], URGENCIES, (*path, "urgency"), "urgency")
        if "chexpert" in item:
            self.one_of(item["chexpert"], CHEXPERT14, (*path, "chexpert"), "CheXpert class")
        if "nih" in item:
            self.one_of(item["nih"], NIH14, (*path, "nih"), "NIH class")
        for key in ("severities", "descriptive", "normal"):
            if not isinstance(item.get(key, False), bool):
                raise self.fail((*path, key), f"{key} is {item[key]!r}; allowed are true and false.")
        normal = bool(item.get("normal", False))
        terms = self.strings(item.get("terms", []), (*path, "terms"))
        if not terms and not normal:
            raise self.fail(path, f"{item['name']!r} has no terms; give at least one phrase that names it.")
        sides = self.strings(item.get("sides", []), (*path, "sides"))
        for side in sides:
            self.one_of(side, _GROUPS["sides"], (*path, "sides"), "side")
        locations = self.strings(item.get("locations", []), (*path, "locations"))
        for place in locations:
            self.one_of(place, tuple(sorted(places)), (*path, "locations"), "location")
        changes = self.strings(item.get("changes", list(_GROUPS["changes"])), (*path, "changes"))
        for change in changes:
            self.one_of(change, _GROUPS["changes"], (*path, "changes"), "change")
        graded = item.get("severities", False)
        values = {key: item[key] for key in ("parent", "chexpert", "nih", "urgency", "knowledge", "lay") if key in item}
        return FindingSpec(
            name=item["name"],
            region=item["region"],
            terms=(*((item["name"],) if not normal else ()), *terms),
            sides=sides,  # type: ignore[arg-type]
            locations=locations,
            severities=_GROUPS["severities"] if graded else (),  # type: ignore[arg-type]
            changes=changes,  # type: ignore[arg-type]
            descriptive=item.get("descriptive", False),
            normal=normal,
            **values,
        )

    def locations(self, data: Any) -> tuple[Location, ...]:
        found = []
        for index, item in enumerate(self.items(data, ("vocabulary", "locations"))):
            path = ("vocabulary", "locations", index)
            self.keys(item, ("name", "terms", "within", "side"), ("name", "terms"), path)
            if "side" in item:
                self.one_of(item["side"], _GROUPS["sides"], path, "side")
            terms = self.strings(item["terms"], (*path, "terms"))
            found.append(Location(item["name"], terms, item.get("within", ""), item.get("side", "")))
        names = tuple(sorted({place.name for place in found}))
        for index, place in enumerate(found):
            if place.within:
                self.one_of(place.within, names, ("vocabulary", "locations", index), "location")
        return tuple(found)

    def normals(self, data: Any, findings: Mapping[str, FindingSpec]) -> tuple[NormalSpec, ...]:
        found = []
        for index, item in enumerate(self.items(data, ("normals",))):
            path = ("normals", index)
            self.keys(item, ("name", "subjects", "abnormalities", "absent"), ("name", "absent"), path)
            absent = self.strings(item["absent"], (*path, "absent"))
            for name in absent:
                self.one_of(name, tuple(findings), (*path, "absent"), "finding")
            subjects = self.strings(item.get("subjects", []), (*path, "subjects"))
            abnormalities = self.strings(item.get("abnormalities", []), (*path, "abnormalities"))
            found.append(NormalSpec(item["name"], subjects, abnormalities, absent))
        return tuple(found)

    def group(self, data: Any, name: str, values: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        path = ("vocabulary", name)
        self.keys(data, values, values, path)
        return MappingProxyType({value: self.strings(data[value], (*path, value)) for value in values})

    def spelling(self, data: Any) -> dict[str, str]:
        path = ("vocabulary", "spelling")
        if not isinstance(data, dict):
            raise self.fail(path, "spelling must map a variant to the word that is meant.")
        for key, value in data.items():
            if not (isinstance(key, str) and isinstance(value, str)):
                raise self.fail(
                    path, f"{key!r}: {value!r} is not a pair of words; put quotes around yes, no, on and off."
                )
        return dict(data)

    def keys(
        self, data: Any, allowed: tuple[str, ...], needed: tuple[str, ...] | None, path: tuple[str | int, ...]
    ) -> None:
        if not isinstance(data, dict):
            raise self.fail(
                path, f"found {type(data).__name__}; a mapping with the keys {', '.join(sorted(allowed))} is needed."
            )
        for key in data:
            if key not in allowed:
                hint = nearest(str(key), allowed)
                raise self.fail((*path, key), f"unknown key {key!r}.{hint} Allowed are: {', '.join(sorted(allowed))}.")
        for key in allowed if needed is None else needed:
            if key not in data:
                raise self.fail(path, f"the key {key!r} is missing; add it.")

    def items(self, data: Any, path: tuple[str | int, ...]) -> list[Any]:
        if not isinstance(data, list) or not data:
            raise self.fail(path, f"{path[-1]} must be a list with at least one item.")
        return data

    def strings(self, data: Any, path: tuple[str | int, ...]) -> tuple[str, ...]:
        if not isinstance(data, list):
            raise self.fail(path, f"{path[-1]} is {data!r}; a list of phrases is needed.")
        for item in data:
            if not isinstance(item, str) or not item.strip():
                raise self.fail(
                    path, f"{item!r} in {path[-1]} is not a phrase; put quotes around yes, no, on, off and numbers."
                )
        return tuple(data)

    def one_of(self, value: Any, allowed: tuple[str, ...], path: tuple[str | int, ...], what: str) -> None:
        if value not in allowed:
            hint = nearest(str(value), allowed)
            raise self.fail(path, f"{value!r} is no known {what}.{hint} Allowed are: {', '.join(allowed)}.")
