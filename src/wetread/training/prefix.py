"""Each distinct prompt of a batch runs once; completions run against its repeated keys and values, with gradients.

The prompt of a radiograph is mostly image, and in GRPO a group of rollouts shares it. The plain pass runs it once for each
rollout. Here the backbone runs the distinct prompts, keeps their keys and values, repeats them to the rollouts and runs the
completions after them; autograd sums the gradients of the repeats. Completions are run in parts of like length, so that a
short one is not padded to the longest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wetread.training.scored import spread
from wetread.training.sharing import GRID, distinct

IMAGES = (
    "pixel_values", GRID, "image_position_ids", "pixel_attention_mask", "spatial_shapes", "image_sizes",
    "token_type_ids", "mm_token_type_ids", "num_images", "num_tiles",
)  # fmt: skip
"""Inputs of TRL's loss that belong to images."""
PARTS = 4
"""Most parts of like length that completions are run in."""
LEAST = 8
"""Fewest completions in a part; smaller parts cost more in calls than they save in padding."""


class NotShareable(RuntimeError):
    """Prompts of this model cannot be shared; the message says why."""


@dataclass(frozen=True)
class Images:
    """A batch's image inputs, and how many of their rows each sample owns."""

    fields: Mapping[str, Tensor]
    """What the model takes, by name."""
    rows: Mapping[str, Sequence[int]]
    """For each of them the rows that belong to each sample, (B,)."""

    @classmethod
    def of(cls, ids: Tensor, given: Mapping[str, Any]) -> Images:
        """Tell apart what TRL passes beside ``ids`` (B, T): rows of samples, images, tiles or patches.

        Raises
        ------
        NotShareable
            A field's rows are none of these.
        """
        fields = {key: value for key, value in given.items() if isinstance(value, Tensor)}
        samples, images = len(ids), given.get("num_images")
        tiles = given.get("num_tiles")
        grid = fields.get(GRID)
        patches = None
        if grid is not None and images is not None:
            patches = [int(one.prod(-1).sum()) for one in grid.split(list(images))]
        rows: dict[str, Sequence[int]] = {}
        for key, value in fields.items():
            each = [1] * samples
            known = (each,) if value.shape[:2] == ids.shape else (patches, tiles, images, each)
            for counts in known:
                if counts is not None and sum(counts) == len(value):
                    rows[key] = list(counts)
                    break
            else:
                raise NotShareable(f"{key} has {len(value)} rows for {samples} samples, which belong to no known unit")
        return cls(fields, rows)

    def parts(self) -> list[tuple[Tensor, ...]]:
        """Return each sample's rows of every field."""
        split = [value.split(list(self.rows[key])) for key, value in self.fields.items()]
        return list(zip(*split, strict=True))

    def choose(self, samples: Sequence[int]) -> Images:
        """Return the inputs of ``samples`` alone."""
        fields = {}
        for key, value in self.fields.items():
            rows = value.split(list(self.rows[key]))
            fields[key] = torch.cat([rows[place] for place in samples])
        return Images(fields, {key: [rows[place] for place in samples] for key, rows in self.rows.items()})


