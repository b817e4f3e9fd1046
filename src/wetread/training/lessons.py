"""What a model learns from a study: its report alone, a thought before it, or the repair of a draft.

A lesson is a study with what is to be thought (``wetread traces``) and, where a draft is to be corrected, that draft
(``wetread reflect``). Loss is on the last turn alone: the draft is context.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError, MissingError, UsageError
from wetread.knowledge import extract
from wetread.knowledge.pruning import whole
from wetread.prompts import Guide, Style
from wetread.prompts.direct import DirectStyle
from wetread.prompts.reasoned import ReasonedStyle, understand
from wetread.prompts.reflected import ReflectedStyle
from wetread.records import Prompt, Report, Study, Thought, Trace
from wetread.runs.store import JsonLines
from wetread.traces import check, rules
from wetread.traces.writing import GUIDE, LINES, digest, guide_digest, guide_in

THINKING = ("reasoned", "reflected")
"""Styles that are learned from lessons."""


@dataclass(frozen=True)
class Lesson:
    """One sample."""

    study: Study
    """The study, with its report."""
    thought: Thought | None = None
    """What is to be thought before the report; None: nothing."""
    first: str = ""
    """Completion of the pass that is to be corrected; empty: this is the first."""
    report: Report | None = None
    """The report to be written; None: the study's own."""
    plain: bool = False
    """Whether the report alone is asked for, whatever the style."""

    def prompt(self, style: Style) -> Prompt:
        """Return what is asked."""
        if self.plain:
            return DirectStyle(style.inputs).render(self.study)
        asked = style.render(self.study)
        return style.again(asked, self.first) if self.first else asked

    def target(self, style: Style) -> str:
        """Return what is to be answered."""
        if self.plain:
            style = DirectStyle(style.inputs)
        return style.target(self.report or self.study.report or Report(), self.thought)


def guided(lesson: Lesson) -> str:
    """Return what may be thought before a lesson's report by the whole tree and with knowledge, whatever guides it now."""
    findings = extract(lesson.study.report) if lesson.study.report else ()
    return rules.write(lesson.study.id, findings, _whole())


@lru_cache(maxsize=1)
def _whole() -> Guide:
    return Guide(whole(), negatives="none")


def usual(lesson: Lesson, style: Style) -> str:
    """Return what is to be answered, as long as it usually is: with the rules' thought where the style thinks and none is known."""
    report = lesson.study.report
    if lesson.thought is not None or lesson.plain or report is None or not isinstance(style, ReasonedStyle | ReflectedStyle):
        return lesson.target(style)
    found = extract(report)
    shown = found if lesson.study.prior else tuple(map(check.timeless, found))
    thought = understand(rules.write(lesson.study.id, shown, style.guide), style.guide)
    critique = () if lesson.first else None
    return style.target(report, replace(thought, critique=critique))


@dataclass(frozen=True)
class Lessons:
    """The lessons of folders, by study."""

    by_study: dict[str, list[Trace]]
    """Study to its accepted traces and reflections."""
    guide: Guide
    """By which they were written."""

    def given(self, samples: Iterable[Study]) -> tuple[list[Lesson], int]:
        """Return the lessons of samples, and how many samples have none; one whose report has changed has none."""
        made: list[Lesson] = []
        without = 0
        for study in samples:
            mark = digest((study.report or Report()).text)
            found = [one for one in self.by_study.get(study.id, ()) if one.report == mark]
            without += not found
            made += [Lesson(study, one.thought, one.first, one.target) for one in found]
        return made, without


