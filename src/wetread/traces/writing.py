"""The loop that fills a folder with traces: written, checked, on the disk as they are made, continued after a kill."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wetread.errors import MissingError, UsageError
from wetread.knowledge import Tree, extract, prune
from wetread.knowledge.pruning import whole
from wetread.metrics.judges.client import Endpoint, Usage
from wetread.models import Progress
from wetread.prompts.guide import Guide
from wetread.prompts.reasoned import understand
from wetread.records import Finding, Report, Study, Thought, Trace
from wetread.runs.store import JsonLines, RunFolder, write_atomic
from wetread.traces import check, rules
from wetread.traces import endpoint as asking

LINES, GUIDE = "traces", "guide.json"
"""Lines file of a folder of traces; the file that says by which guide they were written."""
AGAIN = "endpoint:"
"""How the fault of a trace begins that is asked for again when the command is repeated."""
_AT_ONCE = 64


@dataclass
class Tally:
    """What came of writing traces."""

    accepted: int = 0
    """Traces that may be trained on."""
    rejected: int = 0
    """Traces that may not, and studies for which nothing was written."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Kind of fault to rejected traces that have one; a trace may have several."""
    findings: dict[str, list[int]] = field(default_factory=dict)
    """Finding that the report claims to [accepted, all]; a filter that rejects the abnormal makes the set a healthy one."""
    outside: Counter[str] = field(default_factory=Counter)
    """Finding for which the tree has no place to traces that name it nevertheless, under a heading of its own."""
    words: list[int] = field(default_factory=list)
    """Words of each accepted trace."""

    def add(self, trace: Trace, claimed: Iterable[str]) -> None:
        """Count a trace and the findings that its report claims."""
        self.accepted += trace.accepted
        self.rejected += not trace.accepted
        self.kinds.update({fault.partition(":")[0] for fault in trace.faults})
        self.outside.update(trace.thought.outside if trace.thought is not None else ())
        for name in set(claimed) or {"(none)"}:
            counts = self.findings.setdefault(name, [0, 0])
            counts[0] += trace.accepted
            counts[1] += 1
        if trace.accepted and trace.thought is not None:
            self.words.append(len(trace.thought.text.split()))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        all_ = self.accepted + self.rejected
        return {
            "accepted": self.accepted,
            "rejected": self.rejected,
            "share": self.accepted / all_ if all_ else None,
            "faults": dict(self.kinds.most_common()),
            "findings": {
                name: {"accepted": good, "all": every}
                for name, (good, every) in sorted(self.findings.items(), key=lambda one: (-one[1][1], one[0]))
            },
            "outside": dict(self.outside.most_common()),
            "words": {"mean": sum(self.words) / len(self.words), "most": max(self.words)} if self.words else None,
        }


@dataclass(frozen=True)
class How:
    """How traces are written."""

    guide: Guide
    """Tree, knowledge, negatives."""
    endpoint: Endpoint | None = None
    """The language model that writes; None: the rules do."""
    truth: bool = False
    """Write from the true findings of the studies, instead of from those that are read in the report."""
    seed: int = 0
    """Seed of the rules' wording."""
    most_words: int = check.MOST_WORDS
    """Longest trace that is accepted."""


def tree_of(which: str, studies: Sequence[Study], least: int) -> Tree | None:
    """Return the tree that ``which`` means.

    Parameters
    ----------
    which
        ``pruned`` by what the reports of ``studies`` claim, ``whole``, ``none``, or the file of a tree.
    studies
        The training split.
    least
        Reports that must claim a finding for it to stay.

    Raises
    ------
    MissingError, KnowledgeError
        There is no such file, or it holds no tree.
    """
    if which == "none":
        return None
    if which == "whole":
        return whole()
    if which == "pruned":
        return prune((extract(study.report) for study in studies if study.report), least)
    return Tree.open(Path(which))


def config(how: How, data: str, split: str, pruned_by: Sequence[Study] = ()) -> dict[str, Any]:
    """Return what decides which folder of traces may be continued; the tree is pruned by the reports of ``pruned_by``."""
    reports = [f"{study.id} {study.report.text}" for study in pruned_by if study.report]
    return {
        "data": data,
        "split": split,
        **({"reports_the_tree_is_pruned_by": digest("\n".join(reports))} if reports else {}),
        "guide": guide_digest(how.guide),
        "writer": asking.name(how.endpoint, how.guide) if how.endpoint else rules.NAME,
        "truth": how.truth,
        "seed": how.seed,
        "words": how.most_words,
    }


