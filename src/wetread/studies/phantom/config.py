"""What may be chosen about a phantom data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wetread.errors import ConfigError, nearest

SITE_KEYS = ("A", "B", "C")
"""Keys of the three sites, in the order of their shares."""


@dataclass(frozen=True)
class PhantomConfig:
    """Choices that change what the phantom draws; two folders with different ones are different data sets."""

    prevalence: float = 1.0
    """Factor on the chance that a patient is abnormal; 0 makes everyone normal, 1 about 70 of 100 studies abnormal."""
    prior_share: float = 1 / 3
    """Share of studies that have an earlier study of the same patient; 0 to 0.7."""
    conspicuity: tuple[float, float] = (0.03, 1.0)
    """Least and greatest contrast factor of a finding, each within 0 to 1; the chance of a factor rises evenly from the
    least to the greatest, so that one in thirteen of the default lies below 0.3."""
    sites: tuple[str, ...] = SITE_KEYS
    """Which sites send studies; their shares (0.42, 0.42, 0.16) are renormalised. Site C is always test only."""
    noise: float = 1.0
    """Factor on each site's noise; 0 to 4."""

    def __post_init__(self) -> None:
        low, high = self.conspicuity
        _check("prevalence", self.prevalence, 0.0, 1.4)
        _check("prior_share", self.prior_share, 0.0, 0.7)
        _check("noise", self.noise, 0.0, 4.0)
        if not 0.0 <= low <= high <= 1.0:
            raise ConfigError(
                f"conspicuity is {low}, {high}; allowed are two numbers with 0 <= least <= greatest <= 1."
            )
        unknown = [site for site in self.sites if site not in SITE_KEYS]
        if unknown or not self.sites or len(set(self.sites)) < len(self.sites):
            raise ConfigError(f"sites is {list(self.sites)}; give one to three different ones of A, B and C.")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        data = asdict(self)
        return data | {"conspicuity": list(self.conspicuity), "sites": list(self.sites)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PhantomConfig:
        """Return the config that ``to_json`` wrote; an unknown key is refused (``ConfigError``)."""
        known = cls.__dataclass_fields__
        for key in data:
            if key not in known:
                raise ConfigError(
                    f"no phantom key is called {key!r}.{nearest(key, known)} There are: {', '.join(known)}."
                )
        values = dict(data)
        for key in ("conspicuity", "sites"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed is {low} to {high}.")
