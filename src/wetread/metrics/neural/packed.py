"""BERT and its like without padding: one encoder for CheXbert, RadGraph, BERTScore's RoBERTa and RaTEScore's entities.

The linear layers see the tokens of all texts of a batch in one row, so that no time goes into padding; attention sees texts of
like length together, each rounded up to a multiple of ``products.STEP`` by its own length. So a text's vectors on a CPU are the
same bits whatever is beside it; see ``products``. Queries, keys and values are one product. On a CPU a batch is cut into pieces
whose intermediate values stay in its cache. Who needs the first token alone has the last layer computed for that one.

Architectures: Devlin et al. 2019 (arXiv 1810.04805); Liu et al. 2019 (RoBERTa, arXiv 1907.11692: places are counted from the
padding token on); Song et al. 2020 (MPNet, arXiv 2004.09297: besides, a bias of attention by distance, the same in all layers).
Names of the weights as transformers has them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wetread.errors import MissingError
from wetread.metrics.neural.products import STEP, dense, padded, stepped

PIECE = 768
"""Tokens that a CPU works on at once, at least; more of them leave its cache, fewer do not fill its vector units."""
_PER_THREAD = 256

Kind = Literal["bert", "roberta", "mpnet"]
Affine = tuple[Tensor, Tensor]
"""Weight and bias."""
_BERT = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
_MPNET = (*(f"attention.attn.{part}" for part in "qkvo"), "attention.LayerNorm", *_BERT[5:])
_PARTS: Mapping[Kind, tuple[str, ...]] = {"bert": _BERT, "roberta": _BERT, "mpnet": _MPNET}
_BIAS = "encoder.relative_attention_bias.weight"
_BUCKETS, _FARTHEST = 32, 128
"""Buckets of distance and the distance from which on all are one; MPNet takes these whatever its config says."""


@dataclass(frozen=True)
class BertShape:
    """The sizes of an encoder, as its ``config.json`` names them."""

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
    """Rows of the table of places."""
    types: int
    """Token types; 0: it has none."""
    epsilon: float
    """What layer norms add to the variance."""
    kind: Kind = "bert"
    """Which of the architectures it is."""
    pad: int = -1
    """Id of the padding token where places are counted from it on, else -1."""

    @property
    def longest(self) -> int:
        """Tokens of the longest text, special tokens included."""
        return self.positions - self.pad - 1

    @classmethod
    def read(cls, file: Path, *kinds: Kind) -> BertShape:
        """Return what ``config.json`` says.

        ``MissingError`` when it cannot be read, is not that of an encoder we know, or is none of ``kinds``, if any are given.
        """
        try:
            config = json.loads(file.read_text("utf-8"))
            kind = str(config.get("model_type", "bert"))
            # What a config leaves out is the default of transformers, which all three architectures share.
            shape = cls(
                hidden=int(config.get("hidden_size", 768)),
                heads=int(config.get("num_attention_heads", 12)),
                layers=int(config.get("num_hidden_layers", 12)),
                inner=int(config.get("intermediate_size", 3072)),
                words=int(config["vocab_size"]),
                positions=int(config.get("max_position_embeddings", 512)),
                types=0 if kind == "mpnet" else int(config.get("type_vocab_size", 2)),
                epsilon=float(config.get("layer_norm_eps", 1e-12)),
                kind=cast(Kind, kind),
                pad={"roberta": int(config.get("pad_token_id", 1)), "mpnet": 1}.get(kind, -1),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MissingError(
                f"{file} is no config of an encoder ({type(error).__name__}: {error}); put the one of the official model "
                "there."
            ) from error
        activation, allowed = config.get("hidden_act", "gelu"), kinds or get_args(Kind)
        sound = shape.layers > 0 and shape.heads > 0 and shape.hidden % shape.heads == 0
        if kind not in allowed or activation != "gelu" or not sound:
            raise MissingError(
                f"{file} has model type {kind!r}, activation {activation!r}, {shape.layers} layers, width {shape.hidden} and "
                f"{shape.heads} heads; {' or '.join(map(repr, allowed))}, 'gelu', one layer or more and a width that the heads "
                "divide are needed. Put the official config there."
            )
        return shape

    def names(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the encoder's weights; the pooler is none of them."""
        width, inner = self.hidden, self.inner
        found: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.words, width),
            "embeddings.position_embeddings.weight": (self.positions, width),
        }
        if self.types:
            found["embeddings.token_type_embeddings.weight"] = (self.types, width)
        if self.kind == "mpnet":
            found[_BIAS] = (_BUCKETS, self.heads)
        square, norm = (width, width), (width,)
        sizes = (square, square, square, square, norm, (inner, width), (width, inner), norm)
        affine: dict[str, tuple[int, ...]] = {"embeddings.LayerNorm": norm}
        for number in range(self.layers):
            for part, size in zip(_PARTS[self.kind], sizes, strict=True):
                affine[f"encoder.layer.{number}.{part}"] = size
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


