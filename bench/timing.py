"""Paired timing: two ways of doing the same work, in turn, in one run. Ratios are quoted, since machines are noisy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Way = Callable[[], int | tuple[int, float]]
"""Does the work and returns how many units it did; also the seconds, where only a part of them counts."""


@dataclass(frozen=True)
class Pair:
    """What a pair of ways took."""

    name: str
    """What was done."""
    unit: str
    """What is counted a second."""
    ours: tuple[float, ...]
    """Units a second, each round."""
    theirs: tuple[float, ...]
    """Units a second of the other way, each round."""
    other: str
    """What the other way is."""

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Least, median and greatest of ours / theirs, pair by pair."""
        ratios = sorted(a / b for a, b in zip(self.ours, self.theirs, strict=True))
        return ratios[0], statistics.median(ratios), ratios[-1]

    def line(self) -> str:
        """Return the result as a line."""
        low, middle, high = self.ratio
        return (
            f"{self.name}: {statistics.median(self.ours):.1f} {self.unit}/s against {statistics.median(self.theirs):.1f} "
            f"({self.other}); ratio {middle:.2f} (least {low:.2f}, greatest {high:.2f}, {len(self.ours)} pairs)"
        )


def paired(name: str, unit: str, ours: Way, theirs: Way, other: str, rounds: int = 5) -> Pair:
    """Run both ways in turn, ``rounds`` times after one warm-up each."""
    mine, other_rates = [], []
    for number in range(rounds + 1):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        rates = {way: _rate(way) for way in order}
        if number:
            mine.append(rates[ours])
            other_rates.append(rates[theirs])
    return Pair(name, unit, tuple(mine), tuple(other_rates), other)


def _rate(way: Way) -> float:
    start = time.perf_counter()
    done = way()
    if isinstance(done, tuple):
        return done[0] / done[1]
    return done / (time.perf_counter() - start)
