"""Sampling whose random numbers belong to a rollout, not to a process, a batch or a device.

Every rollout of a training has a stream of its own, named by seed, optimiser step and its row in the global batch. What it
draws therefore does not depend on how many processes share the batch, on its neighbours, or on whether the run was killed
and continued. Tokens are drawn by inverting the cumulative distribution, which costs one random number a token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from wetread.training import processes

_TOP = 1 - 2.0**-40
"""Greatest number drawn: below 1 by more than a cumulative sum in double precision can be off, so a token is always found."""


def uniforms(seed: int, step: int, rows: Iterable[int], length: int) -> Tensor:
    """Return numbers in [0, 1), one a token: shape (rows, length), double precision, on the CPU.

    Parameters
    ----------
    seed
        Seed of the training.
    step
        Optimiser step that the rollouts are for.
    rows
        Which rows of the global batch are wanted, counted over all processes.
    length
        Most tokens a rollout may have.

    >>> both = uniforms(0, 3, [4, 5], 8)
    >>> bool((both[1:] == uniforms(0, 3, [5], 8)).all())
    True
    """
    drawn = [np.random.default_rng([seed, step, row]).random(length) for row in rows]
    return torch.from_numpy(np.stack(drawn)).clamp_(max=_TOP)


def pick(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return a token (B,) for each row of ``logits`` (B, V), drawn from their softmax by the numbers ``uniform`` (B,).

    A token whose logit is minus infinity is never drawn.

    >>> pick(torch.tensor([[0.0, -torch.inf, 0.0]] * 2), torch.tensor([0.4, 0.6])).tolist()
    [0, 2]
    """
    reached = logits.double().softmax(dim=-1).cumsum(dim=-1)
    wanted = uniform.to(reached).unsqueeze(-1) * reached[:, -1:]
    return (reached <= wanted).sum(dim=-1)


class Drawn(LogitsProcessor):
    """Leaves in each row of scores the one token that its stream draws; generation must then be greedy (``do_sample=False``).

    Parameters
    ----------
    uniform
        What ``uniforms`` gave for the rows of the batch, (B, length).
    start
        Tokens of the padded prompt, after which the drawing begins.
    temperature
        Divides the logits.
    """

    def __init__(self, uniform: Tensor, start: int, temperature: float = 1.0) -> None:
        self.uniform = uniform
        self.start = start
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (B, V) that are 0 for the drawn token and minus infinity elsewhere."""
        place = input_ids.shape[1] - self.start
        token = pick(scores / self.temperature, self.uniform[:, place].to(scores.device))
        return torch.full_like(scores, -torch.inf).scatter_(1, token.unsqueeze(1), 0.0)


def own_streams(trainer: Any, seed: int, length: int, temperature: float) -> None:
    """Let the rollouts of a ``GroupedTrainer`` draw from streams of their own, prompts shared or not.

    The rows of a process are one run of the global batch, in the order of the processes. vLLM draws by itself.
    """
    plain = trainer.model.generate

    def drawn(rows: int) -> Tensor:
        before = processes.rank() * rows
        return uniforms(seed, trainer.state.global_step, range(before, before + rows), length)

    def generate(*, input_ids: Tensor, **inputs: Any) -> Any:
        rows, start = input_ids.shape
        return plain(input_ids=input_ids, logits_processor=[Drawn(drawn(rows), start, temperature)], **inputs)

    trainer.drawn = drawn
    trainer.model.generate = generate
    trainer.generation_config.do_sample = False
