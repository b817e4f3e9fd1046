"""DICOM pixel data to grey values 0..1, bright = dense: decode, rescale, window, padding, polarity.

The grayscale pipeline of the standard (PS3.3 C.11.1 modality, C.11.2 VOI, C.7.6.3 photometric interpretation),
computed once for every stored value that occurs and then looked up, which is faster than on each pixel and exact.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import pydicom.config
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from wetread.errors import Refused, StudyError
from wetread.records import Pixels
from wetread.studies.dicom_header import MAX_PIXELS, items, label, number, quoted, syntax_name, text, value
from wetread.studies.scaling import robust_range, thin, to_unit

_JPEG_EXTENDED = {"1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_LIKELY_SIZE = 64_000_000
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg", "PIL")
Curve = Callable[[NDArray[np.float64]], NDArray[np.float32]]
"""Values after the modality step to 0..1, before polarity."""


@lru_cache(maxsize=1)
def _silence_gdcm() -> None:
    """Stop GDCM's C++ part from writing to the terminal."""
    try:
        from gdcm import Trace
    except ImportError:
        return  # an optional decoder on some platforms; pydicom reports what it cannot decode without it
    Trace.WarningOff()
    Trace.ErrorOff()
    Trace.DebugOff()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the readers' warnings and log lines, which may quote header values, from reaching the terminal."""
    _silence_gdcm()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _SilentTerminal:
    """Keeps the decoders' C and C++ code from writing to the terminal: file descriptor 2 leads nowhere meanwhile.

    Damaged JPEG and JPEG 2000 data make these libraries print lines of their own, which no Python setting stops. The
    first of several threads redirects and the last restores, so that decoding in threads is not serialised.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            try:
                self._saved = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)
            except OSError:
                self._saved = -1  # a process without standard error has nothing to keep quiet

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = -1


_silent_terminal = _SilentTerminal()


def decode(ds: Dataset, name: str) -> tuple[NDArray[Any], list[str]]:
    """Return the stored values, shape (rows, columns), and notes.

    Of several frames the first is taken and colour is turned into luminance: both are reached by force only.

    Raises
    ------
    Refused
        When the header claims more than 20,000 × 20,000 pixels; nothing has been allocated then.
    StudyError
        When a tag that decoding needs is absent, no decoder reads the transfer syntax, or the data are damaged.
    """
    notes = _complete(ds, name)
    data = value(ds, "PixelData")
    if data is None:
        raise StudyError(f"{name}: {label('PixelData')} is absent or empty; send the file again with its picture.")
    _check_size(ds, name, len(data))
    syntax = str(ds.file_meta.TransferSyntaxUID)
    if syntax in _JPEG_EXTENDED and _jpeg_precision(bytes(data[:65536]), ds) > 8:
        raise StudyError(
            f"{name}: transfer syntax {syntax_name(syntax)} holds more than 8 bits, and no decoder reads 12-bit lossy "
            "JPEG; export it again as JPEG Lossless, JPEG 2000, JPEG-LS, RLE or uncompressed."
        )
    try:
        with _silent_terminal if syntax.startswith(_JPEG_FAMILY) else nullcontext():
            array = pixel_array(ds, index=0)
    except NotImplementedError as error:
        raise StudyError(
            f"{name}: no decoder reads transfer syntax {syntax_name(syntax)}; "
            "export it again as JPEG Lossless, JPEG 2000, JPEG-LS, RLE or uncompressed."
        ) from error
    except Exception as error:  # the decoders fail in as many ways as data can be damaged
        raise StudyError(
            f"{name}: {label('PixelData')} cannot be decoded ({syntax_name(syntax)}); "
            "the file is damaged or truncated: send it again."
        ) from error
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        array = array[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        notes.append("Colour turned into luminance.")
    if array.ndim != 2 or array.size == 0:
        raise StudyError(f"{name}: the decoded picture has shape {array.shape}; one grey frame is needed.")
    return array, notes


def _complete(ds: Dataset, name: str) -> list[str]:
    """Fill in what decoding needs and the file leaves out; refuse to guess the size."""
    notes = []
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        found = number(ds, keyword)
        if found is None:
            raise StudyError(f"{name}: {label(keyword)} is absent or not a number; the picture cannot be decoded.")
        if found <= 0:
            raise StudyError(f"{name}: {label(keyword)} is {found:g}; a picture needs at least 1.")
    defaults = {
        "SamplesPerPixel": 1,
        "PixelRepresentation": 0,
        "BitsStored": int(number(ds, "BitsAllocated") or 0),
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, default in defaults.items():
        if not text(ds, keyword):
            setattr(ds, keyword, default)
            notes.append(f"{label(keyword)} is absent; taken as {default}.")
    return notes


def _check_size(ds: Dataset, name: str, stored_bytes: int) -> None:
    rows, columns = int(number(ds, "Rows") or 0), int(number(ds, "Columns") or 0)
    if rows * columns > MAX_PIXELS:
        raise Refused(
            f"{name}: Rows (0028,0010) × Columns (0028,0011) claim {rows} × {columns} pixels; "
            "at most 20000 × 20000 are read. Check the header."
        )
    # A claim of gigabytes with a few bytes behind it is a damaged or hostile header, whatever the compression.
    if rows * columns > _LIKELY_SIZE and rows * columns > 1000 * stored_bytes:
        raise StudyError(
            f"{name}: Rows (0028,0010) × Columns (0028,0011) claim {rows} × {columns} pixels, "
            f"but {label('PixelData')} holds {stored_bytes} bytes; the file is damaged or truncated."
        )


def _jpeg_precision(data: bytes, ds: Dataset) -> int:
    """Return the bits per sample that the JPEG frame header (SOF0 to SOF3) states, else Bits Stored."""
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc3"):
        at = data.find(marker)
        if 0 <= at < len(data) - 4 and data[at + 4] in (8, 12, 16):
            return data[at + 4]
    return int(number(ds, "BitsStored") or 8)


def to_grey(ds: Dataset, stored: NDArray[Any], name: str) -> tuple[Pixels, list[str]]:
    """Return the stored values as grey values 0..1, bright = dense, and what was done.

    Order: modality LUT or rescale; VOI LUT, else window (the first of several), else the full range of 8-bit data,
    else the 0.5th to 99.5th percentile without padding; padding to black; MONOCHROME1 or INVERSE turned round.
    """
    padding = _padding(ds, stored)
    inside = stored[~padding] if padding is not None else stored
    modality, notes = _modality_curve(ds)
    sample = modality(thin(inside if inside.size else stored).astype(np.float64))
    if not np.isfinite(sample).all():
        raise StudyError(f"{name}: the rescaled pixel values are not finite numbers; check Rescale Slope (0028,1053).")
    display, display_notes = _display_curve(ds, sample)
    inverted, polarity_notes = _polarity(ds)

    def curve(values: NDArray[Any]) -> Pixels:
        grey = display(modality(values.astype(np.float64)))
        return 1 - grey if inverted else grey

    grey = _by_table(curve, stored)
    if padding is not None:
        grey[padding] = 0.0
        notes.append(f"{label('PixelPaddingValue')}: the border was set to black.")
    return grey, [*notes, *display_notes, *polarity_notes]


def _by_table(curve: Callable[[NDArray[Any]], Pixels], stored: NDArray[Any]) -> Pixels:
    """Apply a curve through a table of all values between least and greatest, where these are few."""
    if stored.dtype.kind not in "iu":
        return curve(stored)
    low, high = int(stored.min()), int(stored.max())
    if high - low >= 1 << 16:
        return curve(stored)
    table = curve(np.arange(low, high + 1, dtype=np.float64)).astype(np.float32)
    index = stored if low == 0 else stored.astype(np.int64) - low
    return np.take(table, index)


def _padding(ds: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return where the border is padding, or None.

    Only runs that reach an edge along a row or a column count: some devices name a value as padding that also occurs
    inside the body.
    """
    first = number(ds, "PixelPaddingValue")
    if first is None or stored.dtype.kind not in "iu":
        return None
    last = number(ds, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    if low > 32767 and stored.dtype.kind == "i":  # written as unsigned although the pixels are signed
        low, high = low - 65536, high - 65536
    match = (stored >= low) & (stored <= high)
    if not match.any():
        return None
    reached = np.zeros_like(match)
    for axis in (0, 1):
        reached |= np.logical_and.accumulate(match, axis=axis)
        reached |= np.flip(np.logical_and.accumulate(np.flip(match, axis), axis=axis), axis)
    return reached if reached.any() and not reached.all() else None


def _modality_curve(ds: Dataset) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], list[str]]:
    """Return the modality LUT or rescale as a function."""
    lut = next((found for found in map(_lut, items(ds, "ModalityLUTSequence")) if found is not None), None)
    if lut is not None:
        first, entries, _ = lut
        return (lambda values: entries[_index(values, first, len(entries))]), ["Modality LUT applied."]
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    if slope == 0:
        return (lambda values: values), [f"{label('RescaleSlope')} is 0; ignored."]
    a, b = (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)
    return (lambda values: values * a + b), []


