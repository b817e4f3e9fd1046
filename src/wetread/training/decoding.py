"""Rollouts of a group from one run of their prompt: prefill once, repeat the cache, then a token at a time.

What ``generate`` of transformers does with a repeated prompt, and from the same distribution, without four costs: the
prompt is run once for all its rollouts; its keys and values are kept once, where the model can attend to them so
(``branching``); others are written in place, not copied for every token; a rollout that has ended leaves the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from wetread.training import branching
from wetread.training.noise import pick
from wetread.training.sharing import bare

SHRINK = 0.8
"""Ended rollouts leave when the others are at most this share of the batch; leaving costs a copy of the cache."""

Ended = Callable[[Mapping[int, list[int]]], None]
"""Called with rollouts that have just ended: row to the tokens that it wrote, the last one among them."""


class Reserved(DynamicLayer):
    """Keys and values with room for those to come: an update writes in place and returns a view.

    Parameters
    ----------
    layer
        What is kept already, (prompts, heads, P, D).
    which
        Row of it that each rollout starts from, (B,).
    room
        Tokens that will come at most.
    """

    def __init__(self, layer: Any, which: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._used = layer.keys.shape[-2]
        self._rows = [self._reserve(part, which, room) for part in (layer.keys, layer.values)]
        self._view()

    @staticmethod
    def _reserve(part: Tensor, which: Tensor, room: int) -> Tensor:
        _, heads, used, width = part.shape
        out = part.new_empty(len(which), heads, used + room, width)
        out[:, :, :used] = part.index_select(0, which)
        return out

    def _view(self) -> tuple[Tensor, Tensor]:
        keys, values = (rows[:, :, : self._used] for rows in self._rows)
        self.keys, self.values = keys, values
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append and return all keys and values, (B, heads, tokens so far, D)."""
        end = self._used + key_states.shape[-2]
        for rows, states in zip(self._rows, (key_states, value_states), strict=True):
            rows[:, :, self._used : end] = states
        self._used = end
        return self._view()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows ``beam_idx``, in that order."""
        self._rows = [rows.index_select(0, beam_idx) for rows in self._rows]
        self._view()


@contextmanager
def from_shared_prompts(
    model: Any, which: Sequence[int], uniform: Tensor | None = None, ended: Ended | None = None
) -> Iterator[None]:
    """Within it ``model.generate`` takes distinct prompts and returns rollout i of prompt ``which[i]`` in row i."""
    before = vars(model).get("generate")

    def generate(generation_config: Any, **inputs: Any) -> Tensor:
        return rollouts(model, generation_config, inputs, which, uniform, ended)

    model.generate = generate
    try:
        yield
    finally:
        del model.generate
        if before is not None:
            model.generate = before


def rollouts(
    model: Any,
    config: Any,
    inputs: dict[str, Any],
    which: Sequence[int],
    uniform: Tensor | None = None,
    ended: Ended | None = None,
) -> Tensor:
    """Return token ids (len(which), P + tokens): prompts ``which`` and what was sampled after them, ended rows padded.

    Parameters
    ----------
    model
        A transformers model with ``generate``.
    config
        ``GenerationConfig`` of sampling or greedy decoding.
    inputs
        What ``generate`` takes, a row per distinct prompt, padded on the left.
    which
        Prompt of each rollout.
    uniform
        Numbers in [0, 1) that its tokens are drawn by, (len(which), most tokens); None: torch's generator draws.
    ended
        Told of rollouts as soon as they have ended, while the others go on.
    """
    model = bare(model)
    start = copy.deepcopy(config)
    start.max_new_tokens, start.do_sample, start.use_cache = 1, False, True
    start.return_dict_in_generate, start.output_logits = True, True
    begun = type(model).generate(model, **inputs, generation_config=start)
    prompts = inputs["input_ids"]
    rows = torch.tensor(list(which), device=prompts.device)
    choose = _Chooser(config, prompts.device, sample=bool(config.do_sample) or uniform is not None)
    uniform = uniform if uniform is None else uniform.to(prompts.device)
    ids = prompts[rows]
    mask = inputs["attention_mask"][rows]
    logits = begun.logits[0][rows]
    positions = _next_positions(model, mask, rows)
    done = ids.new_full((len(rows), config.max_new_tokens), choose.pad)
    alive = torch.arange(len(rows), device=ids.device)
    over = torch.zeros(len(rows), dtype=torch.bool, device=ids.device)
    memory = _Memory(model, begun.past_key_values, rows, config.max_new_tokens)
    for step in range(config.max_new_tokens):
        token = choose(ids, logits, None if uniform is None else uniform[alive, step])
        token = torch.where(over, choose.pad, token)
        done[alive, step] = token
        now = torch.isin(token, choose.ends) & ~over
        over = over | now
        left = int((~over).sum())
        if ended is not None and bool(now.any()):
            ended({row: done[row, : step + 1].tolist() for row in alive[now].tolist()})
        if not left or step + 1 == config.max_new_tokens:
            done = done[:, : step + 1]
            break
        ids = torch.cat([ids, token[:, None]], dim=1)
        if left <= SHRINK * len(over):
            keep = (~over).nonzero()[:, 0]
            memory.keep(keep)
            ids, mask, alive, over = ids[keep], mask[keep], alive[keep], over[keep]
            positions = positions.index_select(-2, keep)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = memory.step(ids, mask, positions)
        positions = positions + 1
    return torch.cat([prompts[rows], done], dim=1)


class _Memory:
    """Keys and values of the rollouts: branches of their prompts' where the model attends to such, else repeated.

    Whether it does is seen at the first token: an attention of the model's own making does not know what a branch is. Then
    nothing has been lost but that step.
    """

    def __init__(self, model: Any, begun: Any, rows: Tensor, room: int) -> None:
        self.model = model
        self.begun = begun
        self.room = room
        self.rows = rows
        self.branches = branching.branched(begun, rows, room)
        self.kept = _expanded(begun, rows, room) if self.branches is None else None
        self.tried = False

    def step(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return the logits (B, vocabulary) after the last of ``ids`` (B, tokens so far)."""
        if self.branches is None:
            return self._run(self.kept, ids, mask, positions)
        with branching.attending(self.model) as here:
            try:
                logits = self._run(self.branches, ids, mask, positions) if here else None
            except (RuntimeError, TypeError, ValueError):  # it looked at keys that are not all there
                if self.tried:
                    raise
                logits = None
        if logits is not None and (self.tried or all(layer.met for layer in self.branches.layers)):
            self.tried = True
            return logits
        self.branches, self.kept = None, _expanded(self.begun, self.rows, self.room)
        return self._run(self.kept, ids, mask, positions)

    def keep(self, places: Tensor) -> None:
        """Keep the rollouts at ``places``, in that order."""
        self.rows = self.rows[places]
        cache: Any = self.kept if self.branches is None else self.branches
        cache.reorder_cache(places)

    def _run(self, cache: Any, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        made = self.model.prepare_inputs_for_generation(
            ids, next_sequence_length=1, past_key_values=cache, attention_mask=mask, position_ids=positions,
            use_cache=True, is_first_iteration=False,
        )  # fmt: skip
        logits: Tensor = self.model(**made, return_dict=True).logits[:, -1].float()
        return logits


class _Chooser:
    """The next token: transformers' own warpers for the settings that are on, then sampling or the greatest."""

    def __init__(self, config: Any, device: Any, *, sample: bool) -> None:
        from transformers.generation import logits_process as warp

        self.sample = sample
        ends = config.eos_token_id if isinstance(config.eos_token_id, list | tuple) else [config.eos_token_id]
        self.ends = torch.tensor([end for end in ends if end is not None], dtype=torch.long, device=device)
        self.pad = config.pad_token_id if config.pad_token_id is not None else int(self.ends[0])
        made: list[Any] = []
        if config.repetition_penalty not in (None, 1.0):
            made.append(warp.RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
        if config.suppress_tokens is not None:
            made.append(warp.SuppressTokensLogitsProcessor(config.suppress_tokens, device=device))
        if self.sample:
            if config.temperature not in (None, 1.0):
                made.append(warp.TemperatureLogitsWarper(config.temperature))
            if config.top_k:
                made.append(warp.TopKLogitsWarper(config.top_k))
            if config.top_p is not None and config.top_p < 1.0:
                made.append(warp.TopPLogitsWarper(config.top_p))
            if config.min_p is not None:
                made.append(warp.MinPLogitsWarper(config.min_p))
        self.warpers = made

    def __call__(self, ids: Tensor, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """Return a token for each row, (B,), from ``logits`` (B, vocabulary) and, where given, ``uniform`` (B,)."""
        for warper in self.warpers:
            logits = warper(ids, logits)
        if not self.sample:
            return logits.argmax(dim=-1)
        if uniform is not None:
            return pick(logits, uniform)
        return torch.multinomial(logits.softmax(dim=-1), 1)[:, 0]


def _expanded(cache: Any, rows: Any, room: int) -> Any:
    """Return ``cache`` repeated to ``rows``; layers that only grow get room, others are repeated as they are."""
    if not isinstance(cache, DynamicCache):
        cache.reorder_cache(rows)
        return cache
    for place, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.get_seq_length():
            cache.layers[place] = Reserved(layer, rows, room)
        else:
            layer.reorder_cache(rows)
    return cache


def _next_positions(model: Any, mask: Tensor, rows: Tensor) -> Tensor:
    """Return the positions of the first new token: (B, 1), or (4, B, 1) where images take positions of their own."""
    text = mask.sum(1, keepdim=True)
    offsets = getattr(model.base_model, "rope_deltas", None)
    if offsets is None:
        return text
    whole = torch.as_tensor(offsets, device=text.device).reshape(-1, 1)[rows]
    return torch.cat([text[None], (text + whole)[None].expand(3, -1, -1)])
