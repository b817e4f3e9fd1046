"""The order of training samples: shuffled, yet samples of like length side by side, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


class LengthGrouped(Sampler[int]):
    """Random batches of like length.

    Every epoch shuffles the samples, sorts pools of ``pool`` batches by length, and deals the batches in random order.
    The order depends on seed and epoch alone, so a resumed run meets the same batches.

    Parameters
    ----------
    lengths
        Length of each sample; any unit.
    batch
        Samples in a batch.
    seed
        Seed of the shuffling.
    pool
        Batches that are sorted together; more means less padding and less randomness.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, pool: int = 16) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        import numpy as np

        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths)).tolist()
        width = self.batch * self.pool
        batches: list[list[int]] = []
        for start in range(0, len(order), width):
            part = sorted(order[start : start + width], key=lambda i: self.lengths[i])
            batches += [part[k : k + self.batch] for k in range(0, len(part), self.batch)]
        last = batches.pop() if batches and len(batches[-1]) < self.batch else None  # a short batch stays last
        for k in rng.permutation(len(batches)):
            yield from batches[int(k)]
        if last:
            yield from last
