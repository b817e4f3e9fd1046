"""Plots of the ablations as PNG files: dots with intervals, bars by finding, histograms, curves over steps.

Drawn by matplotlib, which is part of the extra ``dev``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wetread.runs.compare import Estimate

COLOURS = ("#3b6ea8", "#c8553d", "#6b8e4e", "#8a6fb0", "#c9962b", "#4f9d9d", "#7f7f7f")
"""Told apart by people with the usual colour deficiencies too; the markers differ as well."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")
Panel = tuple[str, Sequence[tuple[str, Estimate]]]
"""A title and, from top to bottom, what stands there with its value and interval."""


def _figure(width: float, height: float, columns: int = 1, *, share: bool = False) -> tuple[Any, Sequence[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False, sharey=share)
    return figure, list(axes[0])


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def dots(path: Path, panels: Sequence[Panel], *, zero: bool = False) -> None:
    """Draw values with their intervals, a panel beside another, rows shared; ``zero`` draws the line of no difference."""
    rows = len(panels[0][1])
    figure, axes = _figure(3.2 + 2.4 * len(panels), 1.1 + 0.27 * rows, len(panels), share=True)
    for axis, (title, items) in zip(axes, panels, strict=True):
        for place, (_, one) in enumerate(items):
            if one.value is None or one.low is None or one.high is None:
                continue
            axis.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=2)
            axis.plot([one.value], [place], "o", color=COLOURS[1], markersize=5)
        if zero:
            axis.axvline(0, color="#888888", linewidth=1, linestyle="--")
        axis.set_title(title, fontsize=9)
        axis.grid(axis="x", color="#e5e5e5")
        axis.set_axisbelow(True)
    axes[0].set_yticks(range(rows), [name for name, _ in panels[0][1]])
    axes[0].invert_yaxis()
    _save(figure, path)


def pairs(path: Path, title: str, rows: Sequence[str], series: Mapping[str, Sequence[Estimate]]) -> None:
    """Draw several systems' values with intervals, a row each, one system below another within it."""
    figure, (axis,) = _figure(8, 1.2 + 0.3 * len(rows))
    for number, (name, several) in enumerate(series.items()):
        shift = (number - (len(series) - 1) / 2) * 0.26
        known = [(place + shift, one) for place, one in enumerate(several) if one.value is not None]
        for place, one in known:
            axis.plot([one.low, one.high], [place, place], color=COLOURS[number], linewidth=1.6)
        axis.plot(
            [one.value for _, one in known], [place for place, _ in known], MARKS[number], color=COLOURS[number],
            markersize=4.5, label=name,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
    axis.grid(axis="x", color="#e5e5e5")
    axis.set_axisbelow(True)
    axis.set_xlabel(title)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(series))
    _save(figure, path)


def bars(path: Path, title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> None:
    """Draw numbers as horizontal bars, a row a name, the series below one another."""
    figure, (axis,) = _figure(7, 1.2 + 0.32 * len(names))
    width = 0.8 / len(series)
    for number, (name, several) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(names))]
        axis.barh(places, several, width * 0.92, color=COLOURS[number], label=name)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel(title)
    axis.grid(axis="x", color="#e5e5e5")
    axis.set_axisbelow(True)
    axis.legend(frameon=False)
    _save(figure, path)


def histogram(path: Path, title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> None:
    """Draw shares as bars, the systems side by side."""
    figure, (axis,) = _figure(7, 3)
    width = 0.8 / len(series)
    for number, (name, shares) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(names))]
        axis.bar(places, shares, width * 0.92, color=COLOURS[number], label=name)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("share of reports")
    axis.set_xlabel(title)
    axis.grid(axis="y", color="#e5e5e5")
    axis.set_axisbelow(True)
    axis.legend(frameon=False)
    _save(figure, path)


def curves(path: Path, panels: Sequence[tuple[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]]]) -> None:
    """Draw values over steps: a panel a quantity, a colour a system, a thin line a training."""
    figure, axes = _figure(3.1 * len(panels) + 1, 3.4, len(panels))
    for axis, (title, systems) in zip(axes, panels, strict=True):
        for number, (name, trainings) in enumerate(systems.items()):
            for count, points in enumerate(trainings):
                axis.plot(
                    [x for x, _ in points], [y for _, y in points], color=COLOURS[number % len(COLOURS)],
                    marker=MARKS[number % len(MARKS)], markersize=3, linewidth=1, label=name if not count else None,
                )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("GRPO step")
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.14))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    from matplotlib import pyplot

    pyplot.close(figure)
