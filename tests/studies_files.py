"""Radiographs that the tests of wetread.studies make themselves."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHARED = Path(os.environ.get("WETREAD_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"))
CANARY = "Canary^Patient"


def needs(folder):
    path = SHARED / folder
    return pytest.mark.skipif(
        not path.is_dir(), reason=f"the development data ({folder}) are not here; set WETREAD_DATA"
    )


def scene(rows=96, columns=64):
    """A picture with every grey from 0 to 1, not symmetric in any way."""
    y, x = np.mgrid[0:rows, 0:columns]
    picture = (y / (rows - 1) * 0.7 + x / (columns - 1) * 0.3).astype(np.float64)
    picture[10:20, 5:15] = 1.0
    return picture


def dicom(pixels, *, bits=8, syntax=ExplicitVRLittleEndian, **tags):
    """A DICOM chest radiograph; ``tags`` overrides by keyword, None deletes."""
    pixels = np.ascontiguousarray(pixels)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID = CANARY, "CANARY-ID-77"
    ds.AccessionNumber = "CANARY-ACC"
    ds.Modality, ds.BodyPartExamined = "DX", "CHEST"
    ds.Rows, ds.Columns = pixels.shape[-2:] if pixels.ndim == 2 else pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tests write values that the standard forbids
        for keyword, tag in tags.items():
            if tag is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, tag)
    return ds


def save(ds, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)
    return path


def sequence_item(**tags):
    item = Dataset()
    for keyword, tag in tags.items():
        setattr(item, keyword, tag)
    return item


def grey8(scale=255):
    return np.rint(scene() * scale).astype(np.uint8)


def grey16(top):
    return np.rint(scene() * top).astype(np.uint16)


@st.composite
def damaged(draw, sources):
    """A file of ``sources`` that was cut short, had some bytes changed, or both."""
    source = draw(st.sampled_from(sources))
    keep = draw(st.floats(0, 1))
    flips = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12))
    data = bytearray(source[: int(len(source) * keep)] if keep < 0.7 else source)
    for place, byte in flips:
        if data:
            data[int(place * len(data))] = byte
    return bytes(data)
