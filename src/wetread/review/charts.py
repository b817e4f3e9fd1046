"""Line charts as inline SVG: no library, no script, no outside request.

Colours come from the page's style sheet (classes ``s0`` … ``s5``), so that one drawing serves light and dark; each line
also has its own dash pattern, so that the lines are told apart without colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from wetread.review.data import Curve, Line

WIDTH, HEIGHT = 400, 260
"""Size of the drawing in SVG units; text of 13 units stays legible on a telephone 380 px wide."""
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 46
LEGEND_ROW = 20
STYLES = 6
MOST_POINTS = 800
"""Points drawn of one line at most; longer lines are thinned evenly, ends kept."""
_MINUS = "−"


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round tick positions that lie within ``low`` to ``high``, some ``about`` of them.

    Steps are 1, 2 or 5 times a power of ten.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3, 97)
    [20.0, 40.0, 60.0, 80.0]
    """
    step = _step(low, high, about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """Return ``value`` with as many digits as a tick spacing of ``step`` needs.

    >>> tick_text(0.2, 0.2), tick_text(1500, 500), tick_text(-2, 1)
    ('0.2', '1,500', '−2')
    """
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    text = f"{value:,.{digits}f}" if digits <= 6 else f"{value:.1e}"
    return text.replace("-", _MINUS)


def line_chart(curve: Curve, key: str) -> str:
    """Return ``curve`` as an ``<svg>`` element.

    Parameters
    ----------
    curve
        What to draw. Lines without a finite value leave an empty plot that says so.
    key
        Prefix of the element ids, unique on the page (letters, digits, hyphens).
    """
    shown = [line for line in curve.lines if not line.faint]
    legend, legend_height = _legend(curve.lines, shown)
    top = TOP + legend_height
    x_low, x_high, y_low, y_high = _limits(curve)
    height = HEIGHT + legend_height
    plot = (LEFT, top, WIDTH - RIGHT, height - BOTTOM)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">{escape(curve.title)}</title>',
        f'<desc id="{key}-d">{escape(_describe(curve))}</desc>',
        legend,
        _axes(curve, plot, (x_low, x_high, y_low, y_high)),
    ]
    drawn = False
    for line in curve.lines:
        path = _path(line, plot, (x_low, x_high, y_low, y_high))
        if path:
            drawn = True
            style = _style_of(line, shown)
            parts.append(f'<path class="line s{style}{" faint" if line.faint else ""}" d="{path}"/>')
    if not drawn:
        across, down = (plot[0] + plot[2]) / 2, (plot[1] + plot[3]) / 2
        parts.append(f'<text class="axis" x="{across:g}" y="{down:g}" text-anchor="middle">nothing recorded</text>')
    parts.append("</svg>")
    return "\n".join(part for part in parts if part)


def _step(low: float, high: float, about: int = 6) -> float:
    raw = (high - low) / max(about, 1)
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if raw <= factor * power * (1 + 1e-9))


def _finite(line: Line) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _limits(curve: Curve) -> tuple[float, float, float, float]:
    """Ends of both axes: x tight, y with a little air, never of zero length."""
    points = [point for line in curve.lines for point in _finite(line)]
    if not points:
        return (0.0, 1.0, *(curve.y_range or (0.0, 1.0)))
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    if curve.y_range:
        return x_low, x_high, *curve.y_range
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    air = 0.06 * (y_high - y_low) or 0.5 * abs(y_high) or 0.5
    # Axis ends that cross 0 only because of the air would suggest values that cannot be (negative losses, say).
    return x_low, x_high, 0.0 if 0 <= y_low <= 2 * air else y_low - air, y_high + air


def _place(
    x: float, y: float, plot: tuple[float, float, float, float], limits: tuple[float, float, float, float]
) -> tuple[float, float]:
    left, top, right, bottom = plot
    x_low, x_high, y_low, y_high = limits
    across = left + (x - x_low) / (x_high - x_low) * (right - left)
    down = bottom - (min(max(y, y_low), y_high) - y_low) / (y_high - y_low) * (bottom - top)
    return across, down


