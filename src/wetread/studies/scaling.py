"""Grey values to 0..1 where the file does not say how they are to be shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
"""What becomes black and white without a window: markers, collimator edges and dead pixels lie outside."""
_SAMPLE = 1_000_000


def thin(values: NDArray[Any]) -> NDArray[Any]:
    """Return about a million of the values, evenly spaced, flat: enough for a percentile."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // _SAMPLE)]


def robust_range(sample: NDArray[Any]) -> tuple[float, float]:
    """Return the values that become black and white.

    The 0.5th and the 99.5th percentile; where these are equal (a small object on a flat ground), least and greatest.

    >>> robust_range(np.arange(1001.0))
    (5.0, 995.0)
    >>> robust_range(np.array([3.0] * 999 + [7.0]))
    (3.0, 7.0)
    """
    low, high = (float(value) for value in np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    return low, high


def to_unit(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Return the values scaled linearly so that ``low`` is 0 and ``high`` is 1, clipped; all 0 when they are equal."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
