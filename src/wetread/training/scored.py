"""What a forward pass of a loss computes: hidden states of the tokens that are scored, and of no others.

TRL scores every position of a batch outside of GPUs, prompt and padding among them. Here a *plan* tells the model's backbone
which hidden states are wanted. ``OnlyScored`` picks those whose next token has a label; ``SharedPrompts``
(``wetread.training.prefix``) also runs each prompt once. Losses and gradients are those of the plain pass up to the order of
float additions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from wetread.training.sharing import bare

IGNORED = -100
"""Label of a token that is not scored."""


class Plan(Protocol):
    """Which hidden states a backbone returns, and how it comes by them."""

    def run(self, backbone: Any, forward: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """Return the backbone's output with ``last_hidden_state`` of shape (1, scored tokens, width)."""


class OnlyScored:
    """The plain pass; of its hidden states (B, T, width) those before a scored token.

    Parameters
    ----------
    mask
        Boolean (B, T - 1): whether the token after each position is scored.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def run(self, backbone: Any, forward: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """Run the backbone and pick."""
        out = forward(**inputs)
        out.last_hidden_state = out.last_hidden_state[:, :-1][self.mask][None]
        return out


def take_plans(model: Any) -> None:
    """Let the backbone of ``model`` take a ``plan``, once."""
    backbone = bare(model).base_model
    if getattr(backbone, "_takes_plans", False):
        return
    forward = backbone.forward

    @functools.wraps(forward)
    def planned(*args: Any, plan: Plan | None = None, **inputs: Any) -> Any:
        return forward(*args, **inputs) if plan is None else plan.run(backbone, forward, inputs)

    backbone.forward = planned
    backbone._takes_plans = True


def score_labels_only(model: Any) -> None:
    """Let TRL's fused head of ``model`` score the tokens with a label alone, as it does by itself on GPUs.

    Call it after the trainer was made, which is what adds the head.
    """
    model = bare(model)
    if getattr(model, "_scores_labels_only", False):
        return
    take_plans(model)
    fused = model.forward

    @functools.wraps(fused)
    def forward(*args: Any, **inputs: Any) -> Any:
        labels = inputs.get("labels")
        if not inputs.get("fused_lm_head") or labels is None or labels.is_cuda or "plan" in inputs:
            return fused(*args, **inputs)
        target = labels[:, 1:]
        mask = target != IGNORED
        if not bool(mask.any()):
            return fused(*args, **inputs)
        del inputs["labels"]
        out = fused(*args, **inputs, shift_labels=target[mask][None], plan=OnlyScored(mask))
        for name in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"):
            values = getattr(out, name, None)
            if values is not None:
                setattr(out, name, spread(values, mask))
        out.label_mask = mask
        return out

    model.forward = forward
    model._scores_labels_only = True


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``values`` (1, N) at the N true places of ``mask``, elsewhere 0.

    >>> import torch
    >>> spread(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False], [False, True]])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    return values.new_zeros(mask.shape).masked_scatter(mask, values[0])
