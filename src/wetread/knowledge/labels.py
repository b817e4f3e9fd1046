"""Findings as one of the field's label sets: CheXpert-14, NIH-14."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from wetread.errors import UsageError, nearest
from wetread.knowledge.ontology import CHEXPERT14, NIH14, FindingSpec, Knowledge, load
from wetread.records import Finding

NO_FINDING = "No Finding"
LABEL_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType({"chexpert14": CHEXPERT14, "nih14": NIH14})
"""Label sets and their classes in order."""

SURE_WHEN_LIKELY = frozenset({"nih14"})
"""Sets whose coders write a probable finding, or one of two that are weighed ("A versus B"), as present."""

_VALUE = {"present": 1, "uncertain": -1, "absent": 0}
_STRENGTH = {None: 0, 0: 1, -1: 2, 1: 3}


def label_set(which: str, findings: Sequence[Finding], knowledge: Knowledge | None = None) -> dict[str, int | None]:
    """Return the labels of one report, in the order of ``LABEL_SETS[which]``.

    Parameters
    ----------
    which
        ``chexpert14`` (Irvin et al. 2019) or ``nih14`` (Wang et al. 2017).
    findings
        What the report claims (``extract``) or what is true of a study.
    knowledge
        Whose classes to use; None: chest X-ray.

    Returns
    -------
    dict
        1 present, -1 uncertain, 0 denied, None not mentioned. Within a class present beats uncertain beats denied.
        ``No Finding`` is 1 when something is said and nothing but devices is present or uncertain, else None.

    Raises
    ------
    UsageError
        When there is no such set; names those that exist.

    Notes
    -----
    CheXpert marks a class as denied only when it is named. "The lungs are clear" denies several findings at once without
    naming one; the extractor gives all of them the same span, and absences that share their span with another are
    therefore left out here.

    >>> label_set("chexpert14", [Finding("pleural effusion", "uncertain")])["Pleural Effusion"]
    -1
    >>> label_set("nih14", [Finding("hiatal hernia")])["Hernia"]
    1
    """
    if which not in LABEL_SETS:
        raise UsageError(f"unknown label set {which!r}.{nearest(which, LABEL_SETS)} Allowed: {', '.join(LABEL_SETS)}.")
    known = load() if knowledge is None else knowledge
    owners: dict[tuple[int, int] | None, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.presence == "absent" and finding.span is not None:
            owners[finding.span].add(finding.name)
    labels: dict[str, int | None] = dict.fromkeys(LABEL_SETS[which])
    abnormal = False
    for finding in findings:
        spec = known.findings.get(finding.name)
        if spec is None or spec.normal:
            continue
        abnormal = abnormal or (finding.presence != "absent" and spec.chexpert != "Support Devices")
        implied = finding.presence == "absent" and len(owners.get(finding.span, ())) > 1
        name = _class(which, spec)
        value = 1 if which in SURE_WHEN_LIKELY and finding.likely else _VALUE[finding.presence]
        if name in labels and not implied and _STRENGTH[value] > _STRENGTH[labels[name]]:
            labels[name] = value
    if NO_FINDING in labels:
        labels[NO_FINDING] = 1 if findings and not abnormal else None
    return labels


def _class(which: str, spec: FindingSpec) -> str:
    return spec.nih if which == "nih14" else spec.chexpert
