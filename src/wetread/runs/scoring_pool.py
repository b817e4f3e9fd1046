"""Where chunks are scored: in this process, in processes of their own or in Ray actors. The same chunks, order and bits.

A pool takes chunks and gives back what comes of each. ``in_order`` keeps as many under way as the pool can use and hands them
on in their order, so that every sum is added as one process would add it, and memory is bounded by the chunks under way.
"""

from __future__ import annotations

import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Protocol

from wetread.errors import RunError
from wetread.runs.scoring_work import Chunk, Done, Scorer, work

ENOUGH = 2_000
"""Studies from which on a process per core is worth its start."""
MOST_WORKERS = 8
"""Processes at most, unless more are asked for."""
AHEAD = 2
"""Chunks under way for each worker: one that it scores, one that waits."""
_SELDOM = (200_000, 50, 100)
"""When to look for cycles of garbage: scoring makes many small objects and next to no cycles, and looking costs a third."""


class Pool(Protocol):
    """Something that scores chunks."""

    scorer: Scorer
    """By what."""

    @property
    def ahead(self) -> int:
        """Chunks that are begun before the result of the first is waited for."""
        ...

    def begin(self, chunk: Chunk) -> Callable[[], Done]:
        """Begin a chunk; what is returned waits for its result, or raises what scoring it raised."""
        ...


@contextmanager
def opened(scorer: Scorer, studies: int, workers: int = 0, ray: str = "") -> Iterator[Pool]:
    """Give a pool for so many studies; its workers end with the context.

    Parameters
    ----------
    scorer
        What every worker holds.
    studies
        Number of studies that are to be scored.
    workers
        Processes or actors at most; 0: as many as pay. With 1 and no ``ray``, this process does it.
    ray
        ``local`` or the address of a Ray cluster, see ``scoring_ray.opened``; empty: without Ray.
    """
    if ray:
        from wetread.runs import scoring_ray

        with scoring_ray.opened(scorer, ray, workers) as actors:
            yield actors
        return
    count = workers_for(studies, scorer, workers)
    with Here(scorer) if count == 1 else Processes(scorer, count) as pool:
        yield pool


def in_order(pool: Pool, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Done]]:
    """Yield each chunk with what comes of it, in the order of the chunks."""
    waiting: deque[tuple[Chunk, Callable[[], Done]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.begin(chunk)))
        while len(waiting) > pool.ahead:
            first, result = waiting.popleft()
            yield first, result()
    for first, result in waiting:
        yield first, result()


def workers_for(studies: int, scorer: Scorer, asked: int = 0) -> int:
    """Return how many processes to use: as asked; else one a core for many studies, one where networks do the work."""
    if asked:
        return asked
    return 1 if studies < ENOUGH or scorer.needs else min(cores(), MOST_WORKERS)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Here:
    """The process itself; a chunk is scored when its result is asked for."""

    ahead = 0

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def begin(self, chunk: Chunk) -> Callable[[], Done]:
        """Return the scoring of a chunk, not begun yet."""
        return partial(work, self.scorer, chunk)

    def __enter__(self) -> Here:
        self._usual = gc.get_threshold()
        gc.set_threshold(*_SELDOM)
        return self

    def __exit__(self, *error: object) -> None:
        gc.set_threshold(*self._usual)


class Processes:
    """Processes of this machine."""

    def __init__(self, scorer: Scorer, workers: int) -> None:
        self.scorer = scorer
        self.ahead = AHEAD * workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_settle, initargs=(scorer,))

    def begin(self, chunk: Chunk) -> Callable[[], Done]:
        """Give a chunk to the next process that is free."""
        try:
            future = self._pool.submit(work_held, chunk)
        except BrokenProcessPool:
            raise _ended() from None

        def result() -> Done:
            try:
                return future.result()
            except BrokenProcessPool:
                raise _ended() from None

        return result

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _ended() -> RunError:
    return RunError(
        "a process ended while it scored (killed, or out of memory); run again with fewer --workers. With --out the same "
        "command continues where it was."
    )


_held: Scorer | None = None


def hold(scorer: Scorer) -> None:
    """Keep a scorer in this process, whose only work is ``work_held``."""
    global _held
    _held = scorer
    gc.freeze()
    gc.set_threshold(*_SELDOM)


def work_held(chunk: Chunk) -> Done:
    """Score a chunk with the scorer that ``hold`` was given."""
    assert _held is not None
    return work(_held, chunk)


def _settle(scorer: Scorer) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback of its own
    hold(scorer)
