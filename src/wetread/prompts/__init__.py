"""Prompt styles: how a study is asked about, and how the answer is read. One file a style, render and parse side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wetread.records import Draft, Generation, Prompt, Report, Study
from wetread.registry import Registry


class Style(Protocol):
    """What every style module offers."""

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study. Pure; cannot fail on a valid Study."""
        ...

    def target(self, report: Report) -> str:
        """Return the completion that a model should have written for ``report``."""
        ...

    def parse(self, generation: Generation) -> Draft:
        """Return what the completion says; never raises."""
        ...


STYLES = Registry("prompt style", {"direct": "wetread.prompts.direct:STYLE"})


def get(name: str) -> Style:
    """Return the style called ``name``; ``UsageError`` names those that exist."""
    style: Style = STYLES[name]
    return style
