"""The most recent prior: which of a patient's studies is the one before.

What orders studies
-------------------
Their ``date``, an ISO date that may have a time (``2090-01-31`` or ``2090-01-31T10:30``). Two studies of one day are told
apart by their times where both have one, else by ``meta["encounter"]``, the patient's how many-th study, where both have that.
Where none of a patient's studies has a date, as in CheXpert Plus, ``meta["encounter"]`` alone orders them.
Ids and the order of the list say nothing of time, and are never used.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wetread.records import Prior, Study
from wetread.studies import folder
from wetread.studies.splits import patient_key

Priors = Literal["kept", "recent"]
"""``kept``: those that the studies name; ``recent``: and those that ``with_priors`` finds."""


@dataclass(frozen=True)
class PriorCount:
    """What became of the studies whose priors were looked for. Every study is counted once."""

    kept: int = 0
    """Named a prior already."""
    given: int = 0
    """Got the most recent earlier study."""
    first: int = 0
    """Have no earlier study."""
    undated: int = 0
    """Have no date, or one that is no ISO date, and no other order; they are no priors either."""
    unnamed: int = 0
    """Have no patient."""
    unordered: int = 0
    """Have studies of one day about which nothing says which came first."""

    def to_json(self) -> dict[str, int]:
        """Return the JSON form."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The same in words; what is 0 is left out.

        >>> PriorCount(kept=2, given=1200, undated=3).words
        '2 named one already, 1,200 got the most recent earlier study, 3 have no date'
        """
        told = {
            "named one already": self.kept,
            "got the most recent earlier study": self.given,
            "have none before them": self.first,
            "have no date": self.undated,
            "have no patient": self.unnamed,
            "cannot be ordered within a day": self.unordered,
        }
        return ", ".join(f"{number:,} {what}" for what, number in told.items() if number)


@dataclass(frozen=True)
class _When:
    """When a study was taken, as far as it says."""

    day: datetime.date
    time: datetime.time | None
    encounter: int | None = None

    def before(self, other: _When) -> bool:
        """Whether this is known to be earlier; False also where nothing tells the two apart."""
        if self.day != other.day:
            return self.day < other.day
        if self.time is not None and other.time is not None and self.time != other.time:
            return self.time < other.time
        if self.encounter is not None and other.encounter is not None:
            return self.encounter < other.encounter
        return False


def with_priors(studies: Iterable[Study]) -> tuple[list[Study], PriorCount]:
    """Return the studies, each with the most recent earlier study of its patient as prior, and what was counted.

    A prior is of the same patient (within the same source) and of the same split, since the report of a study that is tested
    on must not be shown in training (``leaks.check_priors``). It has the images and the report of that study. A study that
    names a prior keeps it. A study gets none where nothing says which of several studies of a day came last. The same study
    listed twice (same source and id) is one study.

    Parameters
    ----------
    studies
        All studies of a data set, also those that are not asked for afterwards: they may be priors.

    Returns
    -------
    tuple
        The studies in their order, and the counts.
    """
    studies = list(studies)
    places: dict[tuple[str, ...], int] = {}
    for place, study in enumerate(studies):
        places.setdefault(_key(study), place)
    timed = _timed({place: studies[place] for place in places.values()})
    groups: dict[Any, list[int]] = defaultdict(list)
    for place in timed:
        if patient := patient_key(studies[place]):
            groups[patient, studies[place].split].append(place)
    before: dict[int, int | None] = {}
    for group in groups.values():
        before |= _before({place: timed[place] for place in group})
    made: list[Study] = []
    counts: Counter[str] = Counter()
    for study in studies:
        place, prior = places[_key(study)], None
        if study.prior is not None:
            what = "kept"
        elif not study.patient:
            what = "unnamed"
        elif place not in timed:
            what = "undated"
        elif place not in before:
            what = "first"
        elif (at := before[place]) is None:
            what = "unordered"
        else:
            what, prior = "given", studies[at]
        counts[what] += 1
        made.append(study if prior is None else replace(study, prior=_prior(prior)))
    return made, PriorCount(**counts)


def read(paths: Sequence[Path | str], priors: Priors = "kept") -> tuple[list[list[Study]], PriorCount | None]:
    """Return the studies of each folder, and with ``recent`` what was counted; errors and warnings as ``folder.read``.

    Priors are looked for in all folders together: two folders of one source share their patients.
    """
    parts = [folder.read(path) for path in paths]
    if priors == "kept":
        return parts, None
    made, counts = with_priors(study for part in parts for study in part)
    rest = iter(made)
    return [[next(rest) for _ in part] for part in parts], counts


def is_later(first: str, second: str) -> bool:
    """Whether a study of date ``first`` is known to be later than one of ``second``; dates that are not ISO are compared as text.

    >>> is_later("2090-01-02", "2090-01-01T10:30"), is_later("2090-01-01T10:30", "2090-01-01")
    (True, False)
    """
    one, other = _moment(first), _moment(second)
    if one is None or other is None:
        return bool(first and second) and first > second
    return other.before(one)


def _key(study: Study) -> tuple[str, ...]:
    return study.source, study.id, study.split, study.patient


def _before(timed: Mapping[int, _When]) -> dict[int, int | None]:
    """Return which of one patient's studies was before each; None where that cannot be told. The first are left out."""
    days: dict[datetime.date, list[int]] = defaultdict(list)
    for place, when in timed.items():
        days[when.day].append(place)
    found: dict[int, int | None] = {}
    earlier: list[int] = []
    for day in sorted(days):
        today, last = days[day], _latest(earlier, timed)
        for place in today:
            here = [one for one in today if timed[one].before(timed[place])]
            if here:
                found[place] = _latest(here, timed)
            elif earlier:
                found[place] = last
            elif not all(one == place or timed[place].before(timed[one]) for one in today):
                found[place] = None
        earlier = today
    return found


def _latest(places: Sequence[int], timed: Mapping[int, _When]) -> int | None:
    """Return the one that all others are before; None where there is no such one."""
    last: int | None = None
    for place in places:
        if last is None or timed[last].before(timed[place]):
            last = place
    return last if last is not None and all(p == last or timed[p].before(timed[last]) for p in places) else None


def _timed(studies: Mapping[int, Study]) -> dict[int, _When]:
    """Return when each study was taken; those of which nothing is known are left out."""
    dated = {patient_key(study) for study in studies.values() if _moment(study.date)}
    found = {}
    for place, study in studies.items():
        moment, encounter = _moment(study.date), study.meta.get("encounter")
        whole = encounter if isinstance(encounter, int) and not isinstance(encounter, bool) else None
        if moment is not None:
            found[place] = replace(moment, encounter=whole)
        elif whole is not None and patient_key(study) not in dated:
            found[place] = _When(datetime.date.min, None, whole)  # one day for all: the encounter tells them apart
    return found


def _moment(text: str) -> _When | None:
    """Return what an ISO date or date with time says; None where it is none. Times count as written, without their zone."""
    try:
        return _When(datetime.date.fromisoformat(text), None)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return _When(moment.date(), moment.time())


def _prior(study: Study) -> Prior:
    return Prior(study.id, study.date, study.images, study.report)
