"""The three sites: how each exposes its pictures and which style its reports are in. All names are invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "terse", "numbered"]


@dataclass(frozen=True)
class Site:
    """One site's habits."""

    key: str
    """A, B or C."""
    name: str
    """Invented name."""
    share: float
    """Share of the patients."""
    style: Style
    """Family of its report wording."""
    gamma: float
    """Exponent on the grey values: below 1 brighter lungs, above 1 darker."""
    contrast: float
    """Factor about mid grey."""
    brightness: float
    """Offset after the contrast."""
    noise: float
    """Standard deviation of the grain at 128 pixels a side, in grey values of 0 to 1."""
    border: float
    """Greatest width of the collimated border, as a share of half the picture."""
    marker: tuple[float, float]
    """Where the side marker sits: (u, v) of its centre; it stands on the patient's left or right as its u says."""
    bits: int
    """Bits stored in DICOM, 12 or 16."""
    photometric: str
    """MONOCHROME1 or MONOCHROME2."""
    intercept: int
    """Rescale intercept in DICOM."""
    unseen: bool = False
    """Kept out of training: its studies are always in the test split."""


SITES: tuple[Site, ...] = (
    Site("A", "Northquay General", 0.42, "plain", 1.0, 1.05, 0.0, 0.018, 0.06, (-0.86, -0.86), 12, "MONOCHROME2", 0),
    Site("B", "Alderwick Hospital", 0.42, "terse", 0.88, 0.95, 0.02, 0.023, 0.02, (0.86, -0.80), 12, "MONOCHROME1", 0),
    Site("C", "Saint Emmer Clinic", 0.16, "numbered", 1.15, 1.15, 0.03, 0.030, 0.10, (0.84, 0.86), 16, "MONOCHROME1",
         -1024, unseen=True),
)  # fmt: skip
"""Sites A and B are alike enough to share a model; C differs in exposure, marker, border and wording."""

SITE: dict[str, Site] = {site.key: site for site in SITES}
"""The same by key."""
