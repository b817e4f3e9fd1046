"""Batch normalisation over the samples of all processes, so that several of them learn what one would.

Left alone, each process would normalise by its own share of the batch, and the learned statistics would be those of the
first. torch has this for GPUs only (``SyncBatchNorm``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from wetread.training import processes


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        whole = mine.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous().clone()
        distributed.all_reduce(whole)
        return whole


class SharedNorm(nn.BatchNorm2d):
    """``BatchNorm2d`` whose batch is that of all processes; input and output (B, C, H, W). Shares are of equal size."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in training, count it into the running statistics."""
        mean, variance, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if not self.training or mean is None or variance is None or batches is None:
            return super().forward(input)
        over = (0, 2, 3)
        number = input.numel() // input.shape[1] * processes.count()
        now = _Sum.apply(input.sum(over)) / number
        centred = input - now[:, None, None]
        spread = _Sum.apply(centred.square().sum(over)) / number
        with torch.no_grad():
            batches.add_(1)
            share = 1 / float(batches) if self.momentum is None else self.momentum
            mean.lerp_(now, share)
            variance.lerp_(spread * number / max(1, number - 1), share)
        scale = torch.rsqrt(spread + self.eps) * self.weight
        return centred * scale[:, None, None] + self.bias[:, None, None]


def share_statistics(model: nn.Module) -> None:
    """Let every batch normalisation of ``model`` use the batch of all processes; with one process nothing is changed."""
    if processes.count() == 1:
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
            module.__class__ = SharedNorm
