"""Prompt styles: how a study is asked about, and how the answer is read. One file a style, render and parse side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wetread.models.base import Model
from wetread.models.base import guide_of as said_of
from wetread.prompts.guide import Guide
from wetread.records import Draft, Generation, Inputs, Prompt, Report, Study, Thought
from wetread.registry import Registry

__all__ = ["STYLES", "Guide", "Style", "get", "guide_of", "of"]


class Style(Protocol):
    """What every style module offers: a class that is made with what a model is shown and what guides it."""

    @property
    def inputs(self) -> Inputs:
        """What of a study is shown."""
        ...

    passes: int
    """Passes that it has at most: 1, or 2 where a pass may be corrected by the next."""
    longest: int
    """Most tokens of a pass where nobody says it; the tiny policy's longest passes have a third less."""

    views: tuple[str, ...]
    """Parts of its drafts that a reward may look at: ``report``, ``perception``, ``answer``."""

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study. Pure; cannot fail on a valid Study."""
        ...

    def target(self, report: Report, thought: Thought | None = None) -> str:
        """Return the completion that a model should have written for ``report``."""
        ...

    def again(self, prompt: Prompt, answer: str) -> Prompt:
        """Return the prompt of the pass after ``answer``; ``UsageError`` where the style has but one pass."""
        ...

    def parse(self, generation: Generation, turn: int = 0) -> Draft:
        """Return what the completion says; never raises.

        Parameters
        ----------
        generation
            The completion.
        turn
            0: it is the first pass; above that it corrects the pass before.
        """
        ...


STYLES = Registry(
    "prompt style",
    {
        "direct": "wetread.prompts.direct:DirectStyle",
        "reasoned": "wetread.prompts.reasoned:ReasonedStyle",
        "reflected": "wetread.prompts.reflected:ReflectedStyle",
        "labelled": "wetread.prompts.labelled:LabelledStyle",
    },
)
"""Style name to its class."""


def get(name: str, inputs: Inputs | None = None, guide: Guide | None = None) -> Style:
    """Return the style called ``name``; ``UsageError`` names those that exist.

    Parameters
    ----------
    name
        One of ``STYLES``.
    inputs
        What of a study is shown; None: the defaults.
    guide
        What perception is guided by, where the style perceives; None: the defaults.
    """
    style: Style = STYLES[name](inputs or Inputs(), guide or Guide())
    return style


def of(model: Model, style: str = "") -> Style:
    """Return the style that a model was trained with, or another one, with the model's inputs and guide."""
    return get(style or model.style, model.inputs, Guide.from_json(model.guide) if model.guide else None)


def guide_of(name: str) -> Guide | None:
    """Return how the model called ``name`` was taught to think; None where its manifest does not say."""
    said = said_of(name)
    return Guide.from_json(said) if said else None