@dataclass(frozen=True)
class _Group:
    """Texts that attention sees together."""

    width: int
    """Tokens of each, a multiple of ``STEP``."""
    texts: Tensor
    """Their numbers in the piece, shape (n)."""
    slots: Tensor
    """Which row of the piece each of their tokens is, shape (n · width); past a text's end its first one again."""
    mask: Tensor
    """What is added to the scores, shape (n, heads or 1, width or 1, width): -inf past a text's end."""


class PackedBert:
    """An encoder, ready to run.

    Parameters
    ----------
    state
        Weights by name, as ``BertShape.names`` lists them; others are passed over.
    shape
        Its sizes.
    device, dtype
        Where and how it computes: ``torch.float32`` or ``torch.bfloat16``.
    layers
        How many layers are computed; None: all.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        shape: BertShape,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        layers: int | None = None,
    ) -> None:
        self.shape = shape
        self.device = device

        def of(name: str) -> Tensor:
            # A copy: what is mapped from a file would go wrong with it.
            return state[name].detach().to(device=device, dtype=dtype, copy=True)

        def affine(name: str) -> Affine:
            return of(f"{name}.weight"), of(f"{name}.bias")

        self._words = of("embeddings.word_embeddings.weight")
        self._places = of("embeddings.position_embeddings.weight")
        if shape.types:  # every token is of the first type, so its vector goes into that of the place
            self._places += of("embeddings.token_type_embeddings.weight")[0]
        self._bias = of(_BIAS) if shape.kind == "mpnet" else None
        self._norm = affine("embeddings.LayerNorm")
        self._layers = [
            _layer(*(affine(f"encoder.layer.{number}.{part}") for part in _PARTS[shape.kind]))
            for number in range(shape.layers if layers is None else layers)
        ]

    @torch.inference_mode()
    def first(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's vector of each text's first token, float32 on the device, shape (texts, hidden).

        Parameters
        ----------
        texts
            Token ids of each text, special tokens included: at least one, at most ``shape.longest``.
        """
        return self._joined(self._first_tokens(piece) for piece in self._pieces(texts))

    @torch.inference_mode()
    def tokens(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's vectors of all tokens, one text after another, float32 on the device, (tokens, hidden)."""
        return self._joined(self._all_tokens(piece) for piece in self._pieces(texts))

    def _joined(self, found: Iterable[Tensor]) -> Tensor:
        return torch.cat([torch.empty(0, self.shape.hidden, device=self.device), *(one.float() for one in found)])

    def _all_tokens(self, texts: Sequence[Sequence[int]]) -> Tensor:
        hidden, groups, back = self._embedded(texts)
        for layer in self._layers:
            hidden = self._through(layer, hidden, groups, back)
        return hidden[: sum(map(len, texts))]

    def _first_tokens(self, texts: Sequence[Sequence[int]]) -> Tensor:
        hidden, groups, back = self._embedded(texts)
        for layer in self._layers[:-1]:
            hidden = self._through(layer, hidden, groups, back)
        layer = self._layers[-1]
        pairs = dense(hidden, *layer.key_value)
        starts = np.zeros(padded(len(texts), self.device), dtype=np.int64)
        starts[1 : len(texts)] = np.cumsum([len(ids) for ids in texts])[:-1]
        hidden = hidden[torch.from_numpy(starts).to(self.device)]
        queries = dense(hidden, *layer.query)
        mixed = torch.zeros_like(hidden)
        for group in groups:
            key, value = self._heads(pairs[group.slots], group.width)
            (query,) = self._heads(queries[group.texts], 1)
            # As many rows as attention always sees at once: one alone would be added up in another order.
            mask = group.mask[:, :, :1].expand(-1, -1, STEP, -1)
            found = functional.scaled_dot_product_attention(query.repeat(1, 1, STEP, 1), key, value, attn_mask=mask)
            mixed[group.texts] = found[:, :, 0].flatten(1)
        return self._rest(layer, hidden, mixed)[: len(texts)]

    def _embedded(self, texts: Sequence[Sequence[int]]) -> tuple[Tensor, list[_Group], Tensor]:
        """Return the embeddings of all tokens, the groups, and of each row which of the groups' slots it is."""
        lengths = np.array([len(ids) for ids in texts])
        starts = np.cumsum(lengths) - lengths
        rows = padded(int(lengths.sum()), self.device)
        ids, places, back = (np.zeros(rows, dtype=np.int64) for _ in range(3))
        flat = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
        ids[: len(flat)] = flat
        places[: len(flat)] = np.concatenate([self._numbered(part) for part in np.split(flat, starts[1:])])
        groups, before = [], 0
        widths = np.array([stepped(length) for length in lengths.tolist()])
        for width in np.unique(widths).tolist():
            texts_here = np.flatnonzero(widths == width)
            there = np.arange(width) < lengths[texts_here, None]
            slots = starts[texts_here, None] + np.where(there, np.arange(width), 0)
            back[slots[there]] = before + np.flatnonzero(there)
            before += slots.size
            groups.append(
                _Group(
                    width,
                    torch.from_numpy(texts_here).to(self.device),
                    torch.from_numpy(slots.reshape(-1)).to(self.device),
                    self._mask(torch.from_numpy(there).to(self.device)),
                )
            )
        word, place, back_again = (torch.from_numpy(one).to(self.device) for one in (ids, places, back))
        return self._normed(self._words[word] + self._places[place], self._norm), groups, back_again

    def _numbered(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each token in the table of places."""
        if self.shape.pad < 0:
            return np.arange(len(ids))
        real = ids != self.shape.pad  # a padding token written out in a text has no place
        places: NDArray[np.int64] = np.cumsum(real) * real + self.shape.pad
        return places

    def _mask(self, there: Tensor) -> Tensor:
        mask = self._words.new_zeros(there.shape).masked_fill_(~there, -math.inf)[:, None, None, :]
        if self._bias is None:
            return mask
        steps = torch.arange(there.shape[1], device=self.device)
        return mask + self._bias[_bucket(steps[None, :] - steps[:, None])].permute(2, 0, 1)

    def _through(self, layer: _Layer, hidden: Tensor, groups: Sequence[_Group], back: Tensor) -> Tensor:
        mixed = dense(hidden, *layer.all_three)
        found = []
        for group in groups:
            query, key, value = self._heads(mixed[group.slots], group.width)
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=group.mask)
            found.append(seen.transpose(1, 2).reshape(len(group.slots), -1))
        return self._rest(layer, hidden, (torch.cat(found) if len(found) > 1 else found[0])[back])

    def _heads(self, rows: Tensor, width: int) -> tuple[Tensor, ...]:
        """Split rows (texts · width, k · hidden) into k tensors of shape (texts, heads, width, width of a head)."""
        heads = self.shape.heads
        split = rows.view(len(rows) // width, width, -1, heads, self.shape.hidden // heads)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _rest(self, layer: _Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = self._normed(dense(mixed, *layer.out).add_(hidden), layer.norm_attention)
        inner = dense(hidden, *layer.up, gelu=True)
        return self._normed(dense(inner, *layer.down).add_(hidden), layer.norm)

    def _normed(self, rows: Tensor, affine: Affine) -> Tensor:
        return functional.layer_norm(rows, (self.shape.hidden,), *affine, self.shape.epsilon)

    def _pieces(self, texts: Sequence[Sequence[int]]) -> Iterable[Sequence[Sequence[int]]]:
        """Cut texts into runs of so many tokens as are computed at once, each of at least one text."""
        limit = max(PIECE, _PER_THREAD * torch.get_num_threads()) if self.device.type == "cpu" else None
        start = total = 0
        for place, ids in enumerate(texts):
            if limit is not None and place > start and total + len(ids) > limit:
                yield texts[start:place]
                start, total = place, 0
            total += len(ids)
        if texts:
            yield texts[start:]


def _layer(query: Affine, key: Affine, value: Affine, *rest: Affine) -> _Layer:
    # The three lie in one block; those of the last layer, which needs them apart, are views of it.
    weight, bias = (torch.cat(parts) for parts in zip(query, key, value, strict=True))
    width = len(query[1])
    return _Layer((weight[:width], bias[:width]), (weight[width:], bias[width:]), (weight, bias), *rest)


def _bucket(distance: Tensor) -> Tensor:
    """Return the bucket of each distance, key minus query: near ones have their own, far ones share (T5, arXiv 1910.10683)."""
    half, near = _BUCKETS // 2, _BUCKETS // 4
    size = distance.abs()
    share = torch.log(size.clamp(min=1).float() / near) / math.log(_FARTHEST / near)
    far = (near + share * (half - near)).long().clamp(max=half - 1)
    return torch.where(distance > 0, half, 0) + torch.where(size < near, size, far)


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights that hold NaN or infinite numbers (``MissingError`` that names the tensors).

    A network of such weights gives labels all the same: the greatest of NaNs is the first class.

    Parameters
    ----------
    tensors
        Weights by name.
    what
        What the file is called in the message.
    """
    spoilt = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if spoilt:
        raise MissingError(f"{what} holds NaN or infinite numbers in {_listed(spoilt)}. Fetch the official file again.")


def _is_finite(tensor: Tensor) -> bool:
    # Least and greatest take one pass and no memory; NaN passes through both.
    return not tensor.numel() or bool(torch.isfinite(torch.stack(tensor.detach().aminmax())).all())


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
