"""From a YAML file to frozen knowledge: parsed, checked against ``schema.json``, merged, cross-checked.

The packaged file is trusted (a test checks it), so that start-up does not pay for the check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from wetread.errors import KnowledgeError, nearest
from wetread.knowledge.ontology import Code, FindingSpec, Knowledge, Location, NormalSpec, Part
from wetread.records import CHANGES, SEVERITIES

SCHEMA = Path(__file__).with_name("schema.json")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WHOLE = ("modality", "language", "version", "anatomy", "findings", "normals", "vocabulary")
"""Keys that a file needs which extends no other."""
COMPLETE = ("region", "urgency")
"""Keys that a finding needs once all is merged."""
_LISTED = ("terms", "sides", "locations", "changes", "subjects", "abnormalities", "absent")
"""Lists of findings and normals to which an extension adds."""
_GROUPS = ("sides", "severities", "changes", "negation", "uncertainty", "breaks", "headers")

Path_ = tuple[str | int, ...]


def read(path: Path, packaged: Path) -> Knowledge:
    """Return the knowledge of a file; one that has no ``modality`` is merged into ``packaged``.

    Raises
    ------
    KnowledgeError
        When the file is wrong; names file, line and what is allowed.
    """
    file = _File(path)
    if path == packaged:
        return _build(file.data, path.name)
    file.check()
    if "modality" in file.data:
        file.check_whole()
        whole = file.data
    else:
        whole = merge(_File(packaged).data, file.data)
    file.cross_check(whole)
    return _build(whole, path.name)


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both files say together.

    Findings and normals go by name: a known one gets the extra's phrases, sides, locations and changes added to its own
    and its other keys replaced; a new one is added. Regions, words of place and lists of words are added, spellings are
    replaced. The version becomes "base+extra".
    """
    whole = dict(base)
    whole["version"] = f"{base['version']}+{extra.get('version', 'site')}"
    for key in ("findings", "normals", "anatomy"):
        named = {item["name"]: item for item in base[key]}
        for item in extra.get(key, ()):
            old = named.get(item["name"], {})
            both = {name: [*old.get(name, ()), *item[name]] for name in _LISTED if name in item}
            named[item["name"]] = {**old, **item, **both}
        whole[key] = list(named.values())
    words = dict(base["vocabulary"])
    for key, value in extra.get("vocabulary", {}).items():
        if key == "spelling":
            words[key] = {**words[key], **value}
        elif key in _GROUPS:
            words[key] = {name: [*words[key][name], *value.get(name, ())] for name in words[key]}
        else:
            words[key] = [*words[key], *value]
    whole["vocabulary"] = words
    return whole


class _File:
    """One parsed file; every complaint names the file and the line."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self.text = path.read_text(encoding="utf-8")
            self.data: Any = yaml.load(self.text, LOADER)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "not YAML"
            raise KnowledgeError(f"{self.name}{where}: {problem}; the file must be valid YAML.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise KnowledgeError(f"{self.name}: cannot be read ({type(error).__name__}); give a YAML file.") from None

    def fail(self, path: Path_, problem: str) -> KnowledgeError:
        """Return the error for the node at ``path``."""
        return KnowledgeError(f"{self.name}, line {self._line(path)}: {problem}")

    def _line(self, path: Path_) -> int:
        node: Any = yaml.compose(self.text, LOADER)
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

    def check(self) -> None:
        """Check the file's form against the schema."""
        from jsonschema import Draft202012Validator

        if not isinstance(self.data, dict):
            raise self.fail((), f"found {_kind(self.data)}; a mapping with keys such as findings is needed.")
        schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
        errors = sorted(Draft202012Validator(schema).iter_errors(self.data), key=lambda e: [str(p) for p in e.path])
        if errors:
            raise self.fail(*_told(errors[0]))

    def check_whole(self) -> None:
        """Check that a file which extends no other has all that is needed."""
        for key in WHOLE:
            if key not in self.data:
                raise self.fail((), f"the key {key!r} is missing; add it, or leave out modality to extend chest_xray.")
        vocabulary = self.data["vocabulary"]
        for key in _words_needed():
            if key not in vocabulary:
                raise self.fail(("vocabulary",), f"the key {key!r} is missing; add it.")

    def cross_check(self, whole: Mapping[str, Any]) -> None:
        """Check that the names which this file uses exist in ``whole``."""
        known = {spec["name"]: spec for spec in whole["findings"]}
        regions = tuple(region["name"] for region in whole["anatomy"])
        places = tuple(dict.fromkeys(place["name"] for place in whole["vocabulary"]["locations"]))
        self._twice("findings", "finding")
        for index, item in enumerate(self.data.get("findings", ())):
            path: Path_ = ("findings", index)
            spec = known[item["name"]]
            for key in COMPLETE:
                if key not in spec:
                    raise self.fail(path, f"{item['name']!r} is a new finding without the key {key!r}; add it.")
            if not spec.get("terms") and not spec.get("normal"):
                raise self.fail(path, f"{item['name']!r} has no terms; give at least one phrase that names it.")
            self._one_of(spec["region"], regions, (*path, "region"), "region")
            for place in spec.get("locations", ()):
                self._one_of(place, places, (*path, "locations"), "location")
            if spec.get("parent"):
                self._one_of(spec["parent"], tuple(known), (*path, "parent"), "parent")
                if item["name"] in _ancestors(item["name"], known):
                    raise self.fail((*path, "parent"), f"{item['name']!r} is its own ancestor; name another parent.")
        for index, item in enumerate(self.data.get("normals", ())):
            for name in item.get("absent", ()):
                self._one_of(name, tuple(known), ("normals", index, "absent"), "finding")

    def _twice(self, key: str, what: str) -> None:
        seen: set[str] = set()
        for index, item in enumerate(self.data.get(key, ())):
            if item["name"] in seen:
                raise self.fail((key, index), f"the {what} {item['name']!r} is there twice; give each its own name.")
            seen.add(item["name"])

    def _one_of(self, value: str, allowed: tuple[str, ...], path: Path_, what: str) -> None:
        if value not in allowed:
            hint = nearest(value, allowed)
            raise self.fail(path, f"{value!r} is no known {what}.{hint} Allowed are: {', '.join(allowed)}.")


