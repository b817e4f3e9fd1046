"""What a DICOM header says: view, age, sex, indication, dates, keys, and whether the object may be drafted.

Every value is read one at a time and defensively, since real headers break the standard in any place. Free text and
identifiers are never repeated in a message: a description is quoted only by the anatomical word found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from wetread.records import Sex, View
from wetread.studies.anonymise import DEFAULT_KEY, pseudonym

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "DR", "RG"})
"""Values of Modality that a plain radiograph has; DR is not in the standard but in many archives."""
MAX_PIXELS = 20_000 * 20_000
"""Greatest rows × columns that is decoded; more is refused before anything is allocated."""

_CHEST = re.compile(r"chest|thorax|t[oó]rax|lung|pulmo|poumon|cxr|brustkorb", re.IGNORECASE)
_UNSPECIFIC = frozenset({"UNKNOWN", "OTHER", "UNDEFINED", "UNSPECIFIED", "NONE", "ANY", "N/A", "NA", "0"})
_OTHER_ANATOMY = re.compile(
    r"\b(abdomen|abdominal|kub|ankle|arm|breast|mammo\w*|calcaneus|cervical|clavicle|colon|dental|elbow|extremity|face"
    r"|facial|femur|fibula|finger|foot|forearm|hand|head|heel|hips?|humerus|jaw|knee|leg|lumbar|mandible|neck|orbit"
    r"|patella|pelvi[sc]|radius|sacrum|scapula|shoulder|sinus(?:es)?|skull|spine|teeth|thigh|thumb|tibia|toes?|ulna"
    r"|urinary|wrist)\b",
    re.IGNORECASE,
)
# Where the anatomy is looked for when Body Part Examined and Anatomic Region do not say it, nearest to the image first.
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription")
# Why the examination was asked for, in this order. Requested Procedure Description and Study Description say what was
# done and, in some public sets, hold the label; they are never taken as an indication.
_INDICATIONS = (
    "ReasonForTheRequestedProcedure",
    "ReasonForStudy",
    "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory",
)
_VIEW_POSITIONS: dict[str, View] = {
    "PA": "PA", "AP": "AP", "LL": "lateral", "RL": "lateral", "LAT": "lateral", "LATERAL": "lateral",
    "LLAT": "lateral", "RLAT": "lateral",
}  # fmt: skip
_VIEW_MEANINGS: dict[str, View] = {
    "posteroanterior": "PA", "anteroposterior": "AP", "lateral": "lateral", "leftlateral": "lateral",
    "rightlateral": "lateral",
}  # fmt: skip
_NO_IMAGE = {
    "1.2.840.10008.5.1.4.1.1.88": "a structured report",
    "1.2.840.10008.5.1.4.1.1.104": "an encapsulated document",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.1.3.10": "a DICOMDIR index",
}


@dataclass(frozen=True)
class Header:
    """What is taken over from one DICOM header; identifiers only as pseudonyms."""

    study: str
    """Pseudonym of StudyInstanceUID; empty when the tag is absent."""
    patient: str
    """Pseudonym of PatientID with its issuer; empty when the tag is absent."""
    view: View
    """From View Position, else View Code Sequence, else ``unknown``."""
    age: int | None
    """Whole years at the time of the study."""
    sex: Sex
    """From Patient's Sex; ``O`` and everything else is ``unknown``."""
    indication: str
    """Free text as the tag holds it."""
    date: str
    """ISO date from Study Date; it is kept because priors are ordered by it."""
    site: str
    """Pseudonym of Institution Name."""
    notes: tuple[str, ...]
    """What was odd."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Technical facts for strata: modality, photometric interpretation, transfer syntax, size, bits, pixel spacing."""


def label(keyword: str) -> str:
    """Return the name and number of a tag, as messages give it.

    >>> label("BodyPartExamined")
    'Body Part Examined (0018,0015)'
    """
    tag = tag_for_keyword(keyword) or 0
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def value(ds: Dataset, keyword: str) -> Any:
    """Return a tag's value, or None where it is absent, empty or cannot be parsed."""
    try:
        found = ds.get(keyword)
    except Exception:
        return None  # damaged elements fail in as many ways as there are value representations
    return None if found is None or found == "" else found


def text(ds: Dataset, keyword: str) -> str:
    """Return a tag's first value as text without blanks and control characters; empty where there is none."""
    found = value(ds, keyword)
    if found is None:
        return ""
    try:
        if not isinstance(found, str | bytes) and hasattr(found, "__getitem__") and not isinstance(found, Dataset):
            found = found[0] if len(found) else ""
        found = found.decode("latin-1") if isinstance(found, bytes) else str(found)
    except Exception:
        return ""
    return "".join(char if char.isprintable() else " " for char in found).strip()