def _path(line: Line, plot: tuple[float, float, float, float], limits: tuple[float, float, float, float]) -> str:
    count = len(line.xs)
    kept = min(count, MOST_POINTS)
    commands, pen_down = [], False
    for place in range(kept):
        index = round(place * (count - 1) / max(kept - 1, 1))
        x, y = line.xs[index], line.ys[index]
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_down = False
            continue
        across, down = _place(x, y, plot, limits)
        commands.append(f"{'L' if pen_down else 'M'}{across:.1f} {down:.1f}")
        if not pen_down:
            commands.append("h0")  # a lone point between gaps shows as a dot, thanks to the round cap
        pen_down = True
    return "".join(commands)


def _axes(curve: Curve, plot: tuple[float, float, float, float], limits: tuple[float, float, float, float]) -> str:
    left, top, right, bottom = plot
    x_low, x_high, y_low, y_high = limits
    parts = []
    y_step = _step(y_low, y_high)
    for value in ticks(y_low, y_high):
        _, down = _place(x_low, value, plot, limits)
        parts.append(f'<line class="grid" x1="{left:g}" x2="{right:g}" y1="{down:.1f}" y2="{down:.1f}"/>')
        label = tick_text(value, y_step)
        parts.append(f'<text class="tick" x="{left - 7:g}" y="{down + 4:.1f}" text-anchor="end">{label}</text>')
    x_step = _step(x_low, x_high)
    for value in ticks(x_low, x_high):
        across, _ = _place(value, y_low, plot, limits)
        parts.append(f'<line class="rule" x1="{across:.1f}" x2="{across:.1f}" y1="{bottom:g}" y2="{bottom + 5:g}"/>')
        label = tick_text(value, x_step)
        parts.append(f'<text class="tick" x="{across:.1f}" y="{bottom + 19:g}" text-anchor="middle">{label}</text>')
    parts.append(f'<line class="rule" x1="{left:g}" x2="{right:g}" y1="{bottom:g}" y2="{bottom:g}"/>')
    x_middle, y_middle = (left + right) / 2, (top + bottom) / 2
    parts.append(
        f'<text class="axis" x="{x_middle:g}" y="{bottom + 39:g}" text-anchor="middle">{escape(curve.x_label)}</text>'
    )
    parts.append(
        f'<text class="axis" transform="translate(13 {y_middle:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(curve.y_label)}</text>"
    )
    return "\n".join(parts)


def _style_of(line: Line, shown: Sequence[Line]) -> int:
    """A faint line takes the style of the line of the same name, else that of the first."""
    names = [other.name for other in shown]
    return names.index(line.name) % STYLES if line.name in names else 0


def _legend(lines: Sequence[Line], shown: Sequence[Line]) -> tuple[str, int]:
    """Return the legend and its height; none for a single line, whose name the y axis already tells."""
    if len(shown) < 2:
        return "", 0
    parts, across, row = [], float(LEFT), 0
    for line in shown:
        # 7.2 units a character is the width of the page's font at 13 units, rounded up.
        width = 34 + 7.2 * len(line.name)
        if across > LEFT and across + width > WIDTH - RIGHT:
            across, row = float(LEFT), row + 1
        down = TOP + row * LEGEND_ROW
        parts.append(
            f'<path class="line s{_style_of(line, shown)}" d="M{across:g} {down:g}h22"/>'
            f'<text class="key" x="{across + 28:g}" y="{down + 4.5:g}">{escape(line.name)}</text>'
        )
        across += width
    return "\n".join(parts), (row + 1) * LEGEND_ROW


def _describe(curve: Curve) -> str:
    """The chart in words: its description, and where each line starts and ends."""
    said = [curve.description] if curve.description else []
    for line in curve.lines:
        points = _finite(line)
        if points and not line.faint:
            (x_first, y_first), (x_last, y_last) = points[0], points[-1]
            said.append(f"{line.name}: {y_first:.4g} at {x_first:g}, {y_last:.4g} at {x_last:g}.")
    return " ".join(said) or "Nothing was recorded."
