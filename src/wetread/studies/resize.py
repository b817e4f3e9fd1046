"""Geometry: one square size for every radiograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from wetread.records import Pixels


def to_square(pixels: Pixels, size: int) -> NDArray[np.uint8]:
    """Return the picture in a square of ``size`` pixels, its aspect ratio kept and the rest black.

    Shrinking averages over the area that falls into a pixel (no aliasing, thin lines fade instead of vanishing);
    enlarging is bilinear.

    Parameters
    ----------
    pixels
        Grey values 0..1, shape (rows, columns).
    size
        Side of the square in pixels, at least 1.

    Returns
    -------
    NDArray[np.uint8]
        Shape (size, size), 0..255; the picture is centred.

    >>> to_square(np.ones((20, 10), dtype=np.float32), 4).tolist()
    [[0, 255, 255, 0], [0, 255, 255, 0], [0, 255, 255, 0], [0, 255, 255, 0]]
    """
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"pixels must have shape (rows, columns) and not be empty; their shape is {pixels.shape}.")
    if size < 1:
        raise ValueError(f"size must be at least 1; it is {size}.")
    rows, columns = pixels.shape
    scale = size / max(rows, columns)
    new_rows, new_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    method = PilImage.Resampling.BOX if scale < 1 else PilImage.Resampling.BILINEAR
    picture = PilImage.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    small = np.asarray(picture.resize((new_columns, new_rows), method))
    square = np.zeros((size, size), dtype=np.uint8)
    top, left = (size - new_rows) // 2, (size - new_columns) // 2
    square[top : top + new_rows, left : left + new_columns] = np.rint(np.clip(small, 0, 1) * 255)
    return square