def _index(values: NDArray[np.float64], first: int, count: int) -> NDArray[np.intp]:
    index: NDArray[np.intp] = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return index


def _lut(item: Dataset) -> tuple[int, NDArray[np.float64], int] | None:
    """Return first mapped value, entries and bits of a lookup table; None where the item is damaged."""
    descriptor, data = value(item, "LUTDescriptor"), value(item, "LUTData")
    try:
        count, first, bits = (int(part) for part in descriptor)
        count = count or 1 << 16
        if isinstance(data, bytes):
            width = "<u2" if len(data) >= 2 * count else "u1"
            entries = np.frombuffer(data, dtype=width)
        else:
            entries = np.asarray(data)
        entries = entries[:count].astype(np.float64)
    except (TypeError, ValueError):
        return None
    return (first, entries, min(max(bits, 8), 16)) if entries.size else None


def _display_curve(ds: Dataset, sample: NDArray[np.float64]) -> tuple[Curve, list[str]]:
    """Return the function to 0..1: VOI LUT, window, full 8-bit range or percentiles, in this order."""
    luts = list(items(ds, "VOILUTSequence"))
    windows = _windows(ds)
    notes: list[str] = []
    for curve, note in [*_lut_curves(luts), *_window_curves(ds, windows)]:
        shown = curve(sample)
        # A window that lies outside the data gives a flat picture; the next choice is taken then.
        if float(np.ptp(np.percentile(shown, (1, 99)))) > 0.02 or float(np.ptp(sample)) == 0:
            return curve, [*notes, note] if note else notes
        notes.append("A window or VOI LUT lies outside the pixel values; passed over.")
    bits = number(ds, "BitsStored") or 16
    if bits <= 8 and not _rescaled(ds):
        low, high = (-128.0, 127.0) if number(ds, "PixelRepresentation") == 1 else (0.0, 2.0**bits - 1)
        return (lambda values: to_unit(values, low, high)), notes
    low, high = robust_range(sample)
    notes.append("No usable window; scaled from the 0.5th to the 99.5th percentile.")
    return (lambda values: to_unit(values, low, high)), notes


