"""What the DICOM objects of a report have in common: patient and study, who made them, when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

import wetread
from wetread.export.header import PATIENT, STUDY, StudyHeader
from wetread.export.uids import uid_of
from wetread.export.wording import clean, one_line
from wetread.records import UNVERIFIED, Document
from wetread.records.document import moment

MANUFACTURER = "wetread (research software)"
"""Manufacturer of the objects."""
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip
"""Keywords that must be there, empty where they are not known."""


@dataclass(frozen=True)
class Equipment:
    """Who made an object, as DICOM can say it."""

    model: str
    """Name of the model, at most 64 characters."""
    versions: tuple[str, str]
    """Version of the model, and of this program."""
    description: str
    """What the series is, at most 64 characters."""
    drafted: str
    """When the model wrote the draft, ISO 8601."""
    manufacturer: str = MANUFACTURER
    """Who made the program."""

    def contributing(self) -> Any:
        """Return the item of the Contributing Equipment Sequence: the model that wrote the text."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        return ContributingEquipment(
            manufacturer=self.manufacturer,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=self.model,
            software_versions=list(self.versions),
            contribution_datetime=self.moment(self.drafted),
            contribution_description="AI model that drafted the report; research use only",
        )

    @staticmethod
    def moment(time: str) -> str:
        """Return a time as DICOM's DT, in UTC."""
        return moment(time).strftime("%Y%m%d%H%M%S+0000")


def equipment(document: Document) -> Equipment:
    """Return who made the objects of a document."""
    state = "AI-drafted report, verified" if document.signature else UNVERIFIED
    return Equipment(
        model=_long(document.model) or "unnamed model",
        versions=(_long(document.version) or "unknown", f"wetread {wetread.__version__}"),
        description=state,
        drafted=document.drafted,
    )


def evidence_of(header: StudyHeader) -> list[Dataset]:
    """Return a data set for each image with the patient, the study and its references; one without an image where there are none.

    highdicom takes patient and study from it. Where there is no image its own class and instance stand for one, and nothing
    refers to it.
    """
    found = []
    for image in header.images:
        data = _identity(header)
        data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = image.sop_class, image.instance, image.series
        found.append(data)
    if not found:
        data = _identity(header)
        data.SOPClassUID = ComprehensiveSRStorage
        data.SOPInstanceUID, data.SeriesInstanceUID = uid_of("none", header.study_uid), uid_of("none", "series")
        found.append(data)
    return found


def _identity(header: StudyHeader) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _TYPE_2:
        setattr(data, keyword, "")
    for keyword in (*PATIENT, *STUDY):
        if header.get(keyword):
            setattr(data, keyword, header.get(keyword))
    data.StudyInstanceUID = header.study_uid
    return data


def stamped(data: Dataset, document: Document, header: StudyHeader) -> None:
    """Put patient and study into an object as the header has them, and its dates as the document's, in place.

    The library writes the present time, with which one report would be another object at every export. Times are those of
    the study's time zone where its header names one, else of this machine's.
    """
    for element in _identity(header):
        data[element.tag] = element
    offset = header.get("TimezoneOffsetFromUTC")
    # An offset would speak of the study's own times too, which are those of the place where it was made.
    zone = datetime.strptime(offset, "%z").tzinfo if offset else None
    when = moment(document.time).astimezone(zone)
    if offset:
        data.TimezoneOffsetFromUTC = offset
    for item in data.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = Equipment.moment(document.drafted)
    day, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for keyword in ("InstanceCreationDate", "ContentDate", "SeriesDate"):
        setattr(data, keyword, day)
    for keyword in ("InstanceCreationTime", "ContentTime", "SeriesTime"):
        setattr(data, keyword, time)


def _long(text: str) -> str:
    """Return text as a Long String: one line, no backslash, at most 64 characters."""
    return one_line(clean(text).replace("\\", "/"))[:64].strip()
