"""RadGraph's network on today's stack: texts in, entities and relations out, in batches.

Own inference code for the checkpoints of the ``radgraph`` package (version 0.1.18, DyGIE++ on AllenNLP), which reads one text
at a time. Words are split by ``graphs.words_of``, each word into word pieces on its own, and a word's vector is the mean of
its pieces' vectors. Long texts are cut into segments of the checkpoint's ``max_length``, encoded apart and joined again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from torch import Tensor
from transformers import AutoConfig, AutoModel

from wetread.errors import MissingError
from wetread.metrics.cache import Features
from wetread.metrics.graphs import Graph, words_of
from wetread.metrics.neural.foreign import Foreign
from wetread.metrics.neural.packed import BertShape, PackedBert
from wetread.metrics.neural.products import best_device, dtype_of
from wetread.metrics.neural.radgraph_archive import ENCODER, WEIGHTS, Archive, check_names, read
from wetread.metrics.neural.radgraph_heads import Found, Heads
from wetread.metrics.weights import Precision

VERSION = "3"
"""Changes when the same checkpoint may give another graph."""
ENTITIES, RELATIONS = "entities", "relations"
"""Names of the features of a text, which hold numbers only: see ``radgraph_heads.Found``."""
_SPECIAL = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_KNOWN_WORDS = 200_000
# Tokenizer classes that, in the official code's transformers, add no special tokens to a segment.
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
_GENERIC_MODELS = ("modernbert",)


def open_original(folder: Path, precision: Precision = "fp32") -> RadGraphModel:
    """Open the original checkpoint, ``radgraph``, in the folder that ``weights.locate`` gave."""
    return RadGraphModel(read(folder, "radgraph"), precision)


def open_xl(folder: Path, precision: Precision = "fp32") -> RadGraphModel:
    """Open ``radgraph-xl``."""
    return RadGraphModel(read(folder, "radgraph-xl"), precision)


def open_modern(folder: Path, precision: Precision = "fp32") -> RadGraphModel:
    """Open ``modern-radgraph-xl``."""
    return RadGraphModel(read(folder, "modern-radgraph-xl"), precision)


OPEN = {"radgraph": open_original, "radgraph-xl": open_xl, "modern-radgraph-xl": open_modern}
"""How each checkpoint is opened, by its name."""


@dataclass(frozen=True)
class Cut:
    """One text as the encoder reads it."""

    segments: tuple[tuple[int, ...], ...]
    """Word-piece ids of each segment, special tokens included."""
    word: NDArray[np.int64]
    """For each word piece that a word's vector is made of, the number of the word."""
    piece: NDArray[np.int64]
    """For each of these, its place in the segments laid one after another."""
    words: int
    """Words of the text."""


