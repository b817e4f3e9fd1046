"""A reward written down: weighted terms, what each does with its metric, and what an unreadable draft gets instead."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from wetread.errors import UsageError, nearest
from wetread.rewards import transforms
from wetread.rewards.transforms import Chain, Written
from wetread.rewards.views import AGAINST, VIEWS, Against, View


@dataclass(frozen=True)
class Term:
    """One part of a reward: ``weight · transform(metric) · times``.

    What looks at the draft alone (readability, form) says nothing of truth, so it must be multiplied by a metric that does.
    The factors of a product are never below 0.

    >>> Term("fkgl", 0.1, [{"clip": [0, 20]}, "inverse"], times="entity_f1").name
    'fkgl*entity_f1'
    """

    metric: str
    """Name of the metric."""
    weight: float = 1.0
    """Above 0; the direction is the transform's."""
    transform: Written | Sequence[Written] = ()
    """Chain of steps, see ``rewards.transforms``: ``inverse``, ``[{clip: [0, 1]}, negate]``; more must become better."""
    times: Term | str | Mapping[str, Any] | None = None
    """What it is multiplied by: a metric's name, or a term without a weight of its own; None: nothing."""
    of: View = "report"
    """What of the draft the metric looks at: ``report``, ``perception`` or ``answer``; a draft without it gets the floor."""
    against: Against = "reference"
    """What it is held against: the ``reference``, or another part of the same draft, which says nothing of truth."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "transform", transforms.chain(self.transform))
        except UsageError as error:
            raise UsageError(f"term {self.metric!r}: {error}") from None
        if isinstance(self.times, str):
            object.__setattr__(self, "times", Term(self.times))
        elif isinstance(self.times, Mapping):
            object.__setattr__(self, "times", Term.from_json(self.times))
        elif self.times is not None and not isinstance(self.times, Term):
            raise UsageError(
                f"times {self.times!r} of {self.metric!r} cannot be read; write one metric's name (entity_f1), or one term "
                "({metric: entity_f1, transform: …})."
            )
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UsageError(
                f"weight {self.weight} of {self.metric!r} must be above 0; a transform turns the direction."
            )
        if self.factor is not None and self.factor.weight != 1.0:
            raise UsageError(
                f"weight {self.factor.weight} of {self.factor.metric!r}, which {self.metric!r} is multiplied by, must be left "
                "out; the term has one weight."
            )
        for name, allowed in (("of", VIEWS), ("against", AGAINST)):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"{name}={getattr(self, name)!r} of {self.metric!r} is not allowed. Allowed: {', '.join(allowed)}."
                )
        if self.of == self.against:
            raise UsageError(
                f"{self.metric!r} holds the {self.of} of a draft against itself; set of or against to something else."
            )
        if len(set(self.slots)) < len(self.slots):
            raise UsageError(f"term {self.name!r} multiplies a metric by itself; name each once.")

    @property
    def steps(self) -> Chain:
        """The transform, as steps."""
        return cast(Chain, self.transform)

    @property
    def factor(self) -> Term | None:
        """What it is multiplied by, as a term."""
        return cast("Term | None", self.times)

    @property
    def factors(self) -> tuple[Term, ...]:
        """Itself and what it is multiplied by, in order."""
        return (self, *(self.factor.factors if self.factor else ()))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of all its factors."""
        return tuple(one.metric for one in self.factors)

    @property
    def slot(self) -> str:
        """Name of its own score: the metric, and what it looks at where that is not the report against the reference.

        >>> Term("entity_f1").slot, Term("entity_f1", of="perception").slot, Term("entity_f1", of="answer", against="report").slot
        ('entity_f1', 'entity_f1[perception]', 'entity_f1[answer|report]')
        """
        if self.against != "reference":
            return f"{self.metric}[{self.of}|{self.against}]"
        return self.metric if self.of == "report" else f"{self.metric}[{self.of}]"

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the scores of all its factors."""
        return tuple(one.slot for one in self.factors)

    @property
    def views(self) -> frozenset[str]:
        """Parts of a draft that its factors look at."""
        return frozenset(part for one in self.factors for part in (one.of, one.against) if part != "reference")

    @property
    def name(self) -> str:
        """What logs call it: its scores, with ``*`` between."""
        return "*".join(self.slots)

    def contribution(self, values: Mapping[str, float], ratio: float = 1.0) -> float:
        """Return what it adds to the reward.

        Parameters
        ----------
        values
            Name of a score (``slot``) to its value.
        ratio
            Draft words per reference word, for the steps that look at the length.

        >>> Term("errors_total", 0.5, "inverse").contribution({"errors_total": 1.0})
        0.25
        """
        return self.weight * math.prod(transforms.apply(one.steps, values[one.slot], ratio) for one in self.factors)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "metric": self.metric,
            "weight": self.weight,
            "transform": [step.to_json() for step in self.steps],
            **({"of": self.of} if self.of != "report" else {}),
            **({"against": self.against} if self.against != "reference" else {}),
            **({"times": self.factor.to_json()} if self.factor else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Term:
        """Return the term that ``to_json`` wrote, or that somebody wrote into a config (``UsageError`` where it is none)."""
        _check_keys(data, cls, "a term of a reward")
        metric = _text(data["metric"], "metric of a term")
        weight = _number(data.get("weight", 1.0), f"weight of {metric!r}")
        of, against = data.get("of", "report"), data.get("against", "reference")
        return cls(metric, weight, data.get("transform", ()), data.get("times"), of, against)


@dataclass(frozen=True)
class RewardRecipe:
    """A reward: the sum of its terms, and what an unreadable draft gets instead."""

    name: str
    """Public name, stored with every reward."""
    terms: tuple[Term, ...]
    """At least one; no two of the same metrics."""
    floor: float = -1.0
    """Reward of an unreadable draft; below the least that the terms can sum to."""
    min_words: int = 1
    """A draft with fewer words in its sections counts as unreadable; a whole number from 0 up."""
    min_ratio: float = 0.0
    """So does one with less than this share of its reference's words, 0 to 1."""
    source: str = ""
    """Where it comes from."""

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if not names:
            raise UsageError(f"reward {self.name!r} has no terms; give at least one metric.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"reward {self.name!r} has {', '.join(twice)} twice; give each metric one term.")
        if not math.isfinite(self.floor):
            raise UsageError(f"floor {self.floor} of reward {self.name!r} must be a finite number.")
        if not (self.min_words >= 0 and float(self.min_words).is_integer()):
            raise UsageError(f"min_words {self.min_words} of reward {self.name!r} must be a whole number from 0 up.")
        if not 0 <= self.min_ratio <= 1:
            raise UsageError(f"min_ratio {self.min_ratio} of reward {self.name!r} must be from 0 to 1.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics it needs, each once, in the order of its terms."""
        return tuple(dict.fromkeys(metric for term in self.terms for metric in term.metrics))

    @property
    def scores(self) -> Mapping[str, Term]:
        """Name of each score that it needs to a term that says what is looked at, in the order of its terms."""
        return {one.slot: one for term in self.terms for one in term.factors}

    @property
    def views(self) -> frozenset[str]:
        """Parts of a draft that its terms look at."""
        return frozenset(part for term in self.terms for part in term.views)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "terms": [term.to_json() for term in self.terms],
            "floor": self.floor,
            "min_words": self.min_words,
            "min_ratio": self.min_ratio,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RewardRecipe:
        """Return the recipe that ``to_json`` wrote, or that somebody wrote into a config (``UsageError`` where it is none)."""
        _check_keys(data, cls, "a reward")
        name, terms = _text(data["name"], "name of a reward"), data["terms"]
        if not isinstance(terms, Sequence) or isinstance(terms, str) or not all(isinstance(t, Mapping) for t in terms):
            raise UsageError(f"terms of reward {name!r} must be a list of {{metric: …, weight: …}}.")
        words = _number(data.get("min_words", 1), "min_words")
        return cls(
            name=name,
            terms=tuple(Term.from_json(item) for item in terms),
            floor=_number(data.get("floor", -1.0), "floor"),
            min_words=int(words) if words.is_integer() else cast(int, words),  # which is then refused
            min_ratio=_number(data.get("min_ratio", 0.0), "min_ratio"),
            source=_text(data.get("source", ""), "source of a reward"),
        )


def _check_keys(data: Mapping[str, Any], cls: Any, what: str) -> None:
    allowed = [field.name for field in fields(cls)]
    for key in data:
        if key not in allowed:
            raise UsageError(f"{what} has no {key!r}.{nearest(str(key), allowed)} There are: {', '.join(allowed)}.")
    lacking = [key for key in ("name", "terms", "metric") if key in allowed and key not in data]
    if lacking:
        raise UsageError(f"{what} lacks {' and '.join(lacking)}; it has: {', '.join(map(str, data)) or 'nothing'}.")


def _number(value: Any, what: str) -> float:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool):
            return float(value)  # of text too: YAML 1.1 reads 1e-3 as text
    raise UsageError(f"{what} is {value!r}; give a number.")


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    raise UsageError(f"{what} is {value!r}; give a name or a text.")