def digest(text: str) -> str:
    """Return 16 hex digits that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def guide_digest(guide: Guide) -> str:
    """Return 16 hex digits that stand for what decides a trace and its prompt: tree, knowledge, negatives, what is shown."""
    said = [
        guide.tree.digest if guide.tree else "",
        guide.knowledge,
        guide.negatives,
        *([guide.words] if guide.asked else []),
    ]
    return digest(json.dumps(said))


def write(
    studies: Sequence[Study],
    how: How,
    run: RunFolder,
    *,
    progress: Progress | None = None,
    usage: Usage | None = None,
) -> Tally:
    """Write a trace for each study with a report, those that are there left as they are, and return what came of all.

    Parameters
    ----------
    studies
        Of the training split.
    how
        By whom and from what.
    run
        Folder for ``traces.jsonl`` and ``guide.json``.
    progress
        Called with the number of studies that have just been done.
    usage
        Counts what the endpoint was asked.

    Raises
    ------
    UsageError
        The truth is asked for and a study has none.
    RunError
        The disk is full.
    """
    guide, endpoint = how.guide, how.endpoint
    write_atomic(run.path / GUIDE, json.dumps(guide.to_json(), indent=1) + "\n")
    sources = {study.id: _source(study) for study in studies if study.report}
    shown = {study.id: _shown(study, how.truth) for study in studies if study.report}
    reports = {study.id: study.report for study in studies if study.report}
    signed, mark = asking.name(endpoint, guide) if endpoint else rules.NAME, guide_digest(guide)
    lines = run.lines(LINES)
    kept = {
        one.study: one
        for one in map(Trace.from_json, lines.read())
        if one.study in reports
        and (one.report, one.guide, one.writer) == (digest(reports[one.study].text), mark, signed)
        and not any(fault.startswith(AGAIN) for fault in one.faults)
    }
    tally = Tally()
    for trace in kept.values():
        tally.add(trace, _claimed(sources[trace.study]))
    left = [study for study in reports if study not in kept]
    if progress is not None and kept:
        progress(len(kept))

    def done(found: Sequence[asking.Written]) -> None:
        """Check, keep and count texts."""
        made = []
        for one in found:
            study, source = one.study, sources[one.study]
            thought = understand(one.text, guide) if one.text else None
            faults = (
                (one.fault,)
                if one.fault
                else check.faults(thought or Thought(), source, guide, most_words=how.most_words)
            )
            made.append(
                Trace(study, digest(reports[study].text), mark, signed, thought, answer=one.answer, faults=faults)
            )
            tally.add(made[-1], _claimed(source))
        lines.append(*(one.to_json() for one in made))
        if progress is not None:
            progress(len(made))

    if endpoint is None:
        for start in range(0, len(left), _AT_ONCE):
            done(
                [
                    asking.Written(study, rules.write(study, shown[study], guide, seed=how.seed))
                    for study in left[start : start + _AT_ONCE]
                ]
            )
    else:
        questions = [asking.Question(study, reports[study], shown[study], sources[study].prior) for study in left]

        async def ask() -> None:
            async for one in asking.write(questions, guide, endpoint, usage):
                done([one])

        asyncio.run(ask())
    return tally


def _source(study: Study) -> check.Source:
    """Return what a trace is held against: the report, whatever it was written from."""
    report = study.report or Report()
    return check.Source(tuple(extract(report)), study.prior is not None, report.text)


def _shown(study: Study, truth: bool) -> tuple[Finding, ...]:
    """Return what is written from: without change where there is nothing to compare with."""
    if truth and study.findings is None:
        raise UsageError(f"study {study.id} has no true findings; only phantom studies do. Leave out --truth.")
    found = study.findings if truth and study.findings is not None else extract(study.report or Report())
    return tuple(found) if study.prior is not None else tuple(map(check.timeless, found))


def _claimed(source: check.Source) -> Iterator[str]:
    return (one.name for one in source.findings if one.presence != "absent")


def accepted(folder: Path) -> Mapping[str, Trace]:
    """Return study to its trace in a folder, of several the last, where that is accepted.

    Raises
    ------
    MissingError
        There are no traces.
    """
    file = folder / f"{LINES}.jsonl"
    if not file.is_file():
        raise MissingError(f"no traces in {folder}; `wetread traces` writes them.")
    latest = {one.study: one for one in map(Trace.from_json, JsonLines(file).read())}
    return {study: one for study, one in latest.items() if one.accepted}


def guide_in(folder: Path) -> Guide:
    """Return the guide by which the traces in a folder were written (``MissingError`` where it does not say)."""
    try:
        return Guide.from_json(json.loads((folder / GUIDE).read_text("utf-8")))
    except OSError as error:
        raise MissingError(f"no {GUIDE} in {folder} ({error.strerror}); `wetread traces` writes one.") from None
    except ValueError as error:
        raise UsageError(f"{GUIDE} in {folder} is no JSON ({error}); write the traces anew.") from None