def _rescaled(ds: Dataset) -> bool:
    changed = number(ds, "RescaleSlope") not in (None, 1.0) or number(ds, "RescaleIntercept") not in (None, 0.0)
    return changed or any(items(ds, "ModalityLUTSequence"))


def _lut_curves(luts: list[Dataset]) -> Iterator[tuple[Curve, str]]:
    for item in luts:
        lut = _lut(item)
        if lut is None:
            continue
        first, entries, bits = lut
        # Some devices state 16 bits and fill 12: the greatest entry is then the white that was meant.
        white = 2.0**bits - 1
        white = float(entries.max()) if 0 < entries.max() < white / 2 else white
        table = to_unit(entries, 0.0, white)

        def curve(
            values: NDArray[np.float64], table: NDArray[np.float32] = table, first: int = first
        ) -> NDArray[np.float32]:
            return table[_index(values, first, len(table))]

        yield curve, "VOI LUT applied." if len(luts) == 1 else f"First usable of {len(luts)} VOI LUTs applied."


def _windows(ds: Dataset) -> list[tuple[float, float]]:
    """Return centre and width of the usable windows."""
    lists = []
    for keyword in ("WindowCenter", "WindowWidth"):
        found = value(ds, keyword)
        several = found is not None and not isinstance(found, str | bytes | float | int) and hasattr(found, "__iter__")
        try:
            lists.append([float(part) for part in found] if several else [float(found)])
        except (TypeError, ValueError):
            return []
    return [(c, w) for c, w in zip(*lists, strict=False) if np.isfinite(c) and np.isfinite(w) and w > 0]


def _window_curves(ds: Dataset, windows: list[tuple[float, float]]) -> Iterator[tuple[Curve, str]]:
    """Yield the windows as functions: LINEAR, LINEAR_EXACT and SIGMOID of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    shape = text(ds, "VOILUTFunction").upper() or "LINEAR"
    for place, (centre, width) in enumerate(windows):
        note = f"Window {place + 1} of {len(windows)} used." if len(windows) > 1 else ""
        if shape == "SIGMOID":

            def curve(values: NDArray[np.float64], c: float = centre, w: float = width) -> NDArray[np.float32]:
                return (1 / (1 + np.exp(np.clip(-4 * (values - c) / w, -50, 50)))).astype(np.float32)

        elif shape == "LINEAR_EXACT" or width <= 1:

            def curve(values: NDArray[np.float64], c: float = centre, w: float = width) -> NDArray[np.float32]:
                return to_unit(values, c - w / 2, c + w / 2)

        else:

            def curve(values: NDArray[np.float64], c: float = centre, w: float = width) -> NDArray[np.float32]:
                return to_unit(values, c - 0.5 - (w - 1) / 2, c - 0.5 + (w - 1) / 2)

        yield curve, note


def _polarity(ds: Dataset) -> tuple[bool, list[str]]:
    """Return whether the picture has to be turned round: MONOCHROME1, or INVERSE where MONOCHROME2 contradicts it."""
    photometric = text(ds, "PhotometricInterpretation").upper()
    shape = text(ds, "PresentationLUTShape").upper()
    if photometric == "MONOCHROME1":
        if shape == "IDENTITY":
            return True, [f"{label('PresentationLUTShape')} is IDENTITY with MONOCHROME1; inverted."]
        return True, ["MONOCHROME1: inverted, so that dense is bright."]
    if shape == "INVERSE":
        return True, [f"{label('PresentationLUTShape')} is INVERSE with {quoted(photometric)}; inverted."]
    return False, []