class Wordpieces:
    """The encoder's tokenizer, word by word."""

    def __init__(self, archive: Archive) -> None:
        folder, self.size = archive.encoder, archive.max_length
        settings = _json(folder / "tokenizer_config.json")
        try:
            self._tokenizer, self.start, self.end = _tokenizer(folder, settings)
        except MissingError:
            raise
        except Exception as error:  # the tokenizers library raises nothing more special
            raise MissingError(f"{archive.name}: the tokenizer in {folder} cannot be read ({error}).") from error
        self.count = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._known: dict[str, tuple[int, ...]] = {}
        model = str(_json(folder / "config.json").get("model_type", ""))
        kind = str(settings.get("tokenizer_class") or (_GENERIC[0] if model in _GENERIC_MODELS else ""))
        # Such a tokenizer counts special tokens and shifts the words by them, yet leaves them out of the segments.
        self.adds = kind not in _GENERIC

    def __call__(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the word pieces of each word, without special tokens; a word of control characters has none."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if len(self._known) + len(new) > _KNOWN_WORDS:
            self._known.clear()
            new = list(dict.fromkeys(words))
        # The official reader takes the slash off these two. Half of a surrogate pair is no character: it is left out.
        spelled = [(word[1:] if word in ("/.", "/?") else word).encode("utf-8", "ignore").decode() for word in new]
        for word, encoding in zip(new, self._tokenizer.encode_batch(spelled, add_special_tokens=False), strict=True):
            self._known[word] = tuple(encoding.ids)
        return [self._known[word] for word in words]

    def cut(self, words: Sequence[str]) -> Cut:
        """Return the segments of a text and where its words' pieces are in them."""
        pieces = self(words)
        ids = [one for word in pieces for one in word]
        added = len(self.start) + len(self.end)
        room = self.size - added
        # Words without any word piece are read as well, each as a vector of zeros, from a segment of special tokens alone.
        parts = [tuple(ids[at : at + room]) for at in range(0, max(len(ids), bool(words)), room)]
        if self.adds:
            parts = [(*self.start, *part, *self.end) for part in parts]
        flat = [one for part in parts for one in part]
        # The encoder cuts once more, at the full length; the two agree only when special tokens were added.
        segments = tuple(tuple(flat[at : at + self.size]) for at in range(0, len(flat), self.size))
        joined = joined_places(len(flat), self.size, len(self.start), len(self.end))
        word = np.repeat(np.arange(len(words)), [len(one) for one in pieces])
        place = np.arange(len(ids)) + len(self.start)
        there = place < len(joined)
        return Cut(segments, word[there], joined[place[there]], len(words))


def joined_places(total: int, size: int, start: int, end: int) -> NDArray[np.int64]:
    """Return, for each place of a text joined again from its segments, the place it came from.

    Parameters
    ----------
    total
        Word pieces in all segments together, ``size`` in each but the last.
    size
        Word pieces of a segment.
    start, end
        Places at either end of a segment that are taken for special tokens and left out, but for the first and the last.
    """
    if total <= size:
        return np.arange(total)
    count = math.ceil(total / size)
    inner = np.arange(count * size).reshape(count, size)[:, start : size - end].reshape(-1)
    tail = total - 1 - np.arange(end)
    inner = np.concatenate((inner, np.zeros(end, dtype=inner.dtype)))
    inner[tail - (count * (start + end) - end)] = tail
    return np.concatenate((np.arange(start), inner))[: total - (count - 1) * (start + end)]


class RadGraphModel:
    """One checkpoint as a ``TextModel``; the encoder computes with ``precision``, the heads with float32 at any."""

    def __init__(self, archive: Archive, precision: Precision = "fp32") -> None:
        self.name = archive.name
        self.device = best_device()
        self.signature = f"{archive.name}|{VERSION}|{archive.fingerprint}|{precision} on {self.device.type}"
        self.wordpieces = Wordpieces(archive)
        self.encoder, known = _encoder(archive, self.device, dtype_of(precision))
        self.heads = Heads(archive, self.device)
        if self.wordpieces.count > known:
            raise MissingError(
                f"{archive.name}: the tokenizer in {archive.encoder} has {self.wordpieces.count} word pieces, the model "
                f"knows {known}; put the files that belong together there."
            )

    def length(self, text: str) -> int:
        """Return the word pieces of a text with the special tokens of one segment."""
        pieces = self.wordpieces(words_of(text, self.name))
        return sum(map(len, pieces)) + len(self.wordpieces.start) + len(self.wordpieces.end)

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return entities and relations of each text. A text without words, or with nothing that the encoder could read, has no entities."""
        none = np.empty((0, 3), dtype=np.int32)
        found: list[Found] = [(none, none) for _ in texts]
        cuts = [self.wordpieces.cut(words_of(text, self.name)) for text in texts]
        able = [number for number, cut in enumerate(cuts) if cut.segments]
        if able:
            with torch.inference_mode():
                vectors = self._words([cuts[number] for number in able])
                graphs = self.heads(vectors, [cuts[number].words for number in able])
            for number, graph in zip(able, graphs, strict=True):
                found[number] = graph
        return [{ENTITIES: entities, RELATIONS: relations} for entities, relations in found]

    def graph(self, text: str, features: Features) -> Graph:
        """Return the graph of a text from what ``run`` found in it."""
        labels, names = self.heads.entity_labels, self.heads.relation_labels
        rows = ((first, last, labels[label]) for first, last, label in features[ENTITIES].tolist())
        return Graph.of(words_of(text, self.name), rows, features[RELATIONS], names)

    def _words(self, cuts: Sequence[Cut]) -> Tensor:
        """Return the vectors of all words of all texts, of shape (words, hidden), in single precision."""
        hidden = self.encoder.tokens([segment for cut in cuts for segment in cut.segments])
        word, piece, first_word, first_piece = [], [], 0, 0
        for cut in cuts:
            word.append(cut.word + first_word)
            piece.append(cut.piece + first_piece)
            first_word, first_piece = first_word + cut.words, first_piece + sum(map(len, cut.segments))
        where, what = (torch.from_numpy(np.concatenate(one)).to(self.device) for one in (word, piece))
        sums = hidden.new_zeros(first_word, hidden.shape[1]).index_add_(0, where, hidden[what])
        counts = torch.bincount(where, minlength=first_word).clamp_(min=1)
        return sums / counts[:, None]


def _encoder(archive: Archive, device: torch.device, dtype: torch.dtype) -> tuple[PackedBert | Foreign, int]:
    """Return the encoder with the archive's weights and how many word pieces it knows.

    Names that lack or are too many are refused (``MissingError``).
    """
    file = archive.encoder / "config.json"
    where = f"{archive.name}: {WEIGHTS} for the encoder of {archive.encoder}"
    state = {key: value for key, value in archive.state.items() if key.startswith(ENCODER)}
    if _json(file).get("model_type") == "bert":
        shape = BertShape.read(file)
        names = shape.names()
        for part, size in (("weight", (shape.hidden, shape.hidden)), ("bias", (shape.hidden,))):
            names[f"pooler.dense.{part}"] = size
        check_names(state, {ENCODER + key: size for key, size in names.items()}, where)
        bare = {key.removeprefix(ENCODER): value for key, value in state.items()}
        return PackedBert(bare, shape, device, dtype), shape.words
    try:
        network = cast(Any, AutoModel).from_config(AutoConfig.from_pretrained(str(archive.encoder)))
    except (OSError, ValueError, KeyError) as error:
        raise MissingError(f"{archive.name}: config.json in {archive.encoder} cannot be used ({error}).") from error
    check_names(state, {ENCODER + key: tuple(value.shape) for key, value in network.state_dict().items()}, where)
    network.load_state_dict({key.removeprefix(ENCODER): value.float() for key, value in state.items()}, assign=True)
    pad = int(network.config.pad_token_id or 0)
    return Foreign(network, pad, device, dtype), int(network.get_input_embeddings().num_embeddings)


def _tokenizer(folder: Path, settings: Mapping[str, Any]) -> tuple[Tokenizer, tuple[int, ...], tuple[int, ...]]:
    """Return the tokenizer and the special tokens that it puts before and after a text."""
    bert = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    path = folder / "tokenizer.json"
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # BERT's tokenizer class lets its settings overrule the file, as the official code's transformers does.
        if str(settings.get("tokenizer_class", "")).startswith("Bert") and tokenizer.normalizer is not None:
            tokenizer.normalizer = bert
        plain = tokenizer.encode("1", add_special_tokens=False).ids
        whole = tokenizer.encode("1").ids
        at = next(place for place in range(len(whole)) if whole[place : place + len(plain)] == plain)
        return tokenizer, tuple(whole[:at]), tuple(whole[at + len(plain) :])
    lines = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    vocabulary = {token.rstrip("\r"): place for place, token in enumerate(lines)}
    lacking = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in vocabulary]
    if lacking:
        raise MissingError(f"{folder / 'vocab.txt'} lacks {', '.join(lacking)}; put a fresh copy there.")
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = bert, pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in _SPECIAL if token in vocabulary])
    return tokenizer, (vocabulary["[CLS]"],), (vocabulary["[SEP]"],)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return cast(dict[str, Any], json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise MissingError(f"{path} is not JSON ({error}); put a fresh copy there.") from error