class SharedPrompts:
    """Plan of a forward pass: the distinct prompts once, then their completions.

    Parameters
    ----------
    ids, mask
        Integers (B, P + C): prompts padded on the left, completions on the right, and what of it is no padding.
    completion
        C, the width of the completions.
    images
        The image inputs of the batch, and fields of (B, P + C) beside them such as token types.

    After construction ``inputs`` is what to give to the model, ``labels`` (1, N) the tokens that are scored, in the order in
    which ``order`` (B,) sorts the samples.
    """

    def __init__(self, ids: Tensor, mask: Tensor, completion: int, images: Images) -> None:
        width = ids.shape[1] - completion
        whole = {key: value for key, value in images.fields.items() if value.shape[:2] == ids.shape}
        fields = {key: value for key, value in images.fields.items() if key not in whole}
        images = Images(fields, {key: images.rows[key] for key in fields})
        prompts = torch.cat([part[:, :width] for part in (ids, mask, *whole.values())], dim=1)
        parts = [(row, *rest) for row, rest in zip(prompts, images.parts() or [()] * len(ids), strict=True)]
        first, which = distinct(parts)
        lengths = mask[:, width:].sum(1)
        self.order = torch.argsort(lengths, stable=True)
        self.inputs = {
            "input_ids": ids[first, :width],
            "attention_mask": mask[first, :width],
            **{key: value[first, :width] for key, value in whole.items()},
            **images.choose(first).fields,
        }
        self._ids = ids[self.order, width:]
        self._mask = mask[self.order, width:].bool()
        self._which = torch.tensor(which, device=ids.device)[self.order]
        self._lengths = lengths[self.order].tolist()
        self.labels = self._ids[self._mask][None]
        self.prompts = len(first)

    def unsort(self, values: Tensor) -> Tensor:
        """Return what was computed for the scored tokens, (1, N), in the batch's order and shape, (B, C); elsewhere 0."""
        return spread(values, self._mask)[torch.argsort(self.order)]

    def run(self, backbone: Any, forward: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """Return the prompts' output with the hidden states before each scored token, (1, N, width).

        Raises
        ------
        NotShareable
            The model keeps no cache of keys and values here.
        """
        inputs["use_cache"] = True
        out = forward(**inputs)
        kept = out.past_key_values
        check_cache(kept)
        last = out.last_hidden_state[:, -1]
        states = [
            self._part(start, end, backbone, forward, inputs, last, kept)
            for start, end in parts_of(self._lengths)
            if self._lengths[end - 1]
        ]
        out.last_hidden_state = torch.cat(states)[None]
        out.past_key_values = None
        return out

    def _part(
        self, start: int, end: int, backbone: Any, forward: Callable[..., Any], inputs: Mapping[str, Any],
        last: Tensor, kept: Any,
    ) -> Tensor:  # fmt: skip
        """Return the hidden states before the scored tokens of some completions, (n, width)."""
        which, scored = self._which[start:end], self._mask[start:end]
        width = self._lengths[end - 1]
        states = last[which][:, None]
        if width > 1:  # the last token's own state predicts nothing
            mask = torch.cat([inputs["attention_mask"][which], scored[:, : width - 1].long()], dim=1)
            ids = self._ids[start:end, : width - 1]
            out = forward(
                input_ids=ids, attention_mask=mask, past_key_values=repeated(kept, which), use_cache=True,
                **_positions(backbone, mask, width - 1, which),
            )  # fmt: skip
            states = torch.cat([states, out.last_hidden_state], dim=1)
        return states[scored[:, :width]]


def together(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return TRL's micro-batches of one optimiser step with the rollouts of a prompt side by side, short ones first.

    TRL shuffles the rollouts before it deals them, so that every micro-batch holds some of every prompt.

    Raises
    ------
    NotShareable
        An image input's rows belong to no known unit.
    """
    whole = {key: _joined([batch[key] for batch in batches]) for key in batches[0]}
    prompts, mask = whole["prompt_ids"], whole["completion_mask"]
    rows = len(prompts)
    given = {key: whole.pop(key) for key in IMAGES if key in whole}
    images = Images.of(torch.cat([prompts, whole["completion_ids"]], dim=1), given)
    parts = images.parts() or [()] * rows
    _, which = distinct([(ids, *rest) for ids, rest in zip(prompts, parts, strict=True)])
    lengths = mask.sum(1).tolist()
    order = sorted(range(rows), key=lambda row: (which[row], lengths[row]))
    size = rows // len(batches)
    out = []
    for start in range(0, rows, size):
        places = order[start : start + size]
        chosen = {key: value[places] if _has_rows(value, rows) else value for key, value in whole.items()}
        counts = {key: [given[key][place] for place in places] for key in ("num_images", "num_tiles") if given.get(key)}
        out.append({**chosen, **images.choose(places).fields, **counts})
    return out


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values)) if first.ndim else first
    return [one for value in values for one in value] if isinstance(first, list) else first


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


def parts_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return the parts (start, end) that ascending ``lengths`` are run in: equal shares where that saves an eighth.

    >>> parts_of([2, 2, 2, 2])
    [(0, 4)]
    >>> parts_of([1] * 8 + [9] * 8)
    [(0, 8), (8, 16)]
    """
    count = min(PARTS, len(lengths) // LEAST)
    if count < 2:
        return [(0, len(lengths))]
    ends = [len(lengths) * (number + 1) // count for number in range(count)]
    parts = list(zip([0, *ends[:-1]], ends, strict=True))
    area = sum((end - start) * lengths[end - 1] for start, end in parts)
    return parts if area <= 0.875 * len(lengths) * lengths[-1] else [(0, len(lengths))]


def check_cache(cache: Any) -> None:
    """Refuse a cache that is not plain keys and values (``NotShareable``)."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if cache is None or cache.get_seq_length() == 0:
        raise NotShareable("the model keeps no keys and values while it trains")
    kinds = {type(layer) for layer in cache.layers} - {DynamicLayer, DynamicSlidingWindowLayer}
    if kinds:
        raise NotShareable(f"its cache has layers of {', '.join(sorted(kind.__name__ for kind in kinds))}")


def repeated(cache: Any, which: Tensor) -> Any:
    """Return a cache with the rows ``which`` of ``cache``; gradients reach the one they came from."""
    out = copy.copy(cache)
    out.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in out.layers:
        layer.keys, layer.values = layer.keys.index_select(0, which), layer.values.index_select(0, which)
    return out


def _positions(backbone: Any, mask: Tensor, width: int, which: Tensor) -> dict[str, Tensor]:
    """Return the positions of the last ``width`` columns for a model whose images take positions of their own (M-RoPE).

    Every other model counts on from the cache by itself.
    """
    offsets = getattr(backbone, "rope_deltas", None)
    if offsets is None:
        return {}
    count = (mask.cumsum(1) - 1)[:, -width:] + offsets.to(mask.device)[which]
    return {"position_ids": count[None].expand(3, -1, -1)}
