"""What the result page is made of: frozen records that anything can fill and that import nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Better = Literal["higher", "lower", "one", ""]
"""Which way a metric is better; ``one``: the nearer to 1 the better; empty: neither way (nothing is set in bold)."""


@dataclass(frozen=True)
class Column:
    """One metric of the result table."""

    label: str
    """Heading, such as ``Finding F1, micro``."""
    better: Better = "higher"
    """Direction; drawn as an arrow and used to find the best row."""
    digits: int = 3
    """Digits after the point."""
    note: str = ""
    """What it is, in a phrase, or the metric's signature; listed under the table."""


@dataclass(frozen=True)
class Cell:
    """One number with its interval."""

    value: float | None
    """The number; None: not scored, shown as ``n/a``, never as 0."""
    low: float | None = None
    """Lower end of the 95% interval; None when there is none."""
    high: float | None = None
    """Upper end of the 95% interval; None when there is none."""
    note: str = ""
    """Why it was not scored, or any other remark, in words."""

    @property
    def excludes_zero(self) -> bool | None:
        """Whether the interval lies wholly on one side of 0; None without an interval.

        >>> Cell(0.03, 0.01, 0.05).excludes_zero, Cell(0.03, -0.01, 0.05).excludes_zero
        (True, False)
        """
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class TableRow:
    """One system, or one paired difference between two systems."""

    label: str
    """Name of the system, or ``SFT+RL − SFT`` for a difference."""
    cells: tuple[Cell, ...]
    """One for each column, same order."""
    note: str = ""
    """What the system is, in a phrase."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    """Name in the legend."""
    xs: tuple[float, ...]
    """Positions on the x axis, rising."""
    ys: tuple[float, ...]
    """Values, as many as ``xs``; a value that is not finite breaks the line there."""
    faint: bool = False
    """Drawn thin and pale, for raw values behind a smoothed line."""

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"the line {self.name!r} has {len(self.xs)} xs but {len(self.ys)} ys; give equally many.")


@dataclass(frozen=True)
class Curve:
    """One line chart."""

    title: str
    """Heading of the chart."""
    x_label: str
    """What the x axis counts, with its unit: ``optimiser step``."""
    y_label: str
    """What the y axis measures, with its unit: ``cross-entropy (nats per token)``."""
    lines: tuple[Line, ...]
    """The lines, drawn in order; the legend shows those that are not faint."""
    description: str = ""
    """What the chart shows, in a sentence, for the caption and for screen readers."""
    y_range: tuple[float, float] | None = None
    """Fixed ends of the y axis; None: from the values."""


@dataclass(frozen=True)
class Mark:
    """A stretch of text that is wrong in a draft, or that a draft left out of the reference."""

    start: int
    """First character."""
    end: int
    """One past the last character; greater than ``start``."""
    kind: str
    """Kind of error, as ``knowledge`` names them: ``false finding``, ``omitted finding``, ``wrong location`` …"""
    detail: str = ""
    """What is wrong, in words; the tooltip."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a mark runs from {self.start} to {self.end}; it needs 0 <= start < end.")


@dataclass(frozen=True)
class DraftView:
    """One system's draft of one study, with what is wrong in it."""

    system: str
    """Name of the system, as in the table."""
    text: str
    """The draft; ``marks`` count its characters."""
    marks: tuple[Mark, ...] = ()
    """Wrong stretches of ``text``."""
    omitted: tuple[Mark, ...] = ()
    """Stretches of the reference text that this draft left out."""
    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Errors by kind, each in words; the list under the draft, complete even where no stretch of text can be marked."""
    note: str = ""
    """A remark, such as its finding F1, or why there is no draft."""


@dataclass(frozen=True)
class Picture:
    """One radiograph, ready to show."""

    png: bytes
    """The PNG file, best at the size in which the model sees the image or twice that."""
    caption: str = ""
    """View and date in words: ``PA``, ``prior, AP``."""


@dataclass(frozen=True)
class Example:
    """One test study: pictures, reference and drafts side by side."""

    study: str
    """Id of the study; pseudonymous."""
    pictures: tuple[Picture, ...]
    """Its radiographs, frontal first, the prior last."""
    reference: str
    """The reference report."""
    drafts: tuple[DraftView, ...]
    """The drafts, in the order of the table."""
    context: str = ""
    """Indication, age, sex and comparison, in a line."""


@dataclass(frozen=True)
class PageData:
    """Everything on the result page."""

    title: str
    """What was run: ``wetread demo``; the page adds what it was measured on."""
    columns: tuple[Column, ...]
    """Metrics of the table."""
    rows: tuple[TableRow, ...]
    """Systems."""
    differences: tuple[TableRow, ...] = ()
    """Paired differences, first system minus second, in the metric's own unit."""
    curves: tuple[Curve, ...] = ()
    """Learning curves."""
    examples: tuple[Example, ...] = ()
    """Test studies; a dozen reads well."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How it was made, in order: command, seed, date, duration, machine, versions …"""
    config: str = ""
    """The effective config, as YAML."""
    summary: tuple[str, ...] = ()
    """What the table says, in a sentence each."""
    measured_on: str = "phantom data"
    """What it was measured on, in two or three words; part of the title and of the table's heading."""
    sample: str = ""
    """The test set in a phrase: ``400 test studies, one site held out of training``."""
    chosen: str = ""
    """How the examples were chosen."""

    def __post_init__(self) -> None:
        for row in (*self.rows, *self.differences):
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"the row {row.label!r} has {len(row.cells)} cells; the table has {len(self.columns)} columns."
                )
