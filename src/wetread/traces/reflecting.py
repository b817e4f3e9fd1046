"""Reflections: drafts of the model itself on training studies, what is wrong with them, and what they should have been.

First passes are sampled from the model that will learn to correct them, held against the report by ``differences``, and put
before the accepted trace of the study, whose thought and report are the target. Some first passes without an error are kept,
with "no error" as the target: a model that sees errors alone learns that a second look always changes something.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wetread.errors import WetreadError
from wetread.knowledge import critique, differences, extract
from wetread.models import Model, Progress
from wetread.prompts import Guide, Style
from wetread.prompts.reasoned import understand
from wetread.records import Correction, Draft, Finding, Generation, Report, Sampling, Study, Trace
from wetread.runs.store import RunFolder, write_atomic
from wetread.traces import check, rules, slips
from wetread.traces.writing import GUIDE, LINES

SAMPLES = "samples"
"""Lines file with the sampled first passes."""
TIMELESS = ("false_comparison", "omitted_comparison")
"""Errors that cannot be seen where there is no earlier study."""
_AT_ONCE = 4
_PROBES = 8
_FORM = 8
"""Tokens that the form of a second turn takes."""
Fits = Callable[[Study, Trace], bool]


@dataclass(frozen=True)
class Mix:
    """Which first passes become lessons."""

    draws: int = 2
    """First passes sampled of each study."""
    temperature: float = 0.8
    """Sampling temperature."""
    right: float | None = 0.3
    """Share of lessons whose first pass has no error; None: as many as there are."""
    slips: float = 0.1
    """Share of the studies of which a first pass is made wrong on purpose, too."""
    seed: int = 0
    """Seed of drawing and choosing."""


@dataclass
class Tally:
    """What came of sampling."""

    drawn: int = 0
    """First passes."""
    unreadable: int = 0
    """First passes that could not be read whole."""
    failed: int = 0
    """First passes that could not be written; the same command tries again."""
    right: int = 0
    """First passes whose report has no error."""
    astray: int = 0
    """Those of them whose thought does not say what the report says; they are no lessons."""
    kept: Counter[str] = field(default_factory=Counter)
    """Lessons by where their first pass comes from: ``right``, ``wrong``, ``slip``."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Kind of error to lessons that correct one that the model made."""
    slipped: Counter[str] = field(default_factory=Counter)
    """Kind of error to lessons that correct one made on purpose."""
    without: int = 0
    """Studies without an accepted trace."""
    long: int = 0
    """Lessons left out because the model reads less than prompt and target together are."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        whole = self.drawn - self.unreadable
        return {
            "drawn": self.drawn,
            "failed": self.failed,
            "unreadable": self.unreadable,
            "right": self.right,
            "right_share": self.right / whole if whole else None,
            "astray": self.astray,
            "lessons": dict(self.kept),
            "errors": dict(self.kinds.most_common()),
            "slips": dict(self.slipped.most_common()),
            "without_trace": self.without,
            "too_long": self.long,
        }


def sample(
    studies: Sequence[Study], model: Model, style: Style, run: RunFolder, mix: Mix, sampling: Sampling,
    progress: Progress | None = None,
) -> Mapping[tuple[str, int], Generation]:  # fmt: skip
    """Return (study, draw) to first pass, sampling only those that the folder does not hold.

    Studies are drawn in pieces of a fixed size, each with a seed of its own, so that a run that was killed draws what it
    would have drawn.
    """
    lines = run.lines(SAMPLES)
    kept = {(one["study"], one["draw"]): Generation.from_json(one) for one in lines.read() if one["stop"] != "error"}
    size = _AT_ONCE * sampling.batch_size
    for draw in range(mix.draws):
        for start in range(0, len(studies), size):
            piece = studies[start : start + size]
            if all((study.id, draw) in kept for study in piece):
                if progress is not None:
                    progress(len(piece))
                continue
            seed = mix.seed * 1_000_003 + draw * 100_003 + start
            way = replace(sampling, temperature=mix.temperature, seed=seed)
            made = model.generate([style.render(study) for study in piece], way, progress)
            lines.append(*({**one.to_json(), "draw": draw} for one in made))
            kept |= {(one.study, draw): one for one in made}
    wanted = {study.id for study in studies}
    return {key: one for key, one in kept.items() if key[0] in wanted and key[1] < mix.draws}


def build(
    studies: Sequence[Study],
    traces: Mapping[str, Trace],
    samples: Mapping[tuple[str, int], Generation],
    style: Style,
    guide: Guide,
    mix: Mix,
    fits: Fits | None = None,
) -> tuple[list[Trace], Tally]:
    """Return the lessons of the second turn, in the order of the studies, and what came of it.

    Parameters
    ----------
    studies
        Training studies with their reports.
    traces
        Study to its accepted trace; its thought and report are the target.
    samples
        What ``sample`` returned.
    style, guide
        How completions are read and written.
    mix
        Shares.
    fits
        Whether the model that is to learn can read a lesson; None: all are taken.
    """
    fits = fits or (lambda study, lesson: True)
    tally = Tally()
    wrong: list[Trace] = []
    right: list[Trace] = []
    made: list[Trace] = []
    for study in studies:
        trace = traces.get(study.id)
        if trace is None or trace.thought is None:
            tally.without += 1
            continue
        told = extract(study.report or Report())
        for draw in range(mix.draws):
            one = samples.get((study.id, draw))
            if one is None or one.stop == "error":
                tally.failed += one is not None
                continue
            tally.drawn += 1
            draft = style.parse(one)
            if draft.parse != "complete" or draft.thought is None:
                tally.unreadable += 1
                continue
            items = errors(told, draft, study, guide)
            tally.right += not items
            source = check.Source(tuple(told), study.prior is not None)
            if not items and check.faults(draft.thought, source, guide):
                tally.astray += 1  # a true report after a thought that is not: nothing to learn from either way
                continue
            thought, report = (trace.thought, None) if items else (draft.thought, draft.report)
            lesson = replace(
                trace, thought=replace(thought, critique=items), first=one.text, origin="sampled", target=report
            )
            if not fits(study, lesson):
                tally.long += 1
                continue
            (wrong if items else right).append(lesson)
        slipped = _slip(study, trace, told, style, guide, mix)
        if slipped is not None:
            made.append(slipped)
    chance = random.Random(f"reflections {mix.seed}")
    made = _some(made, round((len(studies) - tally.without) * mix.slips), chance)
    by_id = {study.id: study for study in studies}
    slips_that_fit = [one for one in made if fits(by_id[one.study], one)]
    tally.long += len(made) - len(slips_that_fit)
    made = slips_that_fit
    if mix.right is not None and mix.right < 1:
        right = _some(right, round((len(wrong) + len(made)) * mix.right / (1 - mix.right)), chance)
    for name, group in (("wrong", wrong), ("right", right), ("slip", made)):
        tally.kept[name] += len(group)
        counts = tally.slipped if name == "slip" else tally.kinds
        counts.update(kind for one in group for kind in {item.kind for item in _critique(one)})
    order = {study.id: place for place, study in enumerate(studies)}
    return sorted([*wrong, *right, *made], key=lambda one: (order[one.study], one.origin, one.first)), tally


def fitting(model: Any, style: Style, studies: Sequence[Study]) -> Fits | None:
    """Return whether a transformers model can read a lesson, prompt and target together; None where it does not say how much."""
    from wetread.models.transformers import encode

    context = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    if not context or not studies:
        return None

    def tokens(text: str) -> int:
        return len(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    # What an image and the form of a turn take is measured on some studies, since images of one size mostly take the same.
    image = 0
    for study in studies[:: max(1, len(studies) // _PROBES)][:_PROBES]:
        asked = style.render(study)
        try:
            whole = encode(model.processor, [asked])["input_ids"].shape[1]
        except WetreadError:  # an image that cannot be read costs its own study alone, when that is drafted
            continue
        image = max(image, -(-(whole - tokens(asked.text)) // len(asked.all_images)))

    def fits(study: Study, lesson: Trace) -> bool:
        asked = style.again(style.render(study), lesson.first)
        target = style.target(lesson.target or study.report or Report(), lesson.thought)
        return sum(map(tokens, (*asked.texts, target))) + image * len(asked.all_images) + _FORM <= context

    return fits


def errors(told: Sequence[Finding], draft: Draft, study: Study, guide: Guide) -> tuple[Correction, ...]:
    """Return what is wrong with a draft's report, without what no image can show: changes where there is no earlier study."""
    found = critique.corrections(differences(told, extract(draft.report)), guide.tree)
    return tuple(one for one in found if study.prior is not None or one.kind not in TIMELESS)