def number(ds: Dataset, keyword: str) -> float | None:
    """Return a tag's first value as a finite number, or None."""
    try:
        found = float(text(ds, keyword))
    except ValueError:
        return None
    return found if abs(found) < 1e300 else None


def items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """Yield the items of a sequence; none where it is absent or damaged."""
    found = value(ds, keyword)
    if found is not None and not isinstance(found, str | bytes):
        try:
            yield from (item for item in found if isinstance(item, Dataset))
        except TypeError:
            return


def quoted(raw: str) -> str:
    """Return a coded value in quotes where it looks like a code; ``another value`` for what may be free text."""
    return repr(raw) if re.fullmatch(r"[A-Za-z0-9 _/.-]{1,16}", raw) else "another value"


def read_view(ds: Dataset) -> View:
    """Return the view from View Position, else View Code Sequence; ``unknown`` where neither says (never a guess)."""
    position = text(ds, "ViewPosition").upper()
    if position:
        # A decubitus film (LLD, RLD) and obliques (RAO …) are neither frontal nor lateral: unknown.
        return _VIEW_POSITIONS.get(re.split(r"[\s_/,-]+", position)[0] if "DECUB" not in position else "", "unknown")
    for item in items(ds, "ViewCodeSequence"):
        meaning = re.sub(r"[^a-z]", "", text(item, "CodeMeaning").lower())
        return _VIEW_MEANINGS.get(meaning.replace("posterioranterior", "posteroanterior"), "unknown")
    return "unknown"


def read_age(ds: Dataset) -> tuple[int | None, str]:
    """Return the age in whole years and a note; from Patient's Age, else birth date and study date."""
    raw = text(ds, "PatientAge").upper()
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", raw)
    if match:
        amount, unit = int(match[1]), match[2]
        years = int(amount / {"D": 365.25, "W": 52.18, "M": 12}.get(unit, 1))
        if years <= 130:
            return years, "" if unit else f"{label('PatientAge')} has no unit; taken as years."
    if raw:
        return None, f"{label('PatientAge')} is not an age such as 054Y; left out."
    born, taken = _date(ds, "PatientBirthDate"), _date(ds, "StudyDate")
    if born and taken:
        years = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
        if 0 <= years <= 130:
            return years, ""
    return None, ""


def _date(ds: Dataset, keyword: str) -> date | None:
    match = re.match(r"(\d{4})\.?(\d{2})\.?(\d{2})", text(ds, keyword))
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def read_indication(ds: Dataset) -> str:
    """Return why the examination was asked for.

    The first of Reason for the Requested Procedure (0040,1002), also inside Request Attributes Sequence; Reason for
    Study (0032,1030); Admitting Diagnoses Description (0008,1080); Additional Patient's History (0010,21B0).
    """
    places = [ds, *items(ds, "RequestAttributesSequence")]
    found = (text(place, keyword) for keyword in _INDICATIONS for place in places)
    return next((item for item in found if item), "")


def objections(ds: Dataset) -> list[str]:
    """Return why this object must not be drafted, each naming its tag; empty when nothing speaks against it."""
    against: list[str] = []
    modality = text(ds, "Modality").upper()
    if modality and modality not in RADIOGRAPH_MODALITIES:
        allowed = ", ".join(sorted(RADIOGRAPH_MODALITIES))
        against.append(f"{label('Modality')} is {quoted(modality)}; only plain radiographs ({allowed}) are drafted")
    against += _anatomy(ds)[0]
    photometric, samples = text(ds, "PhotometricInterpretation").upper(), number(ds, "SamplesPerPixel")
    if photometric and not photometric.startswith("MONOCHROME"):
        against.append(f"{label('PhotometricInterpretation')} is {quoted(photometric)}, a colour picture; "
                       "only MONOCHROME1 and MONOCHROME2 are drafted")  # fmt: skip
    elif samples is not None and samples != 1:
        against.append(f"{label('SamplesPerPixel')} is {samples:g}, a colour picture; only 1 is drafted")
    frames = number(ds, "NumberOfFrames")
    if frames is not None and frames > 1:
        against.append(f"{label('NumberOfFrames')} is {frames:g}; only single-frame radiographs are drafted")
    return against


