"""The order of training samples: shuffled, yet samples of like length side by side, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

POOL = 16
"""Batches that are sorted by length together; more means less padding and less randomness."""


class Order(Sampler[int]):
    """Which samples every step of a training learns from, from its first step to its last.

    It depends on size, batch, steps and seed alone: not on the number of processes or of micro-batches, and not on
    whether the run was continued. Every step gets a full batch. Each pass over the samples is shuffled anew; what does
    not fill a batch at its end begins the next pass, so no sample is left out for longer than that.

    Parameters
    ----------
    size
        Samples that there are.
    batch
        Different samples per optimiser step, of all processes together.
    steps
        Optimiser steps.
    seed
        Seed of the shuffling.
    lengths
        Length of each sample, any unit; batches are then made of samples of like length, shortest first.
    rollouts
        How often each sample is repeated, one after the other (GRPO's groups).
    passes
        How often each batch is repeated (TRL hands a GRPO batch to every accumulation step).
    """

    def __init__(
        self,
        size: int,
        batch: int,
        steps: int,
        seed: int,
        *,
        lengths: Sequence[int] | None = None,
        rollouts: int = 1,
        passes: int = 1,
    ) -> None:
        self.size = size
        self.batch = batch
        self.steps = steps
        self.seed = seed
        self.lengths = lengths
        self.rollouts = rollouts
        self.passes = passes

    def __len__(self) -> int:
        """Return how many numbers are given in all."""
        return self.steps * self.batch * self.rollouts * self.passes

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches():
            for _ in range(self.passes):
                for sample in batch:
                    for _ in range(self.rollouts):
                        yield sample

    def batches(self) -> Iterator[list[int]]:
        """Yield the samples of each step.

        >>> [sorted(batch) for batch in Order(4, 2, 3, seed=0, lengths=[1, 9, 1, 9]).batches()]
        [[1, 3], [0, 2], [1, 3]]
        """
        given, turn = 0, 0
        waiting: list[int] = []
        while given < self.steps:
            rng = np.random.default_rng([self.seed, turn])
            waiting += rng.permutation(self.size).tolist()
            turn += 1
            full = len(waiting) // self.batch * self.batch
            made, waiting = self._grouped(waiting[:full]), waiting[full:]
            for place in rng.permutation(len(made)) if self.lengths is not None else range(len(made)):
                if given == self.steps:
                    return
                yield made[int(place)]
                given += 1

    def _grouped(self, samples: list[int]) -> list[list[int]]:
        if self.lengths is not None:
            width = self.batch * POOL
            pools = [samples[start : start + width] for start in range(0, len(samples), width)]
            samples = [sample for pool in pools for sample in sorted(pool, key=self.lengths.__getitem__)]
        return [samples[start : start + self.batch] for start in range(0, len(samples), self.batch)]
