"""Radiographs as plain pictures: PNG, JPEG, TIFF, BMP, WebP (and GIF) through Pillow.

A picture file says nothing of view, patient or anatomy. What can be told is whether it is grey: the coloured share of
its pixels is measured, since a colour photograph is not a radiograph.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from wetread.errors import Refused, StudyError
from wetread.records import Pixels
from wetread.studies.scaling import robust_range, thin, to_unit

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
"""Pillow formats that are tried; nothing else is opened."""
CHROMA = 40
"""A pixel is coloured when its greatest and least channel differ by more than this, of 255.

JPEG noise stays below 20 on radiographs, and three bluish film scans of the development set stay below 40.
"""
MAX_COLOURED = 0.04
"""Greatest share of coloured pixels: real radiographs with coloured arrows and letters measured up to 0.024."""
MAX_CAST = 20.0
"""Greatest mean difference of the channels: tinted film scans measured up to 11, muted photographs are above."""
MIN_SIDE = 32
"""Least rows and columns that can show a chest."""


@dataclass(frozen=True)
class Picture:
    """One picture file, read and decoded."""

    pixels: Pixels
    """Grey values 0..1, bright = dense, shape (rows, columns)."""
    format: str
    """Format in small letters, such as ``png``."""
    notes: tuple[str, ...]
    """What the reader did."""


def looks_like_picture(head: bytes) -> bool:
    """Return whether a file that begins so is of a picture format that is read.

    >>> looks_like_picture(bytes([0x89]) + b"PNG")
    True
    >>> looks_like_picture(b"a,b,c")
    False
    """
    marks = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
    return head.startswith(marks) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_picture(path: Path, *, name: str = "", force: bool = False) -> Picture:
    """Return the grey values of one picture file.

    8-bit values are taken as they are; deeper ones are scaled from their 0.5th to 99.5th percentile, since a 12-bit
    picture in a 16-bit file would be nearly black. Transparent parts become black. EXIF orientation is followed.

    Parameters
    ----------
    path
        The file.
    name
        How messages call it; the file name by default.
    force
        Read colour photographs, first frames of several, small and blank pictures too.

    Raises
    ------
    Refused
        For a colour photograph (with the share of coloured pixels), several frames, a picture of more pixels than
        Pillow's safe limit (before anything is allocated), one below 32 pixels a side, and a blank one.
    StudyError
        When the file is empty, truncated, damaged or no picture.
    """
    name = name or path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PilImage.open(path, formats=FORMATS) as picture:
                return _read(picture, name, force=force)
    except StudyError:
        raise
    except PilImage.DecompressionBombError as error:
        limit = 2 * (PilImage.MAX_IMAGE_PIXELS or 0)
        raise Refused(
            f"{name}: the picture claims more than {limit:,} pixels, far more than a radiograph has; "
            "export it at the detector's size."
        ) from error
    except UnidentifiedImageError as error:
        raise StudyError(
            f"{name}: not a picture that can be read; DICOM, PNG, JPEG, TIFF, BMP and WebP files are read."
        ) from error
    except Exception as error:  # damaged pictures fail inside Pillow in many ways
        raise StudyError(f"{name}: the picture is damaged or truncated; send the file again.") from error


def _read(picture: PilImage.Image, name: str, *, force: bool) -> Picture:
    against: list[str] = []
    kind = picture.format or ""
    frames = getattr(picture, "n_frames", 1)
    # An MPO is a JPEG with previews behind it: its first picture is the picture.
    if frames > 1 and kind != "MPO":
        against.append(f"the file holds {frames} frames; only single pictures are drafted")
    if min(picture.size) < MIN_SIDE:
        against.append(f"it has {picture.width} × {picture.height} pixels; at least {MIN_SIDE} a side are needed")
    _objections_end(against, name, force)
    minimum_is_white = kind == "TIFF" and getattr(picture, "tag_v2", {}).get(262) == 0
    deep = picture.mode.startswith(("I", "F"))
    notes = ["Turned as the EXIF orientation says."] if picture.getexif().get(274, 1) in range(2, 9) else []
    turned = ImageOps.exif_transpose(picture)
    if deep:
        pixels, more = _deep(np.asarray(turned), name)
        if minimum_is_white:
            pixels, more = 1 - pixels, [*more, "TIFF photometry is MinIsWhite: inverted."]
    else:
        pixels, more, colour = _shallow(turned)
        against += colour
    if float(np.ptp(pixels)) == 0:
        against.append("every pixel has the same value, so the picture shows nothing")
    _objections_end(against, name, force)
    forced = [f"Drafted by force: {reason}." for reason in against]
    return Picture(pixels, kind.lower(), (*forced, *notes, *more))


def _objections_end(against: list[str], name: str, force: bool) -> None:
    if against and not force:
        raise Refused(f"{name}: {against[0]}; use --force to draft it anyway.")


def _deep(values: NDArray[Any], name: str) -> tuple[Pixels, list[str]]:
    """Return 16- and 32-bit values scaled by percentiles."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise StudyError(f"{name}: the pixel values are not finite numbers; export the picture with 8 or 16 bits.")
    low, high = robust_range(thin(values).astype(np.float64))
    return to_unit(values, low, high), ["More than 8 bits: scaled from the 0.5th to the 99.5th percentile."]


def _shallow(picture: PilImage.Image) -> tuple[Pixels, list[str], list[str]]:
    """Return 8-bit luminance 0..1, notes, and objections to its colour."""
    if picture.mode in ("1", "L") and "transparency" not in picture.info:
        return np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255), [], []
    notes = []
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        ground = PilImage.new("RGBA", layered.size, (0, 0, 0, 255))
        if layered.getchannel("A").getextrema() != (255, 255):
            notes.append("Transparent parts were set to black.")
        picture = PilImage.alpha_composite(ground, layered)
    colour = picture.convert("RGB")
    share, cast = colourfulness(np.asarray(colour))
    against = []
    if share > MAX_COLOURED or cast > MAX_CAST:
        against.append(
            f"{share:.0%} of the pixels are coloured (mean channel difference {cast:.0f} of 255), as in a photograph; "
            f"at most {MAX_COLOURED:.0%} and {MAX_CAST:.0f} are allowed: give a grey radiograph"
        )
    elif share > 0.001:
        notes.append(f"{share:.1%} of the pixels are coloured (marks or letters?); luminance used.")
    elif cast > 4:
        notes.append(f"Slight colour cast (mean channel difference {cast:.0f} of 255); luminance used.")
    return np.asarray(colour.convert("L"), dtype=np.float32) / np.float32(255), notes, against


def colourfulness(rgb: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the share of coloured pixels and the mean difference of the channels, over an even sample of pixels.

    Parameters
    ----------
    rgb
        Shape (rows, columns, 3), 0..255.

    >>> colourfulness(np.full((8, 8, 3), 90, dtype=np.uint8))
    (0.0, 0.0)
    """
    flat = rgb.reshape(-1, 3)
    sample = flat[:: max(1, len(flat) // 400_000)]
    chroma = sample.max(axis=1) - sample.min(axis=1)
    return float((chroma > CHROMA).mean()), float(chroma.mean())
