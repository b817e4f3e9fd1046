"""Prompt styles: how a study is asked about, and how the answer is read. One file a style, render and parse side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wetread.records import Draft, Generation, Inputs, Prompt, Report, Study
from wetread.registry import Registry


class Style(Protocol):
    """What every style module offers: a class that is made with what a model is shown."""

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study. Pure; cannot fail on a valid Study."""
        ...

    def target(self, report: Report) -> str:
        """Return the completion that a model should have written for ``report``."""
        ...

    def parse(self, generation: Generation) -> Draft:
        """Return what the completion says; never raises."""
        ...


STYLES = Registry("prompt style", {"direct": "wetread.prompts.direct:DirectStyle"})


def get(name: str, inputs: Inputs | None = None) -> Style:
    """Return the style called ``name`` that shows ``inputs``, by default their defaults; ``UsageError`` names those that exist."""
    style: Style = STYLES[name](inputs or Inputs())
    return style
