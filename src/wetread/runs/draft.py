"""The drafting loop: studies in, draft records out, written as they are made."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wetread import knowledge, prompts
from wetread.errors import UsageError
from wetread.models import Model, Progress
from wetread.records import Draft, Finding, Report, Sampling, Sex, Study
from wetread.runs.store import RunFolder
from wetread.studies import Problem

Status = Literal["drafted", "refused", "failed"]
NOTICE = "AI draft, not verified. Research use only: a radiologist must read the images and correct it."
"""Stands on every draft that leaves the house."""


@dataclass(frozen=True)
class Context:
    """What the caller knows of a study; goes before what its header says."""

    indication: str | None = None
    """Why the examination was asked for."""
    comparison: str | None = None
    """What it is to be compared with."""
    age: int | None = None
    """Age in years, 0 to 130."""
    sex: Sex | None = None
    """``female``, ``male`` or ``unknown``."""

    def __post_init__(self) -> None:
        if self.age is not None and not 0 <= self.age <= 130:
            raise UsageError(f"age {self.age} is out of range; allowed is 0 to 130 years.")

    def applied(self, study: Study) -> Study:
        """Return the study with what is known put in."""
        known = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(study, **known)


@dataclass(frozen=True)
class DraftRecord:
    """One study's draft, or why there is none; what ``wetread draft --json`` writes."""

    study: str
    """Key of the study."""
    status: Status
    """``drafted``, ``refused`` (must not be drafted) or ``failed`` (could not be)."""
    model: str
    """Name of the model."""
    images: tuple[dict[str, Any], ...] = ()
    """Name, view and reader's notes of each image."""
    reason: str = ""
    """Why it was refused or failed, or what is odd about the draft."""
    report: Report = field(default_factory=Report)
    """The draft."""
    perception: tuple[Finding, ...] = ()
    """What the draft claims, with the evidence's place in ``report.text``."""
    seconds: float = 0.0
    """Reading plus generating, wall time of this study's share."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "images": list(self.images),
            "status": self.status,
            "reason": self.reason,
            "report": self.report.to_json(),
            "perception": [finding.to_json() for finding in self.perception],
            "model": self.model,
            "seconds": self.seconds,
            "notice": NOTICE,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DraftRecord:
        """Return the record that ``to_json`` wrote."""
        return cls(
            study=data["study"],
            status=data["status"],
            model=data["model"],
            images=tuple(data["images"]),
            reason=data["reason"],
            report=Report.from_json(data["report"]),
            perception=tuple(Finding.from_json(item) for item in data["perception"]),
            seconds=data["seconds"],
        )


def draft(
    items: Iterable[Study | Problem],
    model: Model,
    *,
    sampling: Sampling,
    context: Context | None = None,
    run: RunFolder | None = None,
    progress: Progress | None = None,
) -> Iterator[DraftRecord]:
    """Draft every study; yield one record each, in order, problems included.

    With a run folder each batch is on the disk before its records are yielded, and studies that the folder already holds
    are yielded from it and not drafted again.
    """
    style = prompts.get(model.style)
    lines = run.lines("drafts") if run else None
    kept = {record["study"]: record for record in lines.read()} if lines else {}
    waiting: list[tuple[Study, float]] = []

    def flush() -> Iterator[DraftRecord]:
        made = _batch([study for study, _ in waiting], [s for _, s in waiting], model, style, sampling)
        waiting.clear()
        yield from write(made)

    def write(records: Sequence[DraftRecord]) -> Iterator[DraftRecord]:
        if lines and records:
            lines.append(*(record.to_json() for record in records))
        for record in records:
            if progress is not None:
                progress(1)
            yield record

    for item, seconds in _timed(items):
        key = item.id if isinstance(item, Study) else item.name
        if key in kept:
            yield from flush()
            yield DraftRecord.from_json(kept[key])
            if progress is not None:
                progress(1)
        elif isinstance(item, Problem):
            yield from flush()
            yield from write([DraftRecord(key, item.status, model.name, reason=item.reason, seconds=round(seconds, 4))])
        else:
            waiting.append((context.applied(item) if context else item, seconds))
            if len(waiting) >= sampling.batch_size:
                yield from flush()
    yield from flush()


def _timed(items: Iterable[Study | Problem]) -> Iterator[tuple[Study | Problem, float]]:
    """Yield each item with the seconds it took to read."""
    source = iter(items)
    while True:
        start = time.perf_counter()
        try:
            item = next(source)
        except StopIteration:
            return
        yield item, time.perf_counter() - start


def _batch(
    studies: Sequence[Study], read: Sequence[float], model: Model, style: prompts.Style, sampling: Sampling
) -> list[DraftRecord]:
    if not studies:
        return []
    generations = model.generate([style.render(study) for study in studies], sampling)
    return [
        _record(study, style.parse(one), model.name, round(one.seconds + seconds, 4))
        for study, one, seconds in zip(studies, generations, read, strict=True)
    ]


def _record(study: Study, made: Draft, model: str, seconds: float) -> DraftRecord:
    images = tuple(image.to_json() for image in study.images)
    if not made.readable:
        return DraftRecord(study.id, "failed", model, images, made.reason, seconds=seconds)
    found = knowledge.extract(made.report)
    reason = f"the draft is {made.parse}: {made.reason}" if made.parse != "complete" else ""
    return DraftRecord(study.id, "drafted", model, images, reason, made.report, found, seconds)
