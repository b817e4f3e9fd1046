"""The readable report inside a DICOM object (Encapsulated PDF, PS3.3 A.45.1), in the study that it is about.

Viewers that show no Structured Report show this one.
"""

from __future__ import annotations

import warnings
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from wetread.export import codes
from wetread.export.dicom import equipment, evidence_of, stamped
from wetread.export.header import StudyHeader
from wetread.export.pdf import as_pdf
from wetread.export.uids import instance_parts, uid_of
from wetread.export.wording import read
from wetread.records import Document

SERIES = 9511
"""Series Number; behind that of the Structured Report."""


def as_dicom_pdf(document: Document, header: StudyHeader) -> bytes:
    """Return the Encapsulated PDF as a DICOM file, as ``encapsulated_pdf`` makes it."""
    out = BytesIO()
    encapsulated_pdf(document, header).save_as(out, enforce_file_format=True)
    return out.getvalue()


def encapsulated_pdf(document: Document, header: StudyHeader) -> Dataset:
    """Return the PDF of a report as an Encapsulated PDF; the same document and header give the same data set.

    UNVERIFIED until the document is signed; a signed one is an instance and a series of its own.

    Parameters
    ----------
    document
        The report.
    header
        The patient and the study (``header.header_of``).
    """
    from highdicom.base import SOPClass

    signed = document.signature
    parts = instance_parts(document, header.study_uid)
    who = equipment(document)
    source = evidence_of(header)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names in one component and the like, which are as the header has them
        report = SOPClass(
            study_instance_uid=header.study_uid,
            series_instance_uid=uid_of("pdf series", *parts),
            series_number=SERIES + (signed is not None),
            sop_instance_uid=uid_of("pdf", *parts),
            sop_class_uid=EncapsulatedPDFStorage,
            instance_number=1,
            modality="DOC",
            manufacturer=who.manufacturer,
            manufacturer_model_name=who.model,
            series_description=who.description,
            patient_name=source.PatientName,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
        )
    report.add_new("SoftwareVersions", "LO", list(who.versions))
    report.ContributingEquipmentSequence = [who.contributing()]
    stamped(report, document, header)
    pdf = as_pdf(document)
    report.ConversionType = "WSD"
    report.BurnedInAnnotation = "NO"  # the page identifies nobody: name and number are in the header alone
    report.RecognizableVisualFeatures = "NO"
    report.AcquisitionDateTime = None
    report.DocumentTitle = f"{read(document).title}: {who.description}"
    report.ConceptNameCodeSequence = [_title()]
    report.VerificationFlag = "VERIFIED" if signed else "UNVERIFIED"
    report.MIMETypeOfEncapsulatedDocument = "application/pdf"
    report.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    report.EncapsulatedDocumentLength = len(pdf)
    report.SourceInstanceSequence = [_reference(image.sop_class, image.instance) for image in header.images]
    if not header.images:
        del report.SourceInstanceSequence
    return report


def _title() -> Dataset:
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = codes.TITLE.value, codes.TITLE.scheme
    title.CodeMeaning = codes.TITLE.meaning
    return title


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item
