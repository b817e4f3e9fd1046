"""Closer views: parts of an image, magnified, for a second look.

A model sees a radiograph at a few hundred pixels a side, while the file has ten times as many. A part of it, scaled to the
same size, shows what was lost. Four views overlap, so that nothing lies on a border alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from wetread.records import Image, Pixels

SHARE = 0.6
"""Part of each side that a view shows."""
VIEWS: Mapping[str, tuple[float, float]] = {
    "upper left": (0.0, 0.0), "upper right": (0.0, 1 - SHARE), "lower left": (1 - SHARE, 0.0),
    "lower right": (1 - SHARE, 1 - SHARE),
}  # fmt: skip
"""Place in the image, not in the patient, to the view's upper left corner: rows and columns as shares of the image."""

_ELSEWHERE: Mapping[str, frozenset[str]] = {
    "upper": frozenset({"lower zone", "base"}),
    "lower": frozenset({"upper zone", "apex"}),
}
"""Half of the film to the places in the patient that it does not show."""


def views(image: Image) -> tuple[Image, ...]:
    """Return the closer views of an image; pixels are read when they are asked for.

    >>> [view.name for view in views(Image("chest.png", "PA"))][:2]
    ['chest.png, upper left', 'chest.png, upper right']
    """
    return tuple(
        Image(f"{image.name}, {name}", image.view, load=partial(_part, image, corner) if image.load else None)
        for name, corner in VIEWS.items()
    )


def shows(view: str, side: str, location: str) -> bool:
    """Whether a view of a frontal film shows what lies on a side of the patient, whose right is the film's left, in a zone.

    What lies on both sides, in the middle or nobody says where may be in any.

    >>> shows("upper left", "right", "apex"), shows("upper left", "left", ""), shows("lower right", "left", "upper zone")
    (True, False, False)
    """
    height, half = view.split()
    return side != half and location not in _ELSEWHERE[height]


def _part(image: Image, corner: tuple[float, float]) -> Pixels:
    """Return the pixels of a part, at least one a side."""
    pixels = image.pixels()
    rows, columns = pixels.shape
    top, left = round(corner[0] * rows), round(corner[1] * columns)
    return pixels[top : top + max(1, round(SHARE * rows)), left : left + max(1, round(SHARE * columns))]
