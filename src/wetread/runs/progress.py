"""Progress with time left, on standard error: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO


class Bar:
    """Counts towards a total; ``advance`` and ``to`` move it."""

    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        self.title = title
        self.total = max(1, total)
        self.stream = stream
        self.count = 0
        self._start = time.monotonic()
        self._first: int | None = None
        self._shown = 0

    def advance(self, by: int = 1, note: str = "") -> None:
        """Move on by ``by``."""
        self.to(self.count + by, note)

    def to(self, count: int, note: str = "") -> None:
        """Move to ``count``; what was there at the first call (a resumed run) does not count as speed."""
        if self._first is None:
            self._first = self.count if count - self.count <= max(1, self.total // 20) else count
        self.count = min(count, self.total)
        self._show(note)

    def left(self) -> str:
        """Return the time left as ``m:ss``, empty before there is a speed to tell it from."""
        moved = self.count - (self._first or 0)
        if moved <= 0:
            return ""
        seconds = (time.monotonic() - self._start) / moved * (self.total - self.count)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def _show(self, note: str) -> None:
        tenth = 10 * self.count // self.total
        if tenth > self._shown:
            self._shown = tenth
            left = f", {self.left()} left" if self.left() and self.count < self.total else ""
            self.stream.write(f"{self.title}: {self.count}/{self.total}{left}{'  ' + note if note else ''}\n")
            self.stream.flush()

    def close(self) -> None:
        """End the line; nothing to do on a stream that is no terminal."""


class TerminalBar(Bar):
    """The same as a live bar, through rich."""

    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        super().__init__(title, total, stream)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._live = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[note]}"),
            console=Console(file=stream),
            refresh_per_second=4,
        )
        self._task: Any = self._live.add_task(title, total=self.total, note="", left="")
        self._live.start()

    def _show(self, note: str) -> None:
        left = self.left()
        shown = f"{left} left" if left and self.count < self.total else ""
        self._live.update(self._task, completed=self.count, total=self.total, note=note, left=shown)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        self._live.stop()


def mover(line: Bar) -> Callable[[int, int, Mapping[str, float]], None]:
    """Return the function that a trainer calls after each step: moves ``line``, shows the reward or else the loss."""

    def move(done: int, total: int, numbers: Mapping[str, float]) -> None:
        line.total = max(1, total)
        shown = [f"{name} {numbers[name]:.3f}" for name in ("reward", "loss") if name in numbers][:1]
        line.to(done, " ".join(shown))

    return move


@contextmanager
def bar(title: str, total: int, stream: TextIO | None = None) -> Iterator[Bar]:
    """Show progress of ``total`` things while the block runs."""
    out = stream or sys.stderr
    made = TerminalBar(title, total, out) if out.isatty() else Bar(title, total, out)
    try:
        yield made
    finally:
        made.close()