def read(folders: Sequence[str]) -> Lessons:
    """Return the accepted lessons of folders.

    Raises
    ------
    MissingError
        A folder holds none.
    ConfigError
        Two folders were written by guides that differ.
    """
    found: dict[str, list[Trace]] = {}
    guides: dict[str, Guide] = {}
    for name in folders:
        file = Path(name) / GUIDE
        if not file.is_file() or not (Path(name) / f"{LINES}.jsonl").is_file():
            raise MissingError(f"no lessons in {name!r}; `wetread traces` and `wetread reflect` write such folders.")
        guides[name] = guide_in(Path(name))
        records = map(Trace.from_json, JsonLines(Path(name) / f"{LINES}.jsonl").read())
        latest = {(one.study, one.origin, one.first): one for one in records}
        for one in latest.values():
            if one.accepted:
                found.setdefault(one.study, []).append(one)
    marks = {name: guide_digest(guide) for name, guide in guides.items()}
    if len(set(marks.values())) > 1:
        raise ConfigError(
            f"lessons: the folders were written by guides that differ ({', '.join(f'{n}: {m}' for n, m in marks.items())}); "
            "give `wetread reflect` the guide of the traces."
        )
    return Lessons(found, guides[folders[0]])


def rollouts(samples: Sequence[Study], folders: Sequence[str], style: str) -> tuple[list[Lesson], dict[str, Any]]:
    """Return what RL writes rollouts for, and what ``events.jsonl`` says of it: studies, or drafts that are to be corrected.

    Raises
    ------
    ConfigError
        Lessons are given and the style has one pass.
    UsageError
        No sample has a draft to be corrected.
    """
    if not folders:
        return [Lesson(study) for study in samples], {}
    if style != "reflected":
        raise ConfigError(f"lessons are given, and style={style} corrects no draft; set style to reflected.")
    made, _ = read(folders).given(samples)
    seconds = [Lesson(one.study, first=one.first) for one in made if one.first]
    if not seconds:
        raise UsageError(
            f"lessons: no draft to be corrected in {', '.join(folders)}; give folders of `wetread reflect`."
        )
    return seconds, {"second_turns": len(seconds)}


def mark(learned: Iterable[Lesson], guide: Guide | None = None) -> dict[str, str]:
    """Return what stands for what is to be thought or corrected, as ``data.digests``; nothing where there is nothing."""
    made = hashlib.blake2b(guide_digest(guide).encode() if guide else b"", digest_size=8)
    plain = True
    for one in learned:
        if one.thought is not None or one.first or one.plain:
            plain = False
            made.update(repr((one.study.id, one.thought, one.first, one.report)).encode())
    return {} if plain else {"lessons": made.hexdigest()}


def of(
    samples: Sequence[Study], folders: Sequence[str], style: str, plain: float = 0.0
) -> tuple[list[Lesson], Guide | None, dict[str, Any]]:
    """Return the lessons of a training, the guide that they were written by, and what ``events.jsonl`` says of them.

    Parameters
    ----------
    samples
        What is trained on.
    folders, style
        Of lessons; which style they are learned in.
    plain
        Share of them that are asked for the report alone.

    Raises
    ------
    ConfigError
        The style thinks and there are no folders, or it does not and there are, or it does not and a share is plain.
    UsageError
        No sample has a lesson.
    """
    if bool(folders) != (style in THINKING):
        raise ConfigError(
            f"style={style} is learned from lessons; set lessons to folders of `wetread traces` or `wetread reflect`."
            if style in THINKING
            else f"lessons are given, and style={style} has no place for a thought; set style to {' or '.join(THINKING)}."
        )
    if plain and style not in THINKING:
        raise ConfigError(f"plain={plain:g} is for styles that think ({', '.join(THINKING)}); style={style} does not.")
    if not folders:
        return [Lesson(study) for study in samples], None, {}
    known = read(folders)
    made, without = known.given(samples)
    if not made:
        raise UsageError(
            f"lessons: none of the {len(samples)} samples has one in {', '.join(folders)}; write them for these studies and reports."
        )
    seconds = sum(bool(one.first) for one in made)
    told = {"lessons": len(made), "second_turns": seconds, "without": without}
    if plain:
        reported = [study for study in samples if study.report]
        count = min(len(reported), round(len(made) * plain / (1 - plain)))
        made += [Lesson(study, plain=True) for study in random.Random("plain").sample(reported, count)]
        told["plain"] = count
    return made, known.guide, told
