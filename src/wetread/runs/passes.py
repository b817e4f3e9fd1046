"""Drafts in several passes: a first one, and reflections that correct it, until there is nothing left to correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wetread import prompts
from wetread.models import Model, Progress
from wetread.prompts import Style
from wetread.records import Draft, Generation, Prompt, Sampling

ROUNDS = 1
"""Reflections after the first pass, by default."""


@dataclass(frozen=True)
class Way:
    """How studies are drafted."""

    style: str = ""
    """Prompt style; empty: that of the model's training."""
    rounds: int = ROUNDS
    """Most reflections, where the style has any."""


def unfit(model: Model, taught: str, way: Way, *, asked: bool = True) -> list[str]:
    """Return in words what of a way has no effect on a model, or asks for what it was never taught.

    Parameters
    ----------
    model
        Who drafts.
    taught
        The style that it was trained with; empty: nobody knows, and nothing is said.
    way
        How it is to draft.
    asked
        Whether somebody chose the number of rounds.
    """
    style = prompts.of(model, way.style)
    name = way.style or model.style
    told = []
    if taught and name != taught and (taught, name) != ("reflected", "reasoned"):
        told.append(
            f"{model.name} was taught the style {taught}; what it writes when asked in the style {name} is its guess."
        )
    if asked and way.rounds and style.passes == 1:
        told.append(f"--rounds={way.rounds} has no effect: a draft in the style {name} has one pass.")
    return told


def generate(
    model: Model,
    style: Style,
    asked: Sequence[Prompt],
    sampling: Sampling,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> list[Generation]:
    """Return one Generation a prompt, the last pass, with those before it as ``earlier``.

    A study is reflected on while its last pass is complete, at most ``rounds`` times. It ends where a reflection finds no
    error, leaves the report as it was, or cannot be read. A style of one pass is answered in one.

    Parameters
    ----------
    model, style
        Who answers, and how it is asked.
    asked
        Prompts of the first pass.
    sampling
        How it writes, in every pass.
    rounds
        Most reflections.
    progress
        Called with the number of studies whose first pass is done.
    """
    if not sampling.max_new_tokens:
        sampling = replace(sampling, max_new_tokens=style.longest)
    chains = [[one] for one in model.generate(asked, sampling, progress)]
    drafts = [style.parse(chain[0]) for chain in chains]
    open_ = [place for place, draft in enumerate(drafts) if stands(draft)] if style.passes > 1 else []
    for _ in range(rounds):
        if not open_:
            break
        again = [style.again(asked[place], chains[place][-1].text) for place in open_]
        going = []
        for place, one in zip(open_, model.generate(again, sampling), strict=True):
            chains[place].append(one)
            draft = style.parse(one, 1)
            found = draft.thought.critique if draft.thought else None
            if stands(draft) and found and draft.report != drafts[place].report:
                going.append(place)
            drafts[place] = draft
        open_ = going
    return [
        replace(chain[-1], earlier=tuple(chain[:-1]), seconds=round(sum(one.seconds for one in chain), 4))
        for chain in chains
    ]


def read(style: Style, generation: Generation) -> Draft:
    """Return the draft that stands: the last pass that is complete and has a report, else the last that has one, else the last.

    Its ``passes`` are all of them. A reflection that finds no error, or that cannot be read, thus never costs a study the pass
    before; of the latter ``reason`` says why it does not stand.
    """
    several = (*generation.earlier, generation)
    drafts = [
        replace(style.parse(replace(one, earlier=()), turn), tokens=one.tokens) for turn, one in enumerate(several)
    ]
    if len(drafts) == 1:
        return drafts[0]
    last = next((one for one in reversed(drafts) if stands(one)), None)
    last = last or next((one for one in reversed(drafts) if one.readable), drafts[-1])
    reason = last.reason
    if last is not drafts[-1] and not content(drafts[-1]):
        reason = f"the last pass does not stand: {drafts[-1].reason or drafts[-1].parse}"
    return replace(last, reason=reason, passes=tuple(drafts), tokens=sum(one.tokens for one in several))


def content(draft: Draft) -> bool:
    """Whether a pass finds nothing wrong with the one before, which then stands as it is."""
    return draft.thought is not None and draft.thought.critique == ()


def stands(draft: Draft) -> bool:
    """Whether a pass is complete and has a report."""
    return draft.parse == "complete" and draft.readable
