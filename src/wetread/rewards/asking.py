"""Scores of pairs that come in one after another, asked for while the rest is still being written.

A judge takes seconds. A rollout that has ended can be asked about while its neighbours are still generated; when the batch is
complete, most answers are there. One batch of questions is on its way at a time, so an endpoint's own limit of questions at
once holds. A pair is asked once, however often it is added.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from wetread import metrics
from wetread.errors import WetreadError
from wetread.metrics import MetricEntry
from wetread.records import Report, Score

Pair = tuple[Report, Report]
"""What was written and what is true."""


class Asking:
    """Scores by some metrics, computed in a thread of its own from the first pair on.

    Parameters
    ----------
    names
        The metrics.
    entries
        Name to metric, ready for any batch.
    """

    def __init__(self, names: Sequence[str], entries: Mapping[str, MetricEntry]) -> None:
        self.names = tuple(names)
        self.entries = entries
        self._known: dict[Pair, dict[str, Score]] = {}
        self._added: set[Pair] = set()
        self._waiting: list[Pair] = []
        self._failure: BaseException | None = None
        self._working = False
        self._changed = threading.Condition()

    def add(self, pairs: Iterable[Pair]) -> None:
        """Ask about pairs, and return at once."""
        with self._changed:
            new = [pair for pair in dict.fromkeys(pairs) if pair not in self._added]
            if not new or not self.names:
                return
            self._added.update(new)
            self._waiting += new
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="wetread rewards", daemon=True).start()

    def get(self, pairs: Sequence[Pair]) -> dict[str, list[Score]]:
        """Return metric to one score a pair, in order; waits for those that are on their way, and asks about others.

        Raises
        ------
        WetreadError
            What a metric raised: its weights or its endpoint are not there.
        """
        self.add(pairs)
        with self._changed:
            self._changed.wait_for(lambda: not self._working)
            if self._failure is not None:
                raise self._failure
            return {name: [self._known[pair][name] for pair in pairs] for name in self.names}

    def _work(self) -> None:
        while True:
            with self._changed:
                pairs, self._waiting = self._waiting, []
                if not pairs or self._failure is not None:
                    self._working = False
                    self._changed.notify_all()
                    return
            try:
                found = score(self.names, pairs, self.entries)
                rows = {pair: {name: found[name][row] for name in self.names} for row, pair in enumerate(pairs)}
                with self._changed:
                    self._known |= rows
            except BaseException as error:
                with self._changed:
                    self._failure = error


def score(names: Sequence[str], pairs: Sequence[Pair], entries: Mapping[str, MetricEntry]) -> dict[str, list[Score]]:
    """Return metric to one score a pair; what breaks a scorer costs its own metric's values only.

    Raises
    ------
    WetreadError
        What a metric raised knowingly.
    """
    drafts, references = [draft for draft, _ in pairs], [reference for _, reference in pairs]
    try:
        return dict(metrics.score(names, drafts, references, entries=entries))
    except WetreadError:
        raise
    except Exception as error:
        if len(names) == 1:
            why = f"the scorer failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            return {names[0]: [Score(names[0], None, why) for _ in pairs]}
        return {name: scores for one in names for name, scores in score([one], pairs, entries).items()}
