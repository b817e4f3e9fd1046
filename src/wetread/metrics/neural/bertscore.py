"""The network behind BERTScore: distilroberta-base up to one layer, and the matching of two texts' tokens.

The encoder is RoBERTa, of which only the layers that are needed run, without a pooler. The text becomes tokens as the official
code's slow tokeniser makes them.

The vectors of a text are large (45 tokens: 140 kB), so they are kept in memory up to ``KEPT`` tokens and never on disk; what
goes to the cache is the result of a pair, three numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from wetread.errors import MissingError
from wetread.metrics.bertscore import LAYER
from wetread.metrics.cache import Cache, Features
from wetread.metrics.encoder import Encoder, default_cache
from wetread.metrics.neural.packed import BertShape, PackedBert, check_finite, check_names
from wetread.metrics.neural.products import best_device, dense, dtype_of, filled
from wetread.metrics.weights import Precision, fingerprint

VERSION = "2"
"""Changes when the same weights may give another vector."""
KEPT = 131_072
"""Tokens whose vectors are kept in memory, some 400 MB at 768 dimensions; also the most that is encoded for one round."""
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_UNMERGED = re.compile(r"<.*>|madeupword\d+")
"""Entries of the official vocabulary that no merge makes, besides the bytes."""
_REPAIR = "fetch distilbert/distilroberta-base anew, or name another folder with --weights."
_UNUSED = re.compile(r"lm_head\.|(roberta\.)?pooler\.|(roberta\.)?embeddings\.position_ids$")

Triple = tuple[float, float, float]


class Distilroberta:
    """A ``TextModel``: text to the unit vectors of its tokens after one layer.

    Parameters
    ----------
    folder
        Folder of the official files.
    precision
        What the encoder computes with; vectors are compared in float32 at any.
    layer
        Layer whose vectors are taken.
    device
        Where it computes; None: the GPU when there is one.
    """

    def __init__(
        self, folder: Path, precision: Precision = "fp32", layer: int = LAYER, device: str | None = None
    ) -> None:
        shape = BertShape.read(folder / "config.json", "roberta")
        if shape.layers < layer:
            raise MissingError(f"BERTScore: {folder} has {shape.layers} layers, {layer} are needed; {_REPAIR}")
        self.layer = layer
        self.device = torch.device(device) if device else best_device()
        self.tokenizer = _read_tokenizer(folder)
        vocabulary = self.tokenizer.get_vocab()
        self.start, self.end = vocabulary["<s>"], vocabulary["</s>"]
        self.longest = min(shape.longest, 512)
        self._encoder = PackedBert(_read_weights(folder, shape), shape, self.device, dtype_of(precision), layer)
        self.signature = (
            f"distilroberta-base|{VERSION}|{fingerprint(files(folder))}|layer {layer}|{precision} on {self.device.type}"
        )

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

    @torch.inference_mode()
    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return for each text ``vectors`` (tokens × dimensions, unit length, float32) and ``ids`` (tokens)."""
        rows = [self.tokens(text) for text in texts]
        vectors = self._encoder.tokens(rows)
        units = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        parts = torch.split(units.cpu(), [len(row) for row in rows])
        return [
            {"vectors": part.numpy().copy(), "ids": np.array(row, dtype=np.int32)}
            for part, row in zip(parts, rows, strict=True)
        ]


class TokenEncoder(Encoder):
    """An encoder whose memory is measured in tokens, the texts used last being kept; it has no cache on disk."""

    def __init__(self, model: Distilroberta, kept: int = KEPT) -> None:
        super().__init__(model)
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
    with torch.inference_mode():
        sides = (torch.from_numpy(np.asarray(side["vectors"], dtype=np.float32)) for side in (draft, reference))
        # Not by numpy, whose sums hang on the number of threads.
        products = dense(*map(filled, sides)).numpy()
    similarity = np.minimum(products[: len(ours), : len(theirs)], 1.0)
    precision = float(similarity.max(axis=1)[ours_count].mean(dtype=np.float64))
    recall = float(similarity.max(axis=0)[theirs_count].mean(dtype=np.float64))
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


@lru_cache(maxsize=4)
def opened(folder: Path, precision: Precision = "fp32") -> PairScorer:
    """Return the scorer of a folder of weights, loaded once per process."""
    return PairScorer(Distilroberta(folder, precision), default_cache())


def files(folder: Path) -> list[Path]:
    """Return the files of a folder of distilroberta-base that are read."""
    weights = "model.safetensors" if (folder / "model.safetensors").is_file() else "pytorch_model.bin"
    return [folder / name for name in ("config.json", "vocab.json", "merges.txt", weights)]


def _triple(features: Features) -> Triple:
    precision, recall, f = (float(value) for value in features["prf"])
    return precision, recall, f


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
    _check_merges(folder, vocabulary, merges)
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(
        [AddedToken(name, lstrip=name == "<mask>", normalized=False, special=True) for name in _SPECIAL]
    )
    return tokenizer


def _check_merges(folder: Path, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Refuse merges that are not those of the vocabulary (``MissingError``): texts would fall into other tokens, unnoticed."""
    made = {left + right for left, right in merges}
    unmade = [word for word in vocabulary if len(word) > 1 and word not in made and not _UNMERGED.fullmatch(word)]
    unknown = [word for word in made if word not in vocabulary]
    faults = [
        f"{what}, {len(words)} of them, {min(words)!r} among them"
        for what, words in (("no merges make entries of vocab.json", unmade), ("merges make no entry of it", unknown))
        if words
    ]
    if faults:
        raise MissingError(
            f"BERTScore: merges.txt in {folder} does not belong to vocab.json or is cut short: {'; '.join(faults)}; {_REPAIR}"
        )


def _read_weights(folder: Path, shape: BertShape) -> dict[str, torch.Tensor]:
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
    check_names(found, shape.names(), f"BERTScore: {file}")
    check_finite(found, f"BERTScore: {file}")
    return found
