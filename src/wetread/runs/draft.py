"""The drafting loop: studies in, draft records out, written as they are made."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from wetread import knowledge, prompts
from wetread.errors import StudyError, UsageError
from wetread.models import Model, Progress
from wetread.prompts.direct import BOTH, split_sections
from wetread.records import NOTICE, Draft, Finding, Prior, Prompt, Report, Sampling, Sex, Study
from wetread.runs import evidence, passes
from wetread.runs.sections import without_others
from wetread.runs.store import RunFolder
from wetread.studies import Problem, open_study
from wetread.studies.texts import read_text

Status = Literal["drafted", "refused", "failed"]


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
    digest: str = ""
    """What the draft was made from: pixels and text of its prompt, as 16 hex digits; empty without images."""
    drafted: str = ""
    """When it was drafted, ISO 8601 in UTC; empty where it was not."""
    made: Draft | None = None
    """What the model said beside the report, and every pass of it; None where that is nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "images": list(self.images),
            "status": self.status,
            "reason": self.reason,
            "report": self.report.to_json(),
            "perception": [finding.to_json() for finding in self.perception],
            **(_beside(self.made, self.perception) if self.made else {}),
            "model": self.model,
            "seconds": self.seconds,
            "digest": self.digest,
            **({"drafted": self.drafted} if self.drafted else {}),
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
            digest=data.get("digest", ""),
            drafted=data.get("drafted", ""),
            made=Draft.from_json(data["draft"]) if data.get("draft") else None,
        )


def _beside(made: Draft, stated: Sequence[Finding]) -> dict[str, Any]:
    """Return the draft as the style read it, with thought and passes, and the perception tree with its evidence."""
    return {"draft": made.to_json(), "tree": evidence.tree(made, stated)}


def draft(
    items: Iterable[Study | Problem],
    model: Model,
    *,
    sampling: Sampling,
    context: Context | None = None,
    sections: Sequence[str] = BOTH,
    way: passes.Way | None = None,
    run: RunFolder | None = None,
    progress: Progress | None = None,
) -> Iterator[DraftRecord]:
    """Draft every study; yield one record each, in order, problems included.

    ``sections`` are those asked for, whatever report a study has already; ``way`` says in which style and passes.

    With a run folder each batch is on the disk before its records are yielded, and studies that the folder already holds
    are yielded from it and not drafted again. What counts is the study's name and its pixels and context together: another
    image of the same name is drafted, and so is the same one with another prior. What was refused or has failed is tried again.
    """
    way = way or passes.Way()
    style = prompts.of(model, way.style)
    lines = run.lines("drafts") if run else None
    kept = {(record["study"], record.get("digest", "")): record for record in lines.read()} if lines else {}
    waiting: list[tuple[Study, Prompt, str, float]] = []

    def flush() -> Iterator[DraftRecord]:
        made = _batch(list(waiting), model, style, sampling, way.rounds)
        waiting.clear()
        yield from write(made)

    def write(records: Sequence[DraftRecord]) -> Iterator[DraftRecord]:
        new = [record for record in records if not _same(kept.get((record.study, record.digest)), record)]
        if lines and new:
            lines.append(*(record.to_json() for record in new))
        for record in records:
            if progress is not None:
                progress(1)
            yield record

    for item, seconds in _timed(items):
        if isinstance(item, Problem):
            yield from flush()
            problem = DraftRecord(item.name, item.status, model.name, reason=item.reason, seconds=round(seconds, 4))
            yield from write([problem])
            continue
        study = context.applied(item) if context else item
        prompt = style.render(study, sections)
        digest = _digest(prompt)
        held = kept.get((study.id, digest))
        if held is not None and held["status"] == "drafted":
            yield from flush()
            yield DraftRecord.from_json(held)
            if progress is not None:
                progress(1)
        else:
            waiting.append((study, prompt, digest, seconds))
            if len(waiting) >= sampling.batch_size:
                yield from flush()
    yield from flush()


def read_prior(image: Path | None, report: Path | None, *, force: bool = False) -> Prior | None:
    """Return the prior that an image file, a text file with its report, or both make; None where neither is given.

    Raises
    ------
    MissingError, StudyError
        A file is not there or cannot be read.
    """
    if image is None and report is None:
        return None
    study = open_study(image, force=force) if image is not None else None
    return Prior(
        study=study.id if study else "prior",
        date=study.date if study else "",
        images=study.images if study else (),
        report=split_sections(without_others(read_text(report))) if report is not None else None,
    )


def with_prior(items: Iterable[Study | Problem], prior: Prior) -> Iterator[Study | Problem]:
    """Return the one study with ``prior`` put in.

    Raises
    ------
    UsageError
        There is more than one study; a prior belongs to one patient.
    """
    found = []
    for item in items:
        found.append(replace(item, prior=prior) if isinstance(item, Study) else item)
        if sum(isinstance(one, Study) for one in found) > 1:
            raise UsageError("a prior was given for several studies; draft the study that it belongs to alone.")
    return iter(found)


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


def _digest(prompt: Prompt) -> str:
    """Return what a study's draft depends on besides the model; empty when its pixels cannot be read."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(prompt.text.encode())
    try:
        for image in prompt.images:
            digest.update(image.pixels().tobytes())
    except StudyError:
        return ""
    return digest.hexdigest()


def _same(held: Mapping[str, Any] | None, record: DraftRecord) -> bool:
    """Whether the run folder already holds a record, so that a repeated failure adds no line."""
    return held is not None and {**held, "seconds": record.seconds} == json.loads(json.dumps(record.to_json()))


def _batch(
    asked: Sequence[tuple[Study, Prompt, str, float]],
    model: Model,
    style: prompts.Style,
    sampling: Sampling,
    rounds: int,
) -> list[DraftRecord]:
    if not asked:
        return []
    generations = passes.generate(model, style, [prompt for _, prompt, _, _ in asked], sampling, rounds)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return [
        replace(
            _record(study, passes.read(style, one), model.name, round(one.seconds + seconds, 4), now), digest=digest
        )
        for (study, _, digest, seconds), one in zip(asked, generations, strict=True)
    ]


def _record(study: Study, made: Draft, model: str, seconds: float, now: str) -> DraftRecord:
    images = tuple(image.to_json() for image in study.images)
    if not made.readable:
        return DraftRecord(study.id, "failed", model, images, made.reason, seconds=seconds, made=_spoken(made))
    found = knowledge.extract(made.report)
    reason = f"the draft is {made.parse}: {made.reason}" if made.parse != "complete" else ""
    return DraftRecord(
        study.id, "drafted", model, images, reason, made.report, found, seconds, drafted=now, made=_spoken(made)
    )


def _spoken(made: Draft) -> Draft | None:
    return made if made.thought or made.passes else None