def _words_needed() -> tuple[str, ...]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return tuple(schema["$defs"]["vocabulary"]["properties"])


def _ancestors(name: str, known: Mapping[str, Mapping[str, Any]]) -> set[str]:
    found: set[str] = set()
    parent = known[name].get("parent", "")
    while parent and parent not in found:
        found.add(parent)
        parent = known.get(parent, {}).get("parent", "")
    return found


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", type(None): "nothing"}.get(type(value), repr(value))


def _told(error: Any) -> tuple[Path_, str]:
    """Return where and what of a schema error, in words that say what to do."""
    path: Path_ = tuple(error.path)
    where = next((step for step in reversed(path) if isinstance(step, str)), "the file")
    return _TELL.get(error.validator, _other)(error, path, where)


def _unknown_key(error: Any, path: Path_, where: str) -> tuple[Path_, str]:
    allowed = tuple(error.schema["properties"])
    key = next(key for key in error.instance if key not in allowed)
    hint = nearest(str(key), allowed)
    return (*path, key), f"unknown key {key!r}.{hint} Allowed are: {', '.join(sorted(allowed))}."


def _not_allowed(error: Any, path: Path_, where: str) -> tuple[Path_, str]:
    value = error.instance
    hint = nearest(str(value), error.validator_value)
    return path, f"{value!r} is no known {where}.{hint} Allowed are: {', '.join(error.validator_value)}."


def _key_missing(error: Any, path: Path_, where: str) -> tuple[Path_, str]:
    key = next(key for key in error.validator_value if key not in error.instance)
    return path, f"the key {key!r} is missing; add it."


def _wrong_type(error: Any, path: Path_, where: str) -> tuple[Path_, str]:
    needed = error.validator_value
    if needed == "boolean":
        return path, f"{where} is {error.instance!r}; allowed are true and false."
    if needed == "string":
        quotes = "put quotes around yes, no, on, off and numbers"
        return path, f"{error.instance!r} in {where} is not a phrase; {quotes}."
    words = {"array": "a list", "object": "a mapping"}.get(needed, needed)
    return path, f"{where} is {_kind(error.instance)}; {words} is needed."


def _other(error: Any, path: Path_, where: str) -> tuple[Path_, str]:
    if error.validator == "pattern":
        return path, f"{error.instance!r} in {where} is not allowed; write a phrase that is not empty."
    return path, f"{where}: {error.message}."


_TELL: dict[str, Callable[[Any, Path_, str], tuple[Path_, str]]] = {
    "additionalProperties": _unknown_key,
    "enum": _not_allowed,
    "required": _key_missing,
    "type": _wrong_type,
}


# -- from checked data to records -------------------------------------------------------------------------------------


def _build(data: Mapping[str, Any], file: str) -> Knowledge:
    words: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for key, value in data["vocabulary"].items():
        if key in _GROUPS:
            words[key] = MappingProxyType({name: tuple(phrases) for name, phrases in value.items()})
        elif key not in ("spelling", "locations"):
            words[key] = MappingProxyType({"": tuple(value)})
    return Knowledge(
        modality=data["modality"],
        language=data["language"],
        version=data["version"],
        anatomy=tuple(_part(region) for region in data["anatomy"]),
        findings=MappingProxyType({item["name"]: _finding(item) for item in data["findings"]}),
        normals=tuple(_normal(item) for item in data["normals"]),
        locations=tuple(
            Location(place["name"], tuple(place["terms"]), place.get("side", ""), _codes(place))
            for place in data["vocabulary"]["locations"]
        ),
        words=MappingProxyType(words),
        spelling=MappingProxyType(dict(data["vocabulary"]["spelling"])),
        source=file,
    )


def _part(item: Mapping[str, Any]) -> Part:
    return Part(item["name"], item.get("title", ""), tuple(_part(inner) for inner in item.get("parts", ())))


def _normal(item: Mapping[str, Any]) -> NormalSpec:
    return NormalSpec(item["name"], *(tuple(item.get(key, ())) for key in ("subjects", "abnormalities", "absent")))


def _finding(item: Mapping[str, Any]) -> FindingSpec:
    normal = item.get("normal", False)
    return FindingSpec(
        name=item["name"],
        region=item["region"],
        radlex=item.get("radlex", item["name"]),
        terms=_unique((*(() if normal else (item["name"],)), *item.get("terms", ()))),
        sides=_unique(item.get("sides", ())),  # type: ignore[arg-type]
        locations=_unique(item.get("locations", ())),
        severities=tuple(filter(None, SEVERITIES)) if item.get("severities") else (),
        changes=_unique(item.get("changes", tuple(filter(None, CHANGES)))),  # type: ignore[arg-type]
        parent=item.get("parent", ""),
        chexpert=item.get("chexpert", ""),
        nih=item.get("nih", ""),
        urgency=item["urgency"],
        descriptive=item.get("descriptive", False),
        normal=normal,
        knowledge=item.get("knowledge", ""),
        lay=item.get("lay", ""),
        codes=_codes(item),
    )


def _codes(item: Mapping[str, Any]) -> tuple[Code, ...]:
    return tuple(Code(code["scheme"], code["code"], code["meaning"]) for code in item.get("codes", ()))


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
