"""A report as a DICOM Structured Report (TID 1500) in the study that it is about, written with highdicom.

Findings and impression stand as text sections before the coded findings; TID 1500 may be extended so. Each finding is a
measurement group without a measurement (TID 1501): what it is, whether it is there, side, place, grade and change, the words
that say so, and the model that did (TID 4019).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.uid import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
)

from wetread.export import codes
from wetread.export.dicom import equipment, evidence_of, stamped
from wetread.export.header import ImageReference, StudyHeader
from wetread.export.uids import instance_parts, uid_of
from wetread.export.wording import clean, evidence, one_line, read
from wetread.knowledge import Code
from wetread.records import Document, Finding

SERIES = 9501
"""Series Number; high, so that the series stands behind the images."""
_NOT_STATED = "not stated"
_MODALITIES: dict[str, Code] = {
    ComputedRadiographyImageStorage: Code("DCM", "CR", "Computed Radiography"),
    DigitalXRayImageStorageForPresentation: Code("DCM", "DX", "Digital Radiography"),
    DigitalXRayImageStorageForProcessing: Code("DCM", "DX", "Digital Radiography"),
}


def as_sr(document: Document, header: StudyHeader) -> bytes:
    """Return the Structured Report as a DICOM file, as ``structured_report`` makes it."""
    out = BytesIO()
    structured_report(document, header).save_as(out, enforce_file_format=True)
    return out.getvalue()


def structured_report(document: Document, header: StudyHeader) -> Dataset:
    """Return a report as a Comprehensive SR; the same document and header give the same data set.

    UNVERIFIED and PRELIMINARY until the document is signed, then VERIFIED and FINAL with the verifying observer, as an
    instance and a series of its own that names the draft as its predecessor. PARTIAL only where the length limit cut a draft.

    Parameters
    ----------
    document
        The report.
    header
        The patient and the study (``header.header_of``).
    """
    from highdicom.sr import ComprehensiveSR

    signed = document.signature
    parts = instance_parts(document, header.study_uid)
    who = equipment(document)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names in one component and the like, which are as the header has them
        report = ComprehensiveSR(
            evidence=evidence_of(header),
            content=_content(document, header)[0],
            series_instance_uid=uid_of("sr series", *parts),
            series_number=SERIES + (signed is not None),
            sop_instance_uid=uid_of("sr", *parts),
            instance_number=1,
            manufacturer=who.manufacturer,
            manufacturer_model_name=who.model,
            software_versions=list(who.versions),
            series_description=who.description,
            is_complete=document.complete,
            is_final=signed is not None,
            is_verified=signed is not None,
            verifying_observer_name=signed.person_name if signed else None,
            verifying_organization=(one_line(signed.organization)[:64] or _NOT_STATED) if signed else None,
            coding_schemes=[_private_scheme()],
            record_evidence=False,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[who.contributing()],
            specific_character_set="ISO_IR 192",
        )
    report.CompletionFlagDescription = who.description
    if not header.images:
        report.pop("CurrentRequestedProcedureEvidenceSequence", None)  # what stands for an image is none
    stamped(report, document, header)
    if signed is not None:
        verifier = report.VerifyingObserverSequence[0]
        verifier.VerificationDateTime = who.moment(signed.time)
        report.PredecessorDocumentsSequence = [_predecessor(document, header)]
    return report


def _content(document: Document, header: StudyHeader) -> Any:
    """Return the content tree: who observed, what was reported on, text sections, coded findings."""
    from highdicom.sr import MeasurementReport, ObservationContext, ObserverContext

    groups = [_group(document, header, number, finding) for number, finding in enumerate(document.findings, start=1)]
    person = ObserverContext(dicom_codes.DCM.Person, _person(document)) if document.signature else None
    tree = MeasurementReport(
        observation_context=ObservationContext(
            observer_person_context=person,
            observer_device_context=ObserverContext(dicom_codes.DCM.Device, _device(document)),
        ),
        procedure_reported=_code(codes.PROCEDURE),
        # The library makes no report without a measurement; this one is replaced below.
        imaging_measurements=groups or [_group(document, header, 0, Finding("none"))],
    )
    root = tree[0]
    held = list(root.ContentSequence)
    measured = next(place for place, item in enumerate(held) if item.name == dicom_codes.DCM.ImagingMeasurements)
    if not groups:  # a report of which nothing could be coded has no measurements
        held[measured] = _unread()
    root.ContentSequence = [*held[:measured], *_library(header), *_sections(document), *held[measured:]]
    return tree


def _device(document: Document) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes

    who = equipment(document)
    return DeviceObserverIdentifyingAttributes(
        uid=uid_of("model", document.model, document.version),
        name=who.model,
        manufacturer_name=who.manufacturer,
        model_name=who.model,
    )


def _person(document: Document) -> Any:
    from highdicom.sr import PersonObserverIdentifyingAttributes

    signed = document.signature
    assert signed is not None
    return PersonObserverIdentifyingAttributes(
        name=signed.person_name,
        organization_name=one_line(signed.organization) or None,
    )


def _library(header: StudyHeader) -> Iterator[Any]:
    """Yield the images that the report is about (TID 1600), if there are any."""
    from highdicom.sr import CodeContentItem, ImageContentItem, RelationshipTypeValues

    groups: dict[str, list[ImageReference]] = {}
    for image in header.images:
        groups.setdefault(image.sop_class, []).append(image)
    made = []
    for sop_class, images in groups.items():
        kind = _MODALITIES.get(sop_class)
        modality = (
            [
                CodeContentItem(
                    _code(codes.MODALITY), _code(kind), relationship_type=RelationshipTypeValues.HAS_ACQ_CONTEXT
                )
            ]
            if kind
            else []
        )
        entries = [
            ImageContentItem(
                name=_code(codes.SOURCE),
                referenced_sop_class_uid=image.sop_class,
                referenced_sop_instance_uid=image.instance,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
            for image in images
        ]
        made.append(_container(Code("DCM", "126200", "Image Library Group"), [*modality, *entries]))
    if made:
        yield _container(Code("DCM", "111028", "Image Library"), made)


def _sections(document: Document) -> Iterator[Any]:
    """Yield the text of the report under the headings of CID 7001, what it is first."""
    reading = read(document)
    yield _text(dicom_codes.DCM.Comment, f"{reading.banner}. {reading.banner_more} Drafted by {document.author}.")
    for heading, name, text in (
        (Code("DCM", "121070", "Findings"), dicom_codes.DCM.Finding, document.report.findings),
        (Code("DCM", "121072", "Impressions"), dicom_codes.DCM.Impression, document.report.impression),
    ):
        if clean(text).strip():
            yield _container(heading, [_text(name, text)])


def _group(document: Document, header: StudyHeader, number: int, finding: Finding) -> Any:
    """Return one finding as a measurement group."""
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )

    who = equipment(document)
    site = codes.of_location(finding)
    side = codes.SIDES.get(finding.side)
    place = codes.own(finding.location) if finding.location and site is None else None
    said = (
        (codes.PRESENCE_OF, codes.PRESENCES[finding.presence]),
        (codes.LATERALITY, None if site else side),
        (codes.LOCATION, place),
        (codes.SEVERITY, codes.SEVERITIES.get(finding.severity)),
        (codes.CHANGE, codes.CHANGES.get(finding.change)),
    )
    sites = [FindingSite(_code(site), laterality=_code(side) if side else None)] if site else None
    published = codes.of_finding(finding)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("tracking", str(number), *instance_parts(document, header.study_uid)),
            identifier=f"{number}: {one_line(finding.name)}"[:64],
        ),
        finding_type=_code(published[0] if published else codes.own(finding.name)),
        algorithm_id=AlgorithmIdentification(name=who.model, version=who.versions[0]),
        finding_sites=sites,
        qualitative_evaluations=[QualitativeEvaluation(_code(name), _code(value)) for name, value in said if value],
    )
    words = evidence(document, finding)
    if words:
        group[0].ContentSequence.append(_text(dicom_codes.DCM.Comment, words))
    return group


def _unread() -> Any:
    """Return what stands in place of coded findings where there are none (TID 1500, row 12)."""
    heading = Code("UMLS", "C0034375", "Qualitative Evaluations")
    return _container(heading, [_text(dicom_codes.DCM.Finding, "No finding of the report could be coded.")])


def _container(heading: Code, content: list[Any]) -> Any:
    from highdicom.sr import ContainerContentItem, ContentSequence, RelationshipTypeValues

    item = ContainerContentItem(name=_code(heading), relationship_type=RelationshipTypeValues.CONTAINS)
    item.ContentSequence = ContentSequence(content)
    return item


def _text(name: Any, text: str) -> Any:
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(name=name, value=clean(text).strip(), relationship_type=RelationshipTypeValues.CONTAINS)


@cache
def _code(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning[:64])


def _private_scheme() -> Any:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        designator=codes.PRIVATE,
        name="Names of findings in the knowledge files of wetread",
        responsible_organization="wetread",
    )


def _predecessor(document: Document, header: StudyHeader) -> Dataset:
    """Return the reference to the draft that a signed report comes from."""
    draft = instance_parts(replace(document, signature=None), header.study_uid)
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = ComprehensiveSRStorage
    instance.ReferencedSOPInstanceUID = uid_of("sr", *draft)
    series.SeriesInstanceUID = uid_of("sr series", *draft)
    series.ReferencedSOPSequence = [instance]
    study.StudyInstanceUID = header.study_uid
    study.ReferencedSeriesSequence = [series]
    return study
