"""Fonts of the PDF: DejaVu Sans, which comes with wetread, and what this machine has for scripts that it lacks.

A character that no font here can draw as it should be drawn is spelled out as ``[U+4E2D]``: it can be read back, and
nobody takes a box for a word. That goes for scripts written from right to left or with letters that join, too.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wetread.errors import MissingError

VARIABLE = "WETREAD_FONT"
"""Environment variable with the path of a TrueType font for characters that DejaVu Sans lacks."""
PLAIN, BOLD = "wetread-sans", "wetread-sans-bold"
"""Names under which the fonts are registered."""
_FOLDER = Path(__file__).with_name("fonts")
# Fonts with TrueType outlines that systems come with, the widest first; only read where they are.
_KNOWN = (
    "/usr/share/fonts/truetype/unifont/unifont.ttf",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/arphic/uming.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
)
# Scripts whose letters join, stack or move: drawn one by one they would say something else, or nothing.
_JOINING = ((0x0700, 0x109F), (0x1780, 0x18AF), (0x1A20, 0x1AAF), (0xA800, 0xABFF))


@dataclass(frozen=True)
class Face:
    """A font and what it can draw."""

    name: str
    """Name under which it is registered with ReportLab."""
    glyphs: frozenset[int]
    """Code points that it has glyphs for."""


def fonts() -> tuple[Face, ...]:
    """Return the fonts in the order in which they are asked, registered with ReportLab.

    Raises
    ------
    MissingError
        ``WETREAD_FONT`` names what is no TrueType font.
    """
    asked = os.environ.get(VARIABLE, "")
    return _fonts(asked)


@cache
def _fonts(asked: str) -> tuple[Face, ...]:
    found = [_register(PLAIN, _FOLDER / "DejaVuSans.ttf")]
    _register(BOLD, _FOLDER / "DejaVuSans-Bold.ttf")
    if asked:
        try:
            found.append(_register("wetread-asked", Path(asked)))
        except Exception as error:  # a font may be damaged in as many ways as it has tables
            raise MissingError(
                f"{VARIABLE} names {asked!r}, which is no TrueType font that can be read; give one, or unset it."
            ) from error
        return tuple(found)
    for number, path in enumerate(map(Path, _KNOWN)):
        if path.is_file():
            try:
                found.append(_register(f"wetread-fallback-{number}", path))
            except Exception:  # one font less; what it would have drawn is spelled out
                continue
    return tuple(found)


def _register(name: str, path: Path) -> Face:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    font: Any = TTFont(name, str(path), shapable=False)
    pdfmetrics.registerFont(font)
    return Face(name, frozenset(font.face.charToGlyph))


def runs(text: str) -> list[tuple[str, str]]:
    """Return ``text`` cut into stretches that one font draws, each with the font's name.

    What no font draws is spelled out. Line breaks stay, tabs are blanks to the fonts.

    Parameters
    ----------
    text
        Clean text (``wording.clean``).
    """
    faces = fonts()
    cut: list[tuple[str, str]] = []
    for char in text:
        name, shown = _drawn(char, faces)
        if cut and cut[-1][0] == name:
            cut[-1] = (name, cut[-1][1] + shown)
        else:
            cut.append((name, shown))
    return cut


def shown(text: str) -> str:
    r"""Return ``text`` as the PDF shows it: what no font draws is spelled out.

    >>> shown("clear \U0001f600")
    'clear [U+1F600]'
    """
    return "".join(words for _, words in runs(text))


_SPELLED = re.compile(r"\[U\+([0-9A-F]{4,6})\]")


def unspelled(text: str) -> str:
    r"""Return what ``shown`` was given, but for text that held such marks itself.

    >>> unspelled("clear [U+1F600]") == "clear \U0001f600"
    True
    """
    return _SPELLED.sub(lambda match: chr(int(match[1], 16)), text)


def _drawn(char: str, faces: tuple[Face, ...]) -> tuple[str, str]:
    code = ord(char)
    if char in "\n\t ":
        return PLAIN, char
    if _plain(char, code):
        for face in faces:
            if code in face.glyphs:
                return face.name, char
    return PLAIN, f"[U+{code:04X}]"


def _plain(char: str, code: int) -> bool:
    """Whether a character may be drawn by itself, after the one before it and to its right."""
    if code > 0xFFFF or any(low <= code <= high for low, high in _JOINING):
        return False  # ReportLab writes a wrong table for characters beyond the first plane
    return unicodedata.bidirectional(char) not in ("R", "AL", "AN", "RLE", "RLO", "RLI") and unicodedata.category(
        char
    ) not in ("Cf", "Co", "Cn", "Cs")
