"""What a cell of a data set says: texts without line breaks, what means nothing, marks of de-identification, ages, views.

Marks of de-identification stand where something was taken out: ``XXXX`` in Open-i, ``___`` in MIMIC-CXR, ``[** … **]`` in
older MIMIC texts.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

from wetread.errors import UsageError, nearest
from wetread.records import Sex, View

Marks = Literal["keep", "remove", "sentence"]
"""What becomes of marks: they stay; they are taken out; or the sentences that have one are."""
MARKS: tuple[Marks, ...] = get_args(Marks)
MARK = re.compile(r"(?<![A-Za-z])X{3,}(?![A-Za-z])|_{2,}|\[\*\*.*?\*\*\]")
"""One mark of de-identification."""

_NOTHING = re.compile(
    r"(?:none|no|nil|nan|null|n/?a|unknown|unavailable|(?:none|not)[ ]+(?:available|given|provided|stated|applicable)"
    r"|no[ ]+(?:comparisons?|priors?)(?:[ ]+available)?)",
    re.IGNORECASE,
)
_LIMITS = " \t.,;:-–/()[]'\"*"
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
_SEXES: dict[str, Sex] = {"m": "male", "male": "male", "f": "female", "female": "female"}
_VIEWS: dict[str, View] = {
    "pa": "PA", "posteroanterior": "PA", "ap": "AP", "anteroposterior": "AP", "apaxial": "AP",
    "lateral": "lateral", "lat": "lateral", "ll": "lateral", "rl": "lateral", "llat": "lateral", "rlat": "lateral",
    "leftlateral": "lateral", "rightlateral": "lateral", "xtablelateral": "lateral", "l": "lateral",
}  # fmt: skip
_AGE = re.compile(r"(\d{1,3})(?:\.\d*)?\s*([DWMY]?)", re.IGNORECASE)
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0}
_OLDEST = 130


def plain(value: Any) -> str:
    """Return a cell as one line of text; what is no text but a number is written out, ``nan`` and None are nothing.

    >>> plain(" Lungs  are clear. "), plain(None), plain(float("nan"))
    ('Lungs are clear.', '', '')
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = str(value).replace("\0", " ")
    if not text.isascii():
        text = text.encode(
            "utf-8", "replace"
        ).decode()  # half of a surrogate pair, which JSON can hold, is no character
    return " ".join(text.split())


def said(value: Any) -> str:
    """Return what a section says; empty where it says nothing (``None``, ``N/A``) or only marks.

    >>> said(" None. "), said("XXXX, XXXX."), said("Chest XXXX of yesterday."), said("No change.")
    ('', '', 'Chest XXXX of yesterday.', 'No change.')
    """
    text = plain(value)
    rest = MARK.sub(" ", text).strip(_LIMITS)
    return "" if not rest or _NOTHING.fullmatch(" ".join(rest.split())) else text


def without_marks(text: str, how: Marks) -> str:
    """Return a text with its marks treated: kept, taken out, or with the sentences that have one taken out.

    >>> without_marks("No change from ___. Lungs are clear.", "remove")
    'No change from. Lungs are clear.'
    >>> without_marks("No change from ___. Lungs are clear.", "sentence")
    'Lungs are clear.'
    """
    if how == "keep" or not MARK.search(text):
        return text
    if how == "sentence":
        return " ".join(one for one in _SENTENCE.split(text) if not MARK.search(one))
    bare = re.sub(r"\s+([.,;:)])", r"\1", MARK.sub(" ", text))
    return said(re.sub(r"([,;:])(?=[.,;:])", "", bare))


def check_marks(how: str) -> Marks:
    """Return ``how`` if it is one of ``MARKS`` (``UsageError`` otherwise)."""
    return next((one for one in MARKS if one == how), None) or _refuse(how, MARKS, "treatment of marks")


def _refuse(word: str, allowed: Iterable[str], kind: str) -> Any:
    allowed = list(allowed)
    raise UsageError(f"unknown {kind} {word!r}.{nearest(word, allowed)} Allowed: {', '.join(allowed)}.")


def split_of(value: Any) -> str | None:
    """Return ``train``, ``val`` or ``test``; empty for nothing, None for a word that is none of them.

    >>> split_of("validate"), split_of("Test"), split_of(""), split_of("trian")
    ('val', 'test', '', None)
    """
    word = plain(value).lower()
    return _SPLITS.get(word) if word else ""


def sex_of(value: Any) -> Sex:
    """Return the sex that a cell says; ``unknown`` for anything but M, F, male and female."""
    return _SEXES.get(plain(value).lower(), "unknown")


def age_of(value: Any) -> int | None:
    """Return an age in whole years from ``54``, ``54.0``, ``054Y`` or ``018M``; None where it is none.

    >>> age_of("054Y"), age_of(54.0), age_of("018M"), age_of("old"), age_of("999")
    (54, 54, 1, None, None)
    """
    match = _AGE.fullmatch(plain(value))
    if match is None:
        return None
    years = int(int(match[1]) / _PER_YEAR.get(match[2].upper(), 1.0))
    return years if years <= _OLDEST else None


def view_of(value: Any) -> View:
    """Return the view that a cell says; obliques, decubitus films and plain ``Frontal`` are ``unknown``.

    >>> view_of("postero-anterior"), view_of("LL"), view_of("AP"), view_of("Frontal"), view_of("PA LLD")
    ('PA', 'lateral', 'AP', 'unknown', 'unknown')
    """
    return _VIEWS.get(re.sub(r"[^a-z]", "", plain(value).lower()), "unknown")


def date_of(day: Any, time: Any = "") -> str:
    """Return an ISO date, with its time where that is known; empty where the day is none.

    Parameters
    ----------
    day
        ``20140131``, ``2014-01-31``, either as a number too, or with a time behind it.
    time
        DICOM's HHMMSS, with or without a fraction; leading zeros may be missing, as where a table holds numbers.

    >>> date_of(20140131.0, "90502.25"), date_of("2014-01-31"), date_of("2014-13-01"), date_of("2014-01-31 10:30:00")
    ('2014-01-31T09:05:02', '2014-01-31', '', '2014-01-31T10:30:00')
    """
    text = re.sub(r"\.0+$", "", plain(day))
    if re.fullmatch(r"\d{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return ""
    clock = re.fullmatch(r"(\d{1,6})(?:\.\d*)?", plain(time))
    if clock and len(text) <= 10:
        digits = clock[1].zfill(6)
        try:
            exact = datetime.time(int(digits[:2]), int(digits[2:4]), int(digits[4:]))
        except ValueError:
            return moment.date().isoformat()
        return datetime.datetime.combine(moment.date(), exact).isoformat()
    return moment.date().isoformat() if len(text) <= 10 else moment.isoformat()
