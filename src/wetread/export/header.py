"""What of a study's DICOM headers goes into an export: what makes it land in the same study, and nothing else.

Headers break the standard in every place. A value that DICOM would not allow to be written is left out, with a note that
names the tag and not the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from wetread.export.uids import uid_of
from wetread.export.wording import clean
from wetread.records import Document

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
"""Keywords of the patient: what the Patient module asks for, and who gave the ID."""
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
    "StudyDescription",
)  # fmt: skip
"""Keywords of the study: what the General Study module asks for, and the description that worklists show."""
IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
"""Keywords of each image: what a reference to it needs."""
KEYWORDS = (*PATIENT, *STUDY, *IMAGE, "SpecificCharacterSet", "TimezoneOffsetFromUTC")
"""All keywords that are read; a header that holds only these is enough."""
_NAMES: Mapping[str, str] = {
    "PatientName": "Patient's Name (0010,0010)",
    "PatientID": "Patient ID (0010,0020)",
    "IssuerOfPatientID": "Issuer of Patient ID (0010,0021)",
    "PatientBirthDate": "Patient's Birth Date (0010,0030)",
    "PatientSex": "Patient's Sex (0010,0040)",
    "StudyInstanceUID": "Study Instance UID (0020,000D)",
    "StudyDate": "Study Date (0008,0020)",
    "StudyTime": "Study Time (0008,0030)",
    "AccessionNumber": "Accession Number (0008,0050)",
    "ReferringPhysicianName": "Referring Physician's Name (0008,0090)",
    "StudyID": "Study ID (0020,0010)",
    "StudyDescription": "Study Description (0008,1030)",
    "TimezoneOffsetFromUTC": "Timezone Offset From UTC (0008,0201)",
}


@dataclass(frozen=True)
class ImageReference:
    """What it takes to refer to one image."""

    sop_class: str
    """SOP Class UID."""
    instance: str
    """SOP Instance UID."""
    series: str
    """Series Instance UID."""


@dataclass(frozen=True)
class StudyHeader:
    """The patient and the study that an export belongs to. Held in memory; it goes into exported files alone."""

    study_uid: str
    """Study Instance UID; made up, and ``placeholder``, where there is no source."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Keyword (``PATIENT``, ``STUDY``) to value; what is absent or cannot be written is not there."""
    images: tuple[ImageReference, ...] = ()
    """The images of the study that have a header, in the document's order."""
    placeholder: bool = False
    """Whether the export becomes a study of its own, since no header names one."""
    notes: tuple[str, ...] = ()
    """What was left out and why; never a value."""

    def get(self, keyword: str) -> str:
        """Return a value; empty where there is none."""
        return self.values.get(keyword, "")


def header_of(document: Document, headers: Sequence[Any]) -> StudyHeader:
    """Return what goes into the exports of a document.

    Parameters
    ----------
    document
        Names the study where no header does.
    headers
        The DICOM headers of its images (``pydicom.Dataset``, as far as ``KEYWORDS``), in their order; none for pictures.
        What the first lacks is taken from the next that has it.
    """
    notes: list[str] = []
    values: dict[str, str] = {}
    for keyword in (*PATIENT, *STUDY, "TimezoneOffsetFromUTC"):
        found = ""
        for header in headers:
            raw = _text(header, keyword)
            found = _CHECKS[_KIND[keyword]](raw) if raw else ""
            if raw and not found:
                notes.append(f"{_NAMES[keyword]} cannot be written as DICOM allows and is left out.")
            if found:
                values[keyword] = found
                break
    uid = values.get("StudyInstanceUID", "")
    if headers and not uid:
        notes.append(
            f"{_NAMES['StudyInstanceUID']} is absent or no UID, so that the export becomes a study of its own; "
            "send it to no archive before the header is mended."
        )
    own = uid_of("study", document.study, document.digest)
    if not uid and "PatientID" not in values:
        # An empty ID would make one patient of all whose header is lost, in any archive.
        values |= {"PatientID": f"WETREAD-{own[-12:]}", "PatientName": values.get("PatientName", "UNIDENTIFIED^")}
    return StudyHeader(
        study_uid=uid or own,
        values=MappingProxyType(values),
        images=tuple(_images(headers, uid)),
        placeholder=not uid,
        notes=tuple(dict.fromkeys(notes)),
    )


def _images(headers: Iterable[Any], study_uid: str) -> Iterable[ImageReference]:
    """Yield references to the images of the study; without a study there is nothing to refer to."""
    for header in headers:
        uids = [_uid(_text(header, keyword)) for keyword in IMAGE]
        if study_uid and all(uids):
            yield ImageReference(*uids)


def _text(header: Any, keyword: str) -> str:
    """Return a header's first value without blanks around it, else as it is; empty where it is absent or damaged."""
    try:
        found = header.get(keyword)
        if found is not None and not isinstance(found, str | bytes) and hasattr(found, "__getitem__"):
            found = found[0] if len(found) else ""
        return (found.decode("latin-1") if isinstance(found, bytes) else str("" if found is None else found)).strip()
    except Exception:
        return ""  # damaged elements fail in as many ways as there are value representations


def _plain(text: str, most: int) -> bool:
    """Whether a text value may be written: short enough, no control character, nothing that was lost in decoding."""
    return len(text) <= most and text.isprintable() and "\\" not in text and clean(text) == text


def _uid(text: str) -> str:
    return text if len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)+", text) else ""


def _date(text: str) -> str:
    digits = text.replace(".", "")
    try:
        datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        return ""
    return digits


def _time(text: str) -> str:
    digits = text.replace(":", "")
    match = re.fullmatch(r"([01]\d|2[0-3])([0-5]\d)?([0-5]\d|60)?(\.\d{1,6})?", digits)
    return digits if match and not (match[4] and not match[3]) else ""


def _offset(text: str) -> str:
    return text if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", text) else ""


def _sex(text: str) -> str:
    return text.upper() if text.upper() in ("M", "F", "O") else ""


def _person(text: str) -> str:
    groups = text.split("=")
    fits = len(groups) <= 3 and all(_plain(group, 64) and group.count("^") <= 4 for group in groups)
    return text if fits else ""


def _short(text: str) -> str:
    return text if _plain(text, 16) else ""


def _long(text: str) -> str:
    return text if _plain(text, 64) else ""


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "UI": _uid, "DA": _date, "TM": _time, "CS": _sex, "PN": _person, "SH": _short, "LO": _long,
    "offset": _offset,
}  # fmt: skip
_KIND: Mapping[str, str] = {
    "PatientName": "PN", "PatientID": "LO", "IssuerOfPatientID": "LO", "PatientBirthDate": "DA", "PatientSex": "CS",
    "StudyInstanceUID": "UI", "StudyDate": "DA", "StudyTime": "TM", "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN", "StudyID": "SH", "StudyDescription": "LO", "TimezoneOffsetFromUTC": "offset",
}  # fmt: skip
