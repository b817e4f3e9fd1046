"""What a metric's value passes through on its way into a reward: a chain of small functions of one number.

    identity            x
    negate              -x
    inverse             1 / (1 + x), for counts from 0 up
    clip [a, b]         min(max(x, a), b)
    scale [k]           k · x, k > 0
    shift [c]           x + c
    length_factor [a, b, t]   x · (1 - t · (1 - fit)), for x from 0 up and 0 < t ≤ 1
    length_tax [a, b, t]      x - t · (1 - fit)

``fit = min(1, r / a, b / r)`` for ``r`` draft words per reference word: 1 between ``a`` and ``b``, and outside of them the
share by which the band is missed. The headers of sections are not counted. Neither step ever pays more than x.

Every step but ``negate`` and ``inverse`` keeps the order of values, so the direction of a chain can be told from its names,
and its range from the range of the metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wetread.errors import UsageError, nearest

Kind = Literal["identity", "negate", "inverse", "clip", "scale", "shift", "length_factor", "length_tax"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Span = tuple[float, float]
"""Least and greatest value; either may be infinite."""
_NUMBERS = {"clip": 2, "scale": 1, "shift": 1, "length_factor": 3, "length_tax": 3}
_FORMS = {
    "clip": "clip: [low, high] with low < high",
    "scale": "scale: [k] with k > 0; negate turns the direction",
    "shift": "shift: [c]",
    "length_factor": "length_factor: [low, high, rate] with 0 < low <= 1 <= high and 0 < rate <= 1",
    "length_tax": "length_tax: [low, high, rate] with 0 < low <= 1 <= high and rate > 0",
}


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    >>> Step("clip", (0, 1)).apply(1.5), Step("inverse").apply(1)
    (1, 0.5)
    >>> Step("length_factor", (0.8, 1.25, 1.0)).apply(0.9, ratio=2.5)
    0.45
    """

    kind: Kind
    """What it does, see the head of this module."""
    numbers: tuple[float, ...] = ()
    """Its numbers, in the order given there."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = nearest(str(self.kind), KINDS)
            raise UsageError(f"transform {self.kind!r} is not known.{hint} There are: {', '.join(KINDS)}.")
        wanted = _NUMBERS.get(self.kind, 0)
        if len(self.numbers) != wanted or not all(math.isfinite(number) for number in self.numbers) or self._odd():
            form = _FORMS.get(self.kind, f"{self.kind}, without numbers")
            raise UsageError(f"transform {self.kind} of {list(self.numbers)} cannot be used; write {form}.")

    def _odd(self) -> bool:
        given = self.numbers
        if self.kind == "clip":
            return given[0] >= given[1]
        if self.kind == "scale":
            return given[0] <= 0
        if self.kind in ("length_factor", "length_tax"):
            low, high, rate = given
            return not (0 < low <= 1 <= high and rate > 0 and (rate <= 1 or self.kind == "length_tax"))
        return False

    @property
    def turns(self) -> bool:
        """Whether more becomes less."""
        return self.kind in ("negate", "inverse")

    def apply(self, value: float, ratio: float = 1.0) -> float:
        """Return the value after this step; NaN for the inverse of -1 or less.

        Parameters
        ----------
        value
            The value before it.
        ratio
            Draft words per reference word.
        """
        match self.kind:
            case "negate":
                return -value
            case "inverse":
                return 1 / (1 + value) if value > -1 else math.nan
            case "clip":
                return min(max(value, self.numbers[0]), self.numbers[1])
            case "scale":
                return self.numbers[0] * value
            case "shift":
                return value + self.numbers[0]
            case "length_factor":
                return value * (1 - self.numbers[2] * (1 - self._fit(ratio)))
            case "length_tax":
                return value - self.numbers[2] * (1 - self._fit(ratio))
        return value

    def _fit(self, ratio: float) -> float:
        low, high, _ = self.numbers
        return min(1.0, ratio / low, high / ratio if ratio else 0.0)

    def span(self, before: Span) -> Span:
        """Return the least and the greatest value after this step.

        Raises
        ------
        UsageError
            Values occur before it that it is not made for.
        """
        low = before[0]
        if self.kind == "inverse" and low <= -1:
            raise UsageError(f"inverse is for values from 0 up, and these begin at {low:g}; clip or shift them first.")
        if self.kind == "length_factor" and low < 0:
            raise UsageError(
                f"length_factor is for values from 0 up, and these begin at {low:g}; shift them, or use length_tax."
            )
        ends = sorted(self.apply(end) for end in before)
        if self.kind == "length_factor":
            return ends[0] * (1 - self.numbers[2]), ends[1]
        return ends[0] - (self.numbers[2] if self.kind == "length_tax" else 0.0), ends[1]

    def to_json(self) -> str | dict[str, list[float]]:
        """Return the form in which it is written: its name, or its name with its numbers."""
        return {self.kind: list(self.numbers)} if self.numbers else self.kind


Chain = tuple[Step, ...]
Written = str | Mapping[str, Any] | Step
"""A step as it is written: ``negate``, ``{clip: [0, 1]}``."""


def chain(written: Written | Sequence[Written]) -> Chain:
    """Return the chain that is written; one step needs no list, no step is an empty list (``UsageError`` where it is none).

    >>> chain(["negate", {"shift": 1}])
    (Step(kind='negate', numbers=()), Step(kind='shift', numbers=(1.0,)))
    """
    several = isinstance(written, Sequence) and not isinstance(written, str)
    items: Sequence[Any] = written if several else [written]  # type: ignore[assignment]
    return tuple(step for item in items if (step := _step(item)).kind != "identity")


def _step(written: Any) -> Step:
    if isinstance(written, Step):
        return written
    if isinstance(written, str):
        return Step(written)  # type: ignore[arg-type]
    if isinstance(written, Mapping) and len(written) == 1:
        ((kind, given),) = written.items()
        numbers = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        try:
            found = tuple(float(number) for number in numbers if not isinstance(number, bool))
        except (TypeError, ValueError, OverflowError):
            found = ()
        if len(found) == len(numbers):
            return Step(kind, found)
    raise UsageError(
        f"transform {written!r} cannot be read; write a name (negate) or a name with numbers ({{clip: [0, 1]}})."
    )


def apply(steps: Chain, value: float, ratio: float = 1.0) -> float:
    """Return what a chain makes of a value; ``ratio`` is draft words per reference word."""
    for step in steps:
        value = step.apply(value, ratio)
    return value


def turned(steps: Chain) -> bool:
    """Whether more becomes less."""
    return sum(step.turns for step in steps) % 2 == 1


def span(steps: Chain, before: Span) -> Span:
    """Return the least and the greatest value after a chain; ``UsageError`` as ``Step.span``."""
    for step in steps:
        before = step.span(before)
    return before
