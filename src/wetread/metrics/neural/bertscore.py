"""The network behind BERTScore: distilroberta-base up to one layer, and the matching of two texts' tokens.

The encoder is RoBERTa (Liu et al. 2019; post-norm, exact GELU, learned positions), written out so that only the layers
that are needed run, without a pooler. The text becomes tokens as the official code's slow tokeniser makes them.

The vectors of a text are large (45 tokens: 140 kB), so they are kept in memory up to ``KEPT`` tokens and never on disk; what
goes to the cache is the result of a pair, three numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn import functional

from wetread.errors import MissingError
from wetread.metrics.bertscore import LAYER
from wetread.metrics.cache import Cache, Features
from wetread.metrics.encoder import BUDGET, Encoder, default_cache
from wetread.models import fingerprint

KEPT = 131_072
"""Tokens whose vectors are kept in memory, some 400 MB at 768 dimensions; also the most that is encoded for one round."""
PIECE = 768
"""Tokens of a batch on a CPU, padding included: what stays in its cache between layers; more of them take longer."""
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_ATTENTION = ("query", "key", "value")
_REPAIR = "fetch distilbert/distilroberta-base anew, or name another folder with --weights."
_UNUSED = re.compile(r"lm_head\.|(roberta\.)?pooler\.|(roberta\.)?embeddings\.position_ids$")

Triple = tuple[float, float, float]


class Distilroberta:
    """A ``TextModel``: text to the unit vectors of its tokens after one layer."""

    def __init__(self, folder: Path, layer: int = LAYER, device: str | None = None) -> None:
        self.config = _read_config(folder, layer)
        self.layer = layer
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokenizer = _read_tokenizer(folder)
        vocabulary = self.tokenizer.get_vocab()
        self.start, self.end, self.pad = (vocabulary[name] for name in ("<s>", "</s>", "<pad>"))
        self.longest = min(self.config["max_position_embeddings"] - self.pad - 1, 512)
        self.weights = _pack(_read_weights(folder, self.config), layer, self.device)
        self.signature = f"distilroberta-base|1|{fingerprint(str(folder))}|layer {layer}|fp32 on {self.device.type}"

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text with ``<s>`` and ``</s>``, at most ``longest``; an empty text has these two alone.

        A NUL byte is a token like any other; half of a surrogate pair, which is no text, becomes a question mark.
        """
        readable = re.sub(" +", " ", text).strip().encode("utf-8", "replace").decode("utf-8")
        ids = self.tokenizer.encode(" " + readable, add_special_tokens=False).ids if readable else []
        return [self.start, *ids[: self.longest - 2], self.end]

    def length(self, text: str) -> int:
        """Return the number of tokens, ``<s>`` and ``</s>`` included."""
        return len(self.tokens(text))

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return for each text ``vectors`` (tokens × dimensions, unit length, float32) and ``ids`` (tokens)."""
        rows = [self.tokens(text) for text in texts]
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        with torch.inference_mode():
            vectors = self._forward(ids.to(self.device), lengths.to(self.device))
            vectors = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
            arrays = vectors.float().cpu().numpy()
        return [
            {"vectors": arrays[place, : len(row)].copy(), "ids": np.array(row, dtype=np.int32)}
            for place, row in enumerate(rows)
        ]

    def _forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the vectors after the layer, shape (texts, tokens, dimensions)."""
        known = self.weights
        real = ids.ne(self.pad)
        places = torch.cumsum(real, dim=1) * real + self.pad  # a literal <pad> in a text has no place, as upstream
        state = functional.embedding(ids, known["words"]) + functional.embedding(places, known["places"])
        state = self._norm(state + known["type"], "embeddings")
        batch, width, size = state.shape
        heads = self.config["num_attention_heads"]
        mask = None
        if int(lengths.min()) < width:
            mask = (torch.arange(width, device=ids.device)[None] < lengths[:, None])[:, None, None, :]
        for number in range(self.layer):
            name = f"layer.{number}."
            mixed = functional.linear(state, known[name + "qkv.weight"], known[name + "qkv.bias"])
            query, key, value = mixed.view(batch, width, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            seen = seen.transpose(1, 2).reshape(batch, width, size)
            state = self._norm(state + self._linear(seen, name + "attention.output.dense"), name + "attention.output")
            inner = functional.gelu(self._linear(state, name + "intermediate.dense"))
            state = self._norm(state + self._linear(inner, name + "output.dense"), name + "output")
        return state

    def _linear(self, state: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(state, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _norm(self, state: torch.Tensor, name: str) -> torch.Tensor:
        scale, shift = self.weights[name + ".LayerNorm.weight"], self.weights[name + ".LayerNorm.bias"]
        return functional.layer_norm(state, scale.shape, scale, shift, self.config["layer_norm_eps"])


class TokenEncoder(Encoder):
    """An encoder whose memory is measured in tokens, the texts used last being kept; it has no cache on disk."""

    def __init__(self, model: Distilroberta, kept: int = KEPT) -> None:
        super().__init__(model, budget=PIECE if model.device.type == "cpu" else BUDGET)
        self.kept = kept

    def __call__(self, texts: Sequence[str]) -> list[Features]:
        """Return the features of each text, in order; each distinct one that is not in memory is encoded once."""
        found = super().__call__(texts)
        held = sum(len(features["ids"]) for features in self._memory.values())
        while held > self.kept:
            held -= len(self._memory.popitem(last=False)[1]["ids"])
        return found


class PairScorer:
    """Precision, recall and F of pairs of texts, before rescaling."""

    def __init__(self, model: Distilroberta, cache: Cache | None = None, kept: int = KEPT) -> None:
        self.model = model
        self.cache = cache
        self.kept = kept
        self.encoder = TokenEncoder(model, kept)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[Triple]:
        """Return (precision, recall, F) of each (draft, reference), in order; each distinct pair is matched once."""
        names = {pair: f"{len(pair[0])} {pair[0]}{pair[1]}" for pair in dict.fromkeys(pairs)}
        signature = f"bertscore|{self.model.signature}"
        known = self.cache.get(signature, list(names.values())) if self.cache is not None else {}
        found = {pair: _triple(known[name]) for pair, name in names.items() if name in known}
        for some in self._rounds([pair for pair in names if pair not in found]):
            made = self._match(some)
            if self.cache is not None:
                rows = {names[pair]: {"prf": np.array(value)} for pair, value in made.items()}
                self.cache.put(signature, rows)
            found |= made
        return [found[pair] for pair in pairs]

    def _rounds(self, pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
        """Return the pairs in lots whose texts have at most ``kept`` tokens together, so that any number fits in memory."""
        lots: list[list[tuple[str, str]]] = []
        held: set[str] = set()
        tokens = 0
        for pair in pairs:
            new = [text for text in dict.fromkeys(pair) if text not in held]
            more = sum(self.model.length(text) for text in new)
            if not lots or tokens + more > self.kept:
                lots.append([])
                held, tokens = set(), 0
                more = sum(self.model.length(text) for text in set(pair))
            lots[-1].append(pair)
            held.update(pair)
            tokens += more
        return lots

    def _match(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Triple]:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        known = dict(zip(texts, self.encoder(texts), strict=True))
        special = (self.model.start, self.model.end)
        return {pair: match(known[pair[0]], known[pair[1]], special) for pair in pairs}


def match(draft: Features, reference: Features, special: tuple[int, int]) -> Triple:
    """Return precision, recall and F of two texts' tokens.

    A side without tokens of its own gives 0, as upstream. Two texts of the same tokens give 1: every token finds itself, and
    what differs from 1 would be rounding.
    """
    ours, theirs = draft["ids"], reference["ids"]
    if len(ours) <= len(special) or len(theirs) <= len(special):
        return 0.0, 0.0, 0.0
    ours_count, theirs_count = ~np.isin(ours, special), ~np.isin(theirs, special)
    if not ours_count.any() or not theirs_count.any():
        return 0.0, 0.0, 0.0
    if np.array_equal(ours, theirs):
        return 1.0, 1.0, 1.0
    vectors, others = (np.asarray(side["vectors"], dtype=np.float32) for side in (draft, reference))
    similarity = np.minimum(vectors @ others.T, 1.0)
    precision = float(similarity.max(axis=1)[ours_count].mean(dtype=np.float64))
    recall = float(similarity.max(axis=0)[theirs_count].mean(dtype=np.float64))
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


@lru_cache(maxsize=4)
def opened(folder: Path) -> PairScorer:
    """Return the scorer of a folder of weights, loaded once per process."""
    return PairScorer(Distilroberta(folder), default_cache())


def _triple(features: Features) -> Triple:
    precision, recall, f = (float(value) for value in features["prf"])
    return precision, recall, f


def _read_config(folder: Path, layer: int) -> dict[str, Any]:
    """Return ``config.json``, checked for what this file can run."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MissingError(f"BERTScore: {folder / 'config.json'} cannot be read ({error}); {_REPAIR}") from error
    config = {"layer_norm_eps": 1e-5, "type_vocab_size": 1, "hidden_act": "gelu", **config}
    if config.get("model_type") != "roberta" or config["hidden_act"] != "gelu":
        raise MissingError(
            f"BERTScore: {folder / 'config.json'} describes a {config.get('model_type')!r} model with activation "
            f"{config['hidden_act']!r}, not 'roberta' with 'gelu'; {_REPAIR}"
        )
    if config["num_hidden_layers"] < layer:
        raise MissingError(
            f"BERTScore: {folder} has {config['num_hidden_layers']} layers, {layer} are needed; {_REPAIR}"
        )
    return config


def _read_tokenizer(folder: Path) -> Tokenizer:
    """Return the byte-level BPE tokeniser of ``vocab.json`` and ``merges.txt``, with RoBERTa's special tokens."""
    try:
        vocabulary, merges = BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the Rust side raises plain Exceptions
        raise MissingError(
            f"BERTScore: vocab.json or merges.txt in {folder} cannot be read ({error}); {_REPAIR}"
        ) from error
    lacking = [name for name in _SPECIAL if name not in vocabulary]
    if lacking:
        raise MissingError(f"BERTScore: {folder / 'vocab.json'} has no {', '.join(lacking)}; {_REPAIR}")
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(
        [AddedToken(name, lstrip=name == "<mask>", normalized=False, special=True) for name in _SPECIAL]
    )
    return tokenizer


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the encoder, without the prefix ``roberta.``."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    rows = {"word_": "vocab_size", "position_": "max_position_embeddings", "token_type_": "type_vocab_size"}
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{kind}embeddings.weight": (config[key], size) for kind, key in rows.items()
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
        dense = dict.fromkeys(
            [f"attention.self.{part}" for part in _ATTENTION] + ["attention.output.dense"], (size, size)
        )
        for name, shape in (dense | {"intermediate.dense": (inner, size), "output.dense": (size, inner)}).items():
            shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    return shapes | {f"{name}.{kind}": (size,) for name in norms for kind in ("weight", "bias")}


def _read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of the encoder by name, without the prefix ``roberta.``; every name and shape is checked."""
    file = folder / "model.safetensors"
    try:
        if file.is_file():
            held = load_file(file)
        else:
            file = folder / "pytorch_model.bin"
            held = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, UnpicklingError, EOFError) as error:
        raise MissingError(
            f"BERTScore: {file} cannot be read ({error}); it is cut short or damaged. {_REPAIR}"
        ) from error
    found = {name.removeprefix("roberta."): tensor for name, tensor in held.items() if not _UNUSED.match(name)}
    wanted = _shapes(config)
    problems = {
        "lacks": sorted(wanted.keys() - found.keys()),
        "has unknown": sorted(found.keys() - wanted.keys()),
        "has in another shape": sorted(n for n in wanted.keys() & found.keys() if tuple(found[n].shape) != wanted[n]),
    }
    told = "; ".join(f"{kind} {len(names)}: {', '.join(names[:5])}" for kind, names in problems.items() if names)
    if told:
        raise MissingError(f"BERTScore: {file} is not the encoder that config.json describes. It {told}. {_REPAIR}")
    return found


def _pack(found: Mapping[str, torch.Tensor], layer: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the tensors of the layers that run, float32 on the device; query, key and value in one matrix."""
    words, places, kinds = (
        found[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
    )
    packed = {"words": words, "places": places, "type": kinds[0]}
    for name, tensor in found.items():
        if name.startswith("embeddings.LayerNorm"):
            packed[name] = tensor
        number = re.match(r"encoder\.layer\.(\d+)\.", name)
        if number and int(number[1]) < layer:
            packed[name.removeprefix("encoder.")] = tensor
    for place in range(layer):
        for kind in ("weight", "bias"):
            parts = [packed.pop(f"layer.{place}.attention.self.{part}.{kind}") for part in _ATTENTION]
            packed[f"layer.{place}.qkv.{kind}"] = torch.cat(parts)
    return {name: tensor.to(device, torch.float32) for name, tensor in packed.items()}
