"""Codes of what is said of findings: those of the knowledge file for findings and places, DICOM's for the rest.

Source: DICOM PS3.16, context groups 100 (procedures), 240 (present, absent), 244 (laterality) and 3716 (severity); RadLex of
the RSNA for change. ``SYSTEMS`` are the names that HL7 Terminology gives the vocabularies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wetread.knowledge import Code, load
from wetread.records import Change, Finding, Presence, Severity, Side

SYSTEMS: Mapping[str, str] = MappingProxyType({
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "LN": "http://loinc.org",
})  # fmt: skip
"""Coding scheme by its DICOM name to its URI in FHIR."""
PRIVATE = "99WETREAD"
"""Coding scheme of findings for which no published code is known to be the same: the name in the knowledge file."""

PROCEDURE = Code("LN", "43468-8", "XR unspecified body region")
"""What is reported on (CID 100); DICOM has no code for the chest radiograph."""
TITLE = Code("LN", "18748-4", "Diagnostic Imaging Report")
"""Title of the document (CID 7000)."""
PRESENCE_OF = Code("DCM", "121052", "Presence of property")
"""Concept name of whether a finding is there."""
LATERALITY = Code("SCT", "272741003", "Laterality")
"""Concept name of its side."""
SEVERITY = Code("SCT", "246112005", "Severity")
"""Concept name of its grade."""
MODALITY = Code("DCM", "121139", "Modality")
"""Concept name of the modality of images."""
SOURCE = Code("SCT", "260753009", "Source")
"""Concept name of an image that a report is about."""
CHANGE = Code(PRIVATE, "change", "Change since the prior study")
"""Concept name of its change; DICOM has one for mammograms alone."""
LOCATION = Code(PRIVATE, "location", "Location as stated")
"""Concept name of a place that has no published code."""
PRESENCES: Mapping[Presence, Code] = MappingProxyType({
    "present": Code("SCT", "52101004", "Present"),
    "absent": Code("SCT", "272519000", "Absent"),
    "uncertain": Code("SCT", "373068000", "Undetermined"),
})  # fmt: skip
"""Context group 240."""
SIDES: Mapping[Side, Code] = MappingProxyType({
    "left": Code("SCT", "7771000", "Left"),
    "right": Code("SCT", "24028007", "Right"),
    "bilateral": Code("SCT", "51440002", "Bilateral"),
})  # fmt: skip
"""Context group 244."""
SEVERITIES: Mapping[Severity, Code] = MappingProxyType({
    "mild": Code("SCT", "255604002", "Mild"),
    "moderate": Code("SCT", "6736007", "Moderate"),
    "severe": Code("SCT", "24484000", "Severe"),
})  # fmt: skip
"""Context group 3716."""
CHANGES: Mapping[Change, Code] = MappingProxyType({
    "new": Code("RADLEX", "RID5720", "new"),
    "increased": Code("RADLEX", "RID36043", "increased"),
    "decreased": Code("RADLEX", "RID36044", "decreased"),
    "unchanged": Code("RADLEX", "RID39268", "unchanged"),
    "resolved": Code(PRIVATE, "resolved", "resolved"),
})  # fmt: skip
"""RadLex: the codes of DICOM speak of size (CID 6134) or of mammograms (CID 6003) alone."""


def of_finding(finding: Finding) -> tuple[Code, ...]:
    """Return the published codes of a finding; empty where none is known to be the same, or its name is not known."""
    known = load()
    return known[finding.name].codes if finding.name in known else ()


def own(name: str) -> Code:
    """Return the private code of a name in the knowledge file.

    >>> own("pleural effusion").value
    'pleural-effusion'
    """
    return Code(PRIVATE, "-".join(name.split())[:64], name[:64])


def of_location(finding: Finding) -> Code | None:
    """Return the published code of the place that is stated of a finding; None where there is none."""
    places = (place for place in load().locations if place.name == finding.location)
    return next((code for place in places for code in place.codes), None)
