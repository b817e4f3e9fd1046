"""Findings as the 14 CheXpert labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from wetread.knowledge.ontology import CHEXPERT14, Knowledge, load
from wetread.records import Finding

_VALUE = {"present": 1, "uncertain": -1, "absent": 0}
_STRENGTH = {None: 0, 0: 1, -1: 2, 1: 3}


def labels14(findings: Sequence[Finding], knowledge: Knowledge | None = None) -> dict[str, int | None]:
    """Return the CheXpert labels of one report (Irvin et al. 2019), in the order of ``CHEXPERT14``.

    Parameters
    ----------
    findings
        What the report claims (``extract``) or what is true of a study.
    knowledge
        Whose classes to use; None: chest X-ray.

    Returns
    -------
    dict
        1 present, -1 uncertain, 0 denied, None not mentioned. Within a class present beats uncertain beats denied.
        ``No Finding`` is 1 when something is said and nothing but devices is present or uncertain, else None.

    Notes
    -----
    CheXpert marks a class as denied only when it is named. "The lungs are clear" denies several findings at once without
    naming one; the extractor gives all of them the same span, and absences that share their span with another are
    therefore left out here.

    >>> labels14([Finding("pleural effusion", "uncertain")])["Pleural Effusion"]
    -1
    """
    known = load() if knowledge is None else knowledge
    owners: dict[tuple[int, int] | None, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.presence == "absent" and finding.span is not None:
            owners[finding.span].add(finding.name)
    labels: dict[str, int | None] = dict.fromkeys(CHEXPERT14)
    abnormal = False
    for finding in findings:
        spec = known.findings.get(finding.name)
        if spec is None or spec.normal:
            continue
        device = spec.chexpert == "Support Devices"
        abnormal = abnormal or (finding.presence != "absent" and not device)
        implied = finding.presence == "absent" and len(owners.get(finding.span, ())) > 1
        value = _VALUE[finding.presence]
        if spec.chexpert and not implied and _STRENGTH[value] > _STRENGTH[labels[spec.chexpert]]:
            labels[spec.chexpert] = value
    labels["No Finding"] = 1 if findings and not abnormal else None
    return labels
