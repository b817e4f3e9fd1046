"""Attention of a group's rollouts to their prompt, whose keys and values are kept once.

While rollouts are written a token at a time, each of them attends to all of its prompt. With the prompt's keys and values
repeated to every rollout a step reads them once a rollout; that is most of what a step does, and the more so the more of the
prompt is image. Here a layer keeps them once a prompt (``Branch``), and the queries of a group meet them in one product;
only what a rollout has written itself is its own. Values equal those of the plain way up to the order of float additions.

Hydragen (Juravsky et al., arXiv 2402.05099) does this on GPUs by combining two softmaxes; here both parts are small enough to
go through one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "wetread_branches"
"""Name of the attention among those of transformers."""
PLAIN = "sdpa"
"""The attention whose place it takes."""


class Branch(DynamicLayer):
    """Keys and values of prompts, each once, and of what their rollouts have written.

    ``update`` returns the latter alone; ``attend`` finds the layer at what was returned.

    Parameters
    ----------
    layer
        What is kept of the prompts, (prompts, heads, P, D).
    which
        Prompt of each rollout, (B,).
    room
        Tokens that will come at most.
    """

    def __init__(self, layer: Any, which: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.prompts = (layer.keys, layer.values)
        self.used = 0
        self.met = False
        """Whether an attention has used it as what it is."""
        shape = (len(which), layer.keys.shape[1], room)
        self._rows = [part.new_empty(*shape, part.shape[-1]) for part in self.prompts]
        self._deal(which)
        self._view()

    def _deal(self, which: Tensor) -> None:
        """Give every rollout a place in a table (prompts, greatest group)."""
        self.which = which
        count = len(self.prompts[0])
        order = torch.argsort(which, stable=True)
        sizes = torch.bincount(which, minlength=count)
        rank = torch.arange(len(which), device=which.device) - (sizes.cumsum(0) - sizes)[which[order]]
        self.widest = int(sizes.max()) if len(which) else 0
        self.place = torch.empty_like(which)
        self.place[order] = which[order] * self.widest + rank

    def _view(self) -> tuple[Tensor, Tensor]:
        keys, values = (rows[:, :, : self.used] for rows in self._rows)
        keys.branch = self
        self.keys, self.values = keys, values
        return keys, values

    def get_seq_length(self) -> int:
        """Return the length of prompt and what was written after it."""
        return int(self.prompts[0].shape[-2]) + self.used

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append, and return what the rollouts have written, (B, heads, tokens so far, D)."""
        end = self.used + key_states.shape[-2]
        for rows, states in zip(self._rows, (key_states, value_states), strict=True):
            rows[:, :, self.used : end] = states
        self.used = end
        return self._view()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rollouts ``beam_idx``, in that order."""
        self._rows = [rows.index_select(0, beam_idx) for rows in self._rows]
        self._deal(self.which[beam_idx])
        self._view()

    def whole(self) -> tuple[Tensor, Tensor]:
        """Return keys and values as they would be without branches, (B, heads, P + tokens, D)."""
        parts = zip(self.prompts, self._view(), strict=True)
        keys, values = (torch.cat([prompt[self.which], own], dim=-2) for prompt, own in parts)
        return keys, values


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return what transformers' ``sdpa`` returns, (B, tokens, heads, D), for keys that a ``Branch`` returned."""
    branch: Branch | None = getattr(key, "branch", None)
    if branch is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    branch.met = True
    odd = dropout or kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None
    if query.shape[2] != 1 or odd or (attention_mask is not None and attention_mask.shape[1] != 1):
        key, value = branch.whole()
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    rows, heads, _, width = query.shape
    kept = key.shape[1]
    repeats = heads // kept
    queries = (query * (width**-0.5 if scaling is None else scaling)).reshape(rows, kept, repeats, width)
    prompt_keys, prompt_values = branch.prompts
    count, _, length, _ = prompt_keys.shape
    table = queries.new_zeros(count * branch.widest, kept, repeats, width)
    table[branch.place] = queries
    # (prompts, kept, group · repeats, D) · (prompts, kept, D, P)
    grouped = table.view(count, branch.widest, kept, repeats, width).transpose(1, 2)
    first = torch.matmul(grouped.reshape(count, kept, -1, width), prompt_keys.transpose(-1, -2))
    first = first.view(count, kept, branch.widest, repeats, length).transpose(1, 2)
    first = first.reshape(-1, kept, repeats, length)[branch.place]
    second = torch.matmul(queries, key.transpose(-1, -2))
    scores = torch.cat([first, second], dim=-1)  # (B, kept, repeats, P + tokens)
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + attention_mask
    shares = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    own = torch.matmul(shares[..., length:], value)
    table = shares.new_zeros(count * branch.widest, kept, repeats, length)
    table[branch.place] = shares[..., :length]
    grouped = table.view(count, branch.widest, kept, repeats, length).transpose(1, 2)
    told = torch.matmul(grouped.reshape(count, kept, -1, length), prompt_values)
    told = told.view(count, kept, branch.widest, repeats, -1).transpose(1, 2)
    told = told.reshape(-1, kept, repeats, prompt_values.shape[-1])[branch.place]
    return (own + told).reshape(rows, 1, heads, -1), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def branched(cache: Any, which: Tensor, room: int) -> Any:
    """Return a cache with a ``Branch`` for every layer of ``cache``; None where it has layers that do more than grow."""
    if not isinstance(cache, DynamicCache) or which.is_cuda:  # measured on CPUs alone
        return None
    if not all(type(layer) is DynamicLayer and layer.get_seq_length() for layer in cache.layers):
        return None
    out = DynamicCache()
    out.layers = [Branch(layer, which, room) for layer in cache.layers]
    return out


@contextmanager
def attending(model: Any) -> Iterator[bool]:
    """Within it the language model attends to branches; yields False, and changes nothing, where it cannot."""
    config = model.config.get_text_config(decoder=True)
    before = config._attn_implementation
    if before != PLAIN:
        yield False
        return
    config._attn_implementation = NAME
    try:
        yield True
    finally:
        config._attn_implementation = before