def _slip(study: Study, trace: Trace, told: Sequence[Finding], style: Style, guide: Guide, mix: Mix) -> Trace | None:
    chance = random.Random(f"slip {study.id} {mix.seed}")
    made = slips.slip(study.report or Report(), told, chance)
    if made is None:
        return None
    report, findings = made
    shown = findings if study.prior else tuple(map(check.timeless, findings))
    thought = understand(rules.write(study.id, shown, guide, seed=mix.seed), guide)
    first = style.target(report, thought)
    items = errors(told, Draft(study.id, report), study, guide)
    if not items or trace.thought is None:
        return None
    return replace(trace, thought=replace(trace.thought, critique=items), first=first, origin="slip")


def _some(items: Sequence[Trace], most: int, chance: random.Random) -> list[Trace]:
    return list(items) if len(items) <= most else chance.sample(list(items), most)


def _critique(one: Trace) -> Iterable[Correction]:
    return one.thought.critique or () if one.thought else ()


def write(lessons: Sequence[Trace], tally: Tally, guide: Guide, run: RunFolder) -> None:
    """Write lessons, guide and what came of it into a folder that a training takes as ``lessons``."""
    text = "".join(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in lessons)
    write_atomic(run.path / f"{LINES}.jsonl", text)
    write_atomic(run.path / GUIDE, json.dumps(guide.to_json(), indent=1) + "\n")
    write_atomic(run.path / "yield.json", json.dumps(tally.to_json(), indent=1) + "\n")
