"""DICOM radiographs: one file in, a header and grey values out, or one line that says why not.

Read with pydicom 3; compressed data are decoded by pylibjpeg-openjpeg, pyjpegls, python-gdcm and Pillow, whichever
reads the transfer syntax. A file is recognised by its ``DICM`` mark, or, where preamble and mark were stripped, by its
first elements; a suffix is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from wetread.errors import Refused, StudyError
from wetread.records import Pixels
from wetread.studies.anonymise import DEFAULT_KEY
from wetread.studies.dicom_header import Header, header_of, no_image, objections, text, value
from wetread.studies.dicom_pixels import decode, quiet, to_grey

_GROUPING = ["StudyInstanceUID", "SOPInstanceUID", "ViewPosition", "ViewCodeSequence", "SOPClassUID"]


@dataclass(frozen=True)
class Reading:
    """One DICOM file, read and decoded."""

    header: Header
    """What its header says, without identifiers."""
    pixels: Pixels
    """Grey values 0..1, bright = dense, shape (rows, columns)."""


def looks_like_dicom(head: bytes) -> bool:
    """Return whether a file that begins so is DICOM: the mark after 128 bytes, or a first element of group 2 or 8.

    Parameters
    ----------
    head
        The first 132 bytes or more.

    >>> looks_like_dicom(bytes(128) + b"DICM")
    True
    >>> looks_like_dicom(bytes.fromhex("080005000a000000") + b"ISO_IR 100")
    True
    >>> looks_like_dicom(bytes([0x89]) + b"PNG")
    False
    """
    if head[128:132] == b"DICM":
        return True
    # Without a preamble the file starts with an element of group 0002 or 0008, of low number, in either byte order.
    return (
        len(head) >= 8
        and head[:4] != b"\0\0\0\0"
        and ((head[0] in (2, 8) and head[1] == 0 and head[3] < 0x30) or (head[0] == 0 and head[1] in (2, 8)))
    )


def read_dataset(path: Path, name: str, *, tags: list[str] | None = None) -> Dataset:
    """Return a file's data set; with ``tags`` only these, without the pixel data.

    Raises
    ------
    StudyError
        When the file is empty, is not DICOM, or is damaged beyond reading.
    """
    try:
        head = _head(path)
        with quiet():
            ds = pydicom.dcmread(path, force=True, stop_before_pixels=tags is not None, specific_tags=tags)
            _transfer_syntax(ds)
            found = tags is not None or _is_object(ds)
    except Exception as error:  # damaged files fail inside pydicom in many ways, and its texts may quote the header
        if isinstance(error, OSError) and error.strerror:
            raise StudyError(f"{name}: the file cannot be read ({error.strerror}).") from error
        raise StudyError(
            f"{name}: the DICOM header cannot be read; the file is damaged or truncated: send it again."
        ) from error
    if not found:
        if head[128:132] == b"DICM":
            raise StudyError(
                f"{name}: a DICOM file without readable elements; it is damaged or truncated: send it again."
            )
        raise StudyError(f"{name}: not a DICOM file; DICOM, PNG, JPEG, TIFF, BMP and WebP files are read.")
    return ds


def read_elements(path: Path, name: str, tags: list[str]) -> Dataset | None:
    """Return these elements of a file's header, without the pixel data; None where the file is no DICOM file.

    Raises
    ------
    StudyError
        When the file cannot be read.
    """
    try:
        if not looks_like_dicom(_head(path)):
            return None
    except OSError as error:
        raise StudyError(f"{name}: the file cannot be read ({error.strerror}).") from error
    return read_dataset(path, name, tags=tags)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)


def _is_object(ds: Dataset) -> bool:
    return any(text(ds, keyword) for keyword in ("SOPClassUID", "Modality", "Rows", "StudyInstanceUID"))


def _transfer_syntax(ds: Dataset) -> None:
    """Give a data set that came without file meta information the transfer syntax it was read with."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little is not False else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit is not False else explicit


def peek(path: Path, name: str, *, key: bytes = DEFAULT_KEY) -> Header:
    """Return the header fields that grouping needs (study and view), without reading the pixels."""
    ds = read_dataset(path, name, tags=_GROUPING)
    with quiet():
        return header_of(ds, key)


def read_dicom(path: Path, *, name: str = "", force: bool = False, key: bytes = DEFAULT_KEY) -> Reading:
    """Return the header and the grey values of one DICOM radiograph.

    Parameters
    ----------
    path
        The file.
    name
        How messages call it; the file name by default.
    force
        Read wrong anatomy, modality, colour and multi-frame objects too, as long as they can be decoded; each
        objection becomes a note. Of several frames the first is taken, colour becomes luminance.
    key
        Secret of the pseudonymous keys.

    Raises
    ------
    Refused
        When the object must not be drafted; names the tag and its value.
    StudyError
        When the file cannot be read or decoded; names what is wrong and what to do.
    """
    name = name or path.name
    ds = read_dataset(path, name)
    try:
        with quiet():
            return _read(ds, name, force=force, key=key)
    except StudyError:
        raise
    except Exception as error:  # no damage in a file may end in a traceback
        raise StudyError(f"{name}: the file is damaged and cannot be read; send it again.") from error


def _read(ds: Dataset, name: str, *, force: bool, key: bytes) -> Reading:
    kind = no_image(ds)
    if kind:
        raise Refused(f"{name}: SOP Class UID (0008,0016) says {kind}, which holds no radiograph; give the image file.")
    against = objections(ds)
    if against and not force:
        raise Refused(f"{name}: {against[0]}; use --force to draft it anyway.")
    header = header_of(ds, key)
    if value(ds, "FloatPixelData") is not None or value(ds, "DoubleFloatPixelData") is not None:
        raise Refused(f"{name}: floating-point pixel data are a computed map, not a radiograph; give the image file.")
    stored, notes = decode(ds, name)
    pixels, grey_notes = to_grey(ds, stored, name)
    if float(np.ptp(pixels)) == 0:
        blank = "every pixel has the same value, so the picture shows nothing"
        if not force:
            raise Refused(f"{name}: {blank}; use --force to draft it anyway.")
        against.append(blank)
    forced = [f"Drafted by force: {reason}." for reason in against]
    return Reading(replace(header, notes=(*forced, *header.notes, *notes, *grey_notes)), pixels)
