"""Phantom studies as DICOM files with headers as a hospital would send them, and nothing of a real patient in them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from wetread.records import Study
from wetread.studies.phantom.sites import Site

FIELD_MM = 400.0
"""Length of the detector's side in mm; the pixel spacing follows from it."""


def save_dicom(path: Path, study: Study, grey: NDArray[np.uint8], site: Site) -> None:
    """Write one picture as DICOM, Explicit VR Little Endian, uncompressed; the same study gives the same bytes.

    Parameters
    ----------
    path
        Where to write.
    study
        Whose header it bears.
    grey
        The picture, shape (rows, columns), 8 bit, bright = dense.
    site
        Whose bits, photometric interpretation and rescale intercept are used.
    """
    ds = _header(study, site)
    _pixels(ds, grey, site)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    dcmwrite(path, ds, enforce_file_format=True)


def _header(study: Study, site: Site) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    computed = site.key == "B"
    ds.SOPClassUID = ComputedRadiographyImageStorage if computed else DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = _uid("image", study.id)
    ds.ImageType = ["DERIVED", "PRIMARY"] if computed else ["ORIGINAL", "PRIMARY", ""]
    ds.StudyInstanceUID = _uid("study", study.id)
    ds.SeriesInstanceUID = _uid("series", study.id)
    ds.FrameOfReferenceUID = _uid("frame", study.id)
    day = study.date.replace("-", "")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    number = int(study.meta["index"])
    ds.StudyTime = ds.ContentTime = f"{6 + number % 14:02d}{number * 7 % 60:02d}00"
    ds.AccessionNumber = ""
    ds.Modality = "CR" if computed else "DX"
    ds.Manufacturer = "wetread phantom"
    ds.ManufacturerModelName = f"phantom {site.key}"
    ds.SoftwareVersions = "1"
    ds.InstitutionName = site.name
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = f"XR CHEST {study.images[0].view} (PHANTOM)"
    ds.SeriesDescription = f"Chest {study.images[0].view}"
    ds.ReasonForStudy = study.indication
    ds.AdmittingDiagnosesDescription = ""
    ds.PatientName = f"PHANTOM^{study.patient.rsplit('-', 1)[-1]}"
    ds.PatientID = study.patient
    ds.PatientSex = {"female": "F", "male": "M"}.get(study.sex, "O")
    age = study.age or 0
    ds.PatientAge = f"{age:03d}Y"
    ds.PatientBirthDate = (date.fromisoformat(study.date) - timedelta(days=round(age * 365.25) + 100)).strftime(
        "%Y%m%d"
    )
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = study.images[0].view
    ds.PatientOrientation = ["L", "F"]
    ds.BurnedInAnnotation = "NO"
    ds.StudyID = str(number)
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    if not computed:
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.PixelIntensityRelationship = "LOG"
        ds.PixelIntensityRelationshipSign = -1 if site.photometric == "MONOCHROME1" else 1
        ds.ImageLaterality = "U"
    return ds


def _pixels(ds: Dataset, grey: NDArray[np.uint8], site: Site) -> None:
    """Put the picture in the stored range of the site: the whole of 12 bits, or a part of 16 that the window selects."""
    low, span = (0, 4095) if site.bits == 12 else (9000, 40000)
    shown = grey.astype(np.float64) / 255.0
    if site.photometric == "MONOCHROME1":
        shown = 1.0 - shown
    stored = np.round(low + span * shown).astype("<u2")
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = site.photometric
    ds.Rows, ds.Columns = grey.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, site.bits, site.bits - 1
    ds.PixelRepresentation = 0
    spacing = f"{FIELD_MM / grey.shape[0]:.6g}"
    ds.ImagerPixelSpacing = [spacing, spacing]
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", str(site.intercept), "US"
    # Linear windows map (centre - 0.5) -+ (width - 1) / 2 to black and white (PS3.3 C.11.2.1.2).
    ds.WindowCenter = str(low + span / 2 + 0.5 + site.intercept)
    ds.WindowWidth = str(span + 1)
    ds.PresentationLUTShape = "INVERSE" if site.photometric == "MONOCHROME1" else "IDENTITY"
    ds.PixelData = stored.tobytes()


def _uid(kind: str, study: str) -> str:
    return str(generate_uid(entropy_srcs=["wetread phantom", kind, study]))
