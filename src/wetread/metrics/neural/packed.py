"""BERT without padding, for those who need its first token alone: what CheXbert's labels and SembScore are read off.

The linear layers see the tokens of all texts of a batch in one row, so that no time goes into padding; only attention pads,
within the batch. The last layer is computed for the first token of each text and no other. Queries, keys and values are one
product. On a CPU a batch is cut into pieces whose intermediate values stay in its cache.

Architecture: Devlin et al. 2019 (arXiv 1810.04805); names of the weights as transformers' ``BertModel`` has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wetread.errors import MissingError

PIECE = 768
"""Tokens that a CPU works on at once; more of them leave its cache, fewer do not fill its vector units."""

Affine = tuple[Tensor, Tensor]
"""Weight and bias."""


@dataclass(frozen=True)
class BertShape:
    """The sizes of a BERT, as its ``config.json`` names them."""

    hidden: int
    """Width of a token's vector."""
    heads: int
    """Attention heads; they divide ``hidden``."""
    layers: int
    """Transformer layers."""
    inner: int
    """Width inside the feed-forward layers."""
    words: int
    """Entries of the vocabulary."""
    positions: int
    """Tokens of the longest text, special tokens included."""
    kinds: int
    """Token types."""
    epsilon: float
    """What layer norms add to the variance."""

    @classmethod
    def read(cls, file: Path) -> BertShape:
        """Return what ``config.json`` says (``MissingError`` when it cannot be read or is not that of a BERT we know)."""
        try:
            config = json.loads(file.read_text("utf-8"))
            shape = cls(
                hidden=int(config["hidden_size"]),
                heads=int(config["num_attention_heads"]),
                layers=int(config["num_hidden_layers"]),
                inner=int(config["intermediate_size"]),
                words=int(config["vocab_size"]),
                positions=int(config["max_position_embeddings"]),
                kinds=int(config["type_vocab_size"]),
                epsilon=float(config.get("layer_norm_eps", 1e-12)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MissingError(
                f"{file} is no config of a BERT ({type(error).__name__}: {error}); put the one of the official model there."
            ) from error
        activation = config.get("hidden_act", "gelu")
        if activation != "gelu" or shape.layers < 1 or shape.heads < 1 or shape.hidden % shape.heads:
            raise MissingError(
                f"{file} has activation {activation!r}, {shape.layers} layers, width {shape.hidden} and {shape.heads} heads; "
                "'gelu', one layer or more and a width that the heads divide are needed. Put the official config there."
            )
        return shape

    def names(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the weights that the encoder uses; the pooler is none of them."""
        width, inner = self.hidden, self.inner
        found: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.words, width),
            "embeddings.position_embeddings.weight": (self.positions, width),
            "embeddings.token_type_embeddings.weight": (self.kinds, width),
        }
        affine: dict[str, tuple[int, ...]] = {"embeddings.LayerNorm": (width,)}
        for number in range(self.layers):
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                affine[f"encoder.layer.{number}.attention.{part}"] = (width, width)
            affine[f"encoder.layer.{number}.attention.output.LayerNorm"] = (width,)
            affine[f"encoder.layer.{number}.intermediate.dense"] = (inner, width)
            affine[f"encoder.layer.{number}.output.dense"] = (width, inner)
            affine[f"encoder.layer.{number}.output.LayerNorm"] = (width,)
        for name, size in affine.items():
            found |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
        return found


@dataclass(frozen=True)
class _Layer:
    query: Affine
    key_value: Affine
    all_three: Affine
    out: Affine
    norm_attention: Affine
    up: Affine
    down: Affine
    norm: Affine


class PackedBert:
    """The encoder, ready to run.

    Parameters
    ----------
    state
        Weights by name, as ``BertShape.names`` lists them; others are passed over.
    shape
        Its sizes.
    device, dtype
        Where and how it computes: ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        shape: BertShape,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shape = shape
        self.device = device

        def of(name: str) -> Tensor:
            # A copy: what is mapped from a file would go wrong with it.
            return state[name].detach().to(device=device, dtype=dtype, copy=True)

        def affine(name: str) -> Affine:
            return of(f"{name}.weight"), of(f"{name}.bias")

        self._words = of("embeddings.word_embeddings.weight")
        # Every token is of the first type, so its vector goes into that of the position.
        self._places = of("embeddings.position_embeddings.weight") + of("embeddings.token_type_embeddings.weight")[0]
        self._norm = affine("embeddings.LayerNorm")
        self._layers = [
            _layer(*(affine(f"encoder.layer.{number}.{part}") for part in _PARTS)) for number in range(shape.layers)
        ]

    @torch.inference_mode()
    def first(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's vector of each text's first token, float32 on the CPU, shape (texts, hidden).

        Parameters
        ----------
        texts
            Token ids of each text, special tokens included: at least one, at most ``shape.positions``.
        """
        limit = PIECE if self.device.type == "cpu" else None
        found = [self._piece(piece).float().cpu() for piece in _pieces(texts, limit)]
        return torch.cat(found) if found else torch.empty(0, self.shape.hidden)

    def _piece(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(ids) for ids in texts])
        longest = int(lengths.max())
        steps = torch.arange(longest)
        there = steps < lengths[:, None]
        places = steps.expand_as(there)[there].to(self.device)
        ids = torch.tensor([one for text in texts for one in text]).to(self.device)
        starts = (lengths.cumsum(0) - lengths).to(self.device)
        # Without a text that is shorter than another nothing is padded and nothing needs to be masked.
        slots = None if bool(there.all()) else there.flatten().nonzero().squeeze(1).to(self.device)
        mask = None if slots is None else there[:, None, None, :].to(self.device)
        hidden = self._normed(self._words[ids] + self._places[places], self._norm)
        count = len(texts)
        for layer in self._layers[:-1]:
            query, key, value = self._heads(functional.linear(hidden, *layer.all_three), count, longest, slots)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            mixed = mixed.transpose(1, 2).reshape(count * longest, -1)
            hidden = self._rest(layer, hidden, mixed if slots is None else mixed[slots])
        layer = self._layers[-1]
        key, value = self._heads(functional.linear(hidden, *layer.key_value), count, longest, slots)
        hidden = hidden[starts]
        (query,) = self._heads(functional.linear(hidden, *layer.query), count, 1, None)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._rest(layer, hidden, mixed.reshape(count, -1))

    def _heads(self, rows: Tensor, count: int, longest: int, slots: Tensor | None) -> tuple[Tensor, ...]:
        """Split rows (tokens, k · hidden) into k tensors of shape (texts, heads, tokens, width of a head), padded by 0."""
        if slots is not None:
            rows = rows.new_zeros(count * longest, rows.shape[1]).index_copy_(0, slots, rows)
        heads = self.shape.heads
        split = rows.view(count, longest, -1, heads, self.shape.hidden // heads)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _rest(self, layer: _Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = self._normed(functional.linear(mixed, *layer.out).add_(hidden), layer.norm_attention)
        inner = functional.gelu(functional.linear(hidden, *layer.up))
        return self._normed(functional.linear(inner, *layer.down).add_(hidden), layer.norm)

    def _normed(self, rows: Tensor, affine: Affine) -> Tensor:
        return functional.layer_norm(rows, (self.shape.hidden,), *affine, self.shape.epsilon)


_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


def _layer(query: Affine, key: Affine, value: Affine, *rest: Affine) -> _Layer:
    # The three lie in one block; those of the last layer, which needs them apart, are views of it.
    weight, bias = (torch.cat(parts) for parts in zip(query, key, value, strict=True))
    width = len(query[1])
    return _Layer((weight[:width], bias[:width]), (weight[width:], bias[width:]), (weight, bias), *rest)


def _pieces(texts: Sequence[Sequence[int]], limit: int | None) -> Iterable[Sequence[Sequence[int]]]:
    """Cut a batch into runs of at most ``limit`` tokens, each of at least one text."""
    start = total = 0
    for place, ids in enumerate(texts):
        if limit is not None and place > start and total + len(ids) > limit:
            yield texts[start:place]
            start, total = place, 0
        total += len(ids)
    if texts:
        yield texts[start:]


def check_names(found: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Refuse weights that lack a name, have one too many or one of another shape (``MissingError`` that names them).

    Parameters
    ----------
    found
        Tensors by name.
    wanted
        Shapes by name.
    what
        What the file is called in the message.
    """
    shared = [name for name in wanted if name in found]
    faults = {
        "lacks": [name for name in wanted if name not in found],
        "has beyond those of the official file": [str(name) for name in found if name not in wanted],
        "has of another shape": [
            f"{name} {tuple(found[name].shape)} for {wanted[name]}"
            for name in shared
            if tuple(found[name].shape) != wanted[name]
        ],
    }
    said = "; ".join(f"{fault} {_listed(names)}" for fault, names in faults.items() if names)
    if said:
        raise MissingError(f"{what} {said}. Use the official file and the config.json and vocab.txt that belong to it.")


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
