"""The two networks behind RaTEScore: a DeBERTa-v2 that finds entities in a sentence, and a BERT or MPNet that reads an entity.

Layout and steps as in RaTEScore 0.6.0. transformers reads both; the tokenizers it does not, since transformers 5 builds
DeBERTa's without its normaliser and then reads some characters as unknown. Whatever a checkpoint says of itself, the order of
its labels above all, is read from its files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional
from transformers import AutoModel, AutoModelForTokenClassification
from transformers.utils import logging as transformers_logging

from wetread.errors import MissingError
from wetread.metrics.cache import Features
from wetread.metrics.encoder import opened
from wetread.metrics.neural.foreign import Foreign
from wetread.metrics.neural.packed import BertShape, Kind, PackedBert, check_finite
from wetread.metrics.neural.products import best_device, dense, dtype_of, filled, padded
from wetread.metrics.ratescore import TYPES, Entity
from wetread.metrics.weights import Precision, fingerprint

SENTENCE = 512
"""Tokens of a sentence that are read, special tokens included."""
ENTITY = 30
"""Tokens of an entity that are read, special tokens included."""
VERSION = "3"
"""Changes when the same weights may give another label or vector."""
_SETTINGS = "tokenizer_config.json"
_REPAIR = "use the official files of the hub, see --weights."
_UNUSED = ("pooler.", "position_ids")
_SPECIAL = {
    "bert": {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    },
    "mpnet": {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "[UNK]",
        "mask_token": "<mask>",
    },
}


class EntityFinder:
    """A ``TextModel``: sentence to its entities, the UTF-8 bytes of a JSON list of (text, type) under ``entities``.

    The encoder computes with ``precision``, the labels' head with float32 at any.
    """

    def __init__(self, folder: Path, precision: Precision = "fp32") -> None:
        config = _read_json(folder / "config.json")
        self.labels = _read_labels(config, folder)
        self.tokenizer = _read_tokenizer(folder / "tokenizer.json", SENTENCE)
        self.pad = int(config.get("pad_token_id") or 0)
        device = best_device()
        network = _load(AutoModelForTokenClassification, folder).to(device)
        self._head = network.classifier.weight.detach(), network.classifier.bias.detach()
        self._encoder = Foreign(network.base_model, self.pad, device, dtype_of(precision))
        self.signature = f"RaTE-NER|{VERSION}|{fingerprint(files(folder))}|{precision} on {device.type}"

    def length(self, text: str) -> int:
        """Return the number of tokens, ``[CLS]`` and ``[SEP]`` included."""
        return len(self.tokenizer.encode(text).ids)

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return the entities of each sentence."""
        found: list[Features] = []
        for tokens, labels in self.label(texts):
            entities = json.dumps(self.entities(tokens, labels), ensure_ascii=False).encode()
            found.append({"entities": np.frombuffer(entities, dtype=np.uint8).copy()})
        return found

    def label(self, texts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
        """Return the tokens of each sentence, special ones and ``[UNK]`` included, and the label of each."""
        rows = [self.tokenizer.encode(text) for text in texts]
        with torch.inference_mode():
            hidden = self._encoder.tokens([row.ids for row in rows])
            chosen = dense(filled(hidden), *self._head)[: len(hidden)].argmax(dim=1).cpu()
        parts = torch.split(chosen, [len(row.ids) for row in rows])
        # A row's own tokens spell out what the vocabulary lacks; upstream names each token by its number.
        return [
            ([str(self.tokenizer.id_to_token(one)) for one in row.ids], [self.labels[label] for label in part.tolist()])
            for row, part in zip(rows, parts, strict=True)
        ]

    def entities(self, tokens: Sequence[str], labels: Sequence[str]) -> list[Entity]:
        """Return the entities that the labels of one sentence mark, as text and type."""
        # Upstream counts the tokens that are no padding; "[PAD]" written in a report makes it lose as many at the end.
        pad = self.tokenizer.id_to_token(self.pad)
        kept = [*tokens][: len(tokens) - sum(token == pad for token in tokens)]
        return [
            (self.tokenizer.decoder.decode(kept[start : end + 1]), kind)
            for start, end, kind in entity_spans(kept, labels)
        ]


class EntityEncoder:
    """A ``TextModel``: entity to the last layer's vector of its first token, float32 (hidden), under ``vector``."""

    def __init__(self, folder: Path, precision: Precision = "fp32") -> None:
        config = _read_json(folder / "config.json")
        if (folder / "tokenizer.json").is_file():
            self.tokenizer = _read_tokenizer(folder / "tokenizer.json", ENTITY)
        else:
            self.tokenizer = _word_pieces(folder, config)
        self.pad = int(config.get("pad_token_id") or 0)
        device = best_device()
        self._encoder = _entity_encoder(_load(AutoModel, folder), folder, config, self.pad, device, precision)
        self.signature = f"RaTE-entity|{VERSION}|{fingerprint(files(folder))}|{precision} on {device.type}"

    def length(self, text: str) -> int:
        """Return the number of tokens, special ones included; at most ``ENTITY``."""
        return len(self.tokenizer.encode(text).ids)

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return the vector of each entity."""
        rows = [self.tokenizer.encode(text).ids for text in texts]
        if isinstance(self._encoder, PackedBert):
            found = self._encoder.first(rows)
        else:
            found = self._encoder.tokens(rows)[np.cumsum([0, *map(len, rows)])[:-1]]
        return [{"vector": vector.copy()} for vector in found.cpu().numpy()]


class ListEncoder:
    """A ``TextModel``: JSON list of entities to their vectors, (n, hidden), under ``vectors``, as upstream computes them.

    That is by transformers and in one batch with padding, so that rounding falls as it does there; see
    ``ratescore.score_entities``. Lists share no batch.
    """

    def __init__(self, folder: Path, precision: Precision = "fp32") -> None:
        self._entities = cast(EntityEncoder, opened(EntityEncoder, folder, precision).model)
        self._device = best_device()
        self._network = _load(AutoModel, folder).to(self._device, dtype_of(precision))
        self.signature = f"{self._entities.signature}|list"

    def length(self, text: str) -> int:
        """Return about how many tokens the list has."""
        return len(text)

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return the vectors of each list."""
        return [{"vectors": self._vectors(json.loads(text))} for text in texts]

    def _vectors(self, entities: Sequence[str]) -> NDArray[np.float32]:
        rows = [self._entities.tokenizer.encode(entity).ids for entity in entities]
        width = max(len(row) for row in rows)
        # A handful of rows would be added up in another order, and in yet another one by more threads.
        more = max(0, -(-padded(1, self._device) // width) - len(rows))
        ids = torch.full((len(rows) + more, width), self._entities.pad)
        mask = torch.zeros_like(ids)
        for place, row in enumerate([*rows, *rows[-1:] * more]):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        with torch.inference_mode():
            found = self._network(input_ids=ids.to(self._device), attention_mask=mask.to(self._device))
            first = found.last_hidden_state[: len(rows), 0].float().cpu()
        vectors: NDArray[np.float32] = first.contiguous().numpy()
        return vectors


def files(folder: Path) -> list[Path]:
    """Return the files of a network's folder that are read."""
    words = ["tokenizer.json"] if (folder / "tokenizer.json").is_file() else ["vocab.txt", _SETTINGS]
    return [path for name in ("config.json", "model.safetensors", *words) if (path := folder / name).is_file()]


def nearest(own: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which row of ``other`` (m, hidden) has the highest cosine with each of ``own`` (n, hidden), and the cosines.

    The same operations in the same order as upstream: among equal ones rounding and ``topk`` decide, as there.
    """
    ours, theirs = (functional.normalize(torch.from_numpy(rows), p=2, dim=1) for rows in (own, other))
    best = [torch.topk(torch.matmul(theirs, row), 1) for row in ours]
    return (
        np.array([int(one.indices[0]) for one in best], dtype=np.int64),
        np.array([float(one.values[0]) for one in best], dtype=np.float32),
    )


def entity_spans(tokens: Sequence[str], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return first token, last token and type of each entity, as RaTEScore 0.6.0 reads labels.

    A token's label is read together with the next one's. An I that no B begins marks nothing. An entity that is still open at
    the end lasts to the last token, but is lost when, since the last O, some label other than its own was directly followed
    by a B. Special tokens are passed over; they count as what comes next, under the label that they got.

    Parameters
    ----------
    tokens
        Tokens of the sentence with ``[CLS]`` and ``[SEP]``.
    labels
        Label of each token, of these and of any that follow.
    """
    found: list[tuple[int, int, str]] = []
    start: int | None = None
    kind, stale = "", False
    for place in range(min(len(tokens), len(labels) - 1)):
        mark, following = labels[place][0], labels[place + 1][0]
        if tokens[place] in ("[CLS]", "[SEP]") or mark == "O" or following == mark == "I":
            continue
        if mark == "B":
            start, kind = place, labels[place][2:]
            if following == "I":
                continue
        if start is not None:
            found.append((start, place, kind))
        stale = following == "B"
        start, kind = (place, labels[place][2:]) if stale else (None, "")
    if start is not None and not stale:
        found.append((start, len(tokens) - 2, kind))
    return found


def _entity_encoder(
    network: Any, folder: Path, config: Mapping[str, Any], pad: int, device: torch.device, precision: Precision
) -> PackedBert | Foreign:
    if config.get("model_type") in get_args(Kind) and config.get("hidden_act", "gelu") == "gelu":
        return PackedBert(network.state_dict(), BertShape.read(folder / "config.json"), device, dtype_of(precision))
    return Foreign(network, pad, device, dtype_of(precision))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MissingError(f"RaTEScore: {file} cannot be read ({type(error).__name__}: {error}); {_REPAIR}") from error
    if not isinstance(data, dict):
        raise MissingError(f"RaTEScore: {file} holds a {type(data).__name__}, not an object; {_REPAIR}")
    return data


def _read_labels(config: dict[str, Any], folder: Path) -> list[str]:
    """Return the labels in the order of the classifier's rows."""
    named = config.get("id2label") or {}
    labels = [str(named.get(str(place), "")) for place in range(len(named))]
    allowed = {"O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BI")}
    wrong = [label for label in labels if label not in allowed]
    if not labels or wrong:
        raise MissingError(
            f"RaTEScore: {folder / 'config.json'} has the labels {', '.join(map(repr, labels))}; allowed are "
            f"{', '.join(sorted(allowed))}, numbered from 0 in id2label. {_REPAIR}"
        )
    return labels


def _read_tokenizer(file: Path, longest: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot use
        said = " ".join(str(error).split())[:160]
        raise MissingError(f"RaTEScore: {file} is no tokenizer ({type(error).__name__}: {said}); {_REPAIR}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return tokenizer


def _word_pieces(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """Return the word-piece tokenizer of ``vocab.txt`` with what ``tokenizer_config.json``, if there, says of it."""
    settings = _read_json(folder / _SETTINGS) if (folder / _SETTINGS).is_file() else {}
    kind = str(config.get("model_type"))
    if kind not in _SPECIAL:
        raise MissingError(
            f"RaTEScore: {folder / 'config.json'} is of model type {kind!r}; without a tokenizer.json it must be one of "
            f"{', '.join(sorted(_SPECIAL))}. {_REPAIR}"
        )
    try:
        lines = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise MissingError(
            f"RaTEScore: {folder / 'vocab.txt'} cannot be read ({type(error).__name__}: {error}); {_REPAIR}"
        ) from error
    vocabulary = {line: number for number, line in enumerate(lines)}
    names = {role: _content(settings.get(role, name)) for role, name in _SPECIAL[kind].items()}
    lacking = [name for name in names.values() if name not in vocabulary]
    if lacking:
        raise MissingError(f"RaTEScore: {folder / 'vocab.txt'} lacks {', '.join(lacking)}; {_REPAIR}")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk_token"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False, lstrip=(kind, role) == ("mpnet", "mask_token"))
            for role, name in names.items()
        ]
    )
    first, last = ((names[role], vocabulary[names[role]]) for role in ("cls_token", "sep_token"))
    tokenizer.post_processor = processors.TemplateProcessing(f"{first[0]}:0 $A:0 {last[0]}:0", None, [first, last])
    tokenizer.enable_truncation(ENTITY)
    return tokenizer


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _load(kind: Any, folder: Path) -> Any:
    """Load a checkpoint; every weight that counts must be there, and none that does not belong."""
    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what it would say of unused weights is looked at below
    logging.disable_progress_bar()
    try:
        model, told = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # truncated, no checkpoint, an unknown architecture: a dozen kinds
        said = " ".join(str(error).split())[:200]
        raise MissingError(
            f"RaTEScore: the weights in {folder} cannot be loaded ({type(error).__name__}: {said}); {_REPAIR}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    faults = {
        "lack": _names(told["missing_keys"]),
        "have beyond those of the model": _names(told["unexpected_keys"]),
        "have of another shape": _names(told["mismatched_keys"]),
    }
    said = "; ".join(f"{fault} {', '.join(names[:5])}" for fault, names in faults.items() if names)
    if said:
        raise MissingError(f"RaTEScore: the weights in {folder} {said}; {_REPAIR}")
    check_finite(model.state_dict(), f"RaTEScore: {folder}")
    return model.eval()


def _names(keys: Any) -> list[str]:
    names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
    return [name for name in names if not any(part in name for part in _UNUSED)]