def _anatomy(ds: Dataset) -> tuple[list[str], list[str]]:
    """Return objections to the anatomy and notes on it.

    Body Part Examined and Anatomic Region speak of this image and decide. Descriptions are asked only where these are
    silent, and refuse only when they name another region and no chest.
    """
    part = text(ds, "BodyPartExamined")
    source = "BodyPartExamined"
    if not part or part.upper() in _UNSPECIFIC:
        region = next((text(item, "CodeMeaning") for item in items(ds, "AnatomicRegionSequence")), "")
        part, source = (region, "AnatomicRegionSequence") if region else ("", source)
    if part:
        if _CHEST.search(part):
            return [], []
        return [f"{label(source)} is {quoted(part)}; only the chest is drafted"], []
    absent = "says nothing" if text(ds, "BodyPartExamined") else "is absent"
    for keyword in _DESCRIPTIONS:
        described = text(ds, keyword).replace("_", " ")
        if _CHEST.search(described):
            return [], [f"{label('BodyPartExamined')} {absent}; {label(keyword)} names the chest."]
        other = _OTHER_ANATOMY.search(described)
        if other:
            return [f"{label(keyword)} says {other[1].lower()!r}; only the chest is drafted"], []
    return [], [f"{label('BodyPartExamined')} {absent}; taken as chest."]


def no_image(ds: Dataset) -> str:
    """Return what kind of object without a picture this is (``a structured report`` …); empty for images."""
    uid = text(ds, "SOPClassUID") or text(getattr(ds, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    return next((kind for root, kind in _NO_IMAGE.items() if uid == root or uid.startswith(root + ".")), "")


def syntax_name(uid: str) -> str:
    """Return ``name (uid)`` of a transfer syntax, or what stands in its place.

    >>> syntax_name("1.2.840.10008.1.2.5")
    'RLE Lossless (1.2.840.10008.1.2.5)'
    """
    if not re.fullmatch(r"[0-9.]{1,64}", uid):
        return "that is no UID"
    name = UID(uid).name
    return f"{name} ({uid})" if name != uid else uid


def header_of(ds: Dataset, key: bytes = DEFAULT_KEY) -> Header:
    """Return what is taken over from a data set; never raises on a damaged optional element."""
    age, age_note = read_age(ds)
    notes = [*_anatomy(ds)[1], age_note]
    modality = text(ds, "Modality").upper()
    if not modality:
        notes.append(f"{label('Modality')} is absent; taken as a radiograph.")
    if text(ds, "PresentationIntentType").upper() == "FOR PROCESSING":
        notes.append(f"{label('PresentationIntentType')} is FOR PROCESSING: raw detector values, not made for reading.")
    if text(ds, "BurnedInAnnotation").upper() == "YES":
        notes.append(f"{label('BurnedInAnnotation')} is YES: the picture may show identifying text.")
    sexes: dict[str, Sex] = {"M": "male", "F": "female"}
    taken = _date(ds, "StudyDate")
    institution = text(ds, "InstitutionName")
    issuer = text(ds, "IssuerOfPatientID")
    patient = text(ds, "PatientID")
    return Header(
        study=pseudonym("study", text(ds, "StudyInstanceUID"), key),
        patient=pseudonym("patient", f"{issuer}\0{patient}" if issuer and patient else patient, key),
        view=read_view(ds),
        age=age,
        sex=sexes.get(text(ds, "PatientSex").upper()[:1], "unknown"),
        indication=read_indication(ds),
        date=taken.isoformat() if taken else "",
        site=pseudonym("site", institution, key),
        notes=tuple(note for note in notes if note),
        meta=_meta(ds),
    )


def _meta(ds: Dataset) -> dict[str, Any]:
    """Return the technical facts; only what is there, and no text that a person typed."""
    spacing_tag = "PixelSpacing" if value(ds, "PixelSpacing") else "ImagerPixelSpacing"
    try:
        spacing = [float(item) for item in value(ds, spacing_tag) or ()]
    except (TypeError, ValueError):
        spacing = []
    facts: dict[str, Any] = {
        "dicom_modality": text(ds, "Modality").upper()[:16],
        "photometric": text(ds, "PhotometricInterpretation").upper()[:16],
        "transfer_syntax": text(getattr(ds, "file_meta", Dataset()), "TransferSyntaxUID")[:64],
        "rows": int(number(ds, "Rows") or 0),
        "columns": int(number(ds, "Columns") or 0),
        "bits_stored": int(number(ds, "BitsStored") or 0),
        "pixel_spacing_mm": spacing if len(spacing) == 2 and min(spacing) > 0 else [],
        "spacing_tag": spacing_tag if len(spacing) == 2 and min(spacing) > 0 else "",
    }
    return {name: fact for name, fact in facts.items() if fact}
