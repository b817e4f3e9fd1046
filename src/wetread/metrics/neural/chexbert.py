"""CheXbert: a BERT that reads 14 labels off a report. Our own code for the official weights.

Smit et al. 2020 (arXiv 2004.09167). Text, truncation, special tokens and heads as in f1chexbert 0.0.2 and
CXR-Report-Metric: white space runs become one space, uncased word pieces, at most 512 tokens of which the last is [SEP]; a
text without tokens is [CLS] [SEP]. What is read off it: the class of each head and the [CLS] vector of the last layer.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from wetread.errors import MissingError
from wetread.metrics.cache import Features
from wetread.metrics.neural.packed import BertShape, PackedBert, check_finite, check_names
from wetread.metrics.neural.products import best_device, dense, dtype_of, filled
from wetread.metrics.weights import Precision, WeightsSpec, fingerprint, locate

CHECKPOINT, CONFIG, VOCABULARY = "chexbert.pth", "config.json", "vocab.txt"
TOKENIZER = WeightsSpec(
    "CheXbert's tokenizer", "chexbert/bert-base-uncased", (VOCABULARY, CONFIG), "google-bert/bert-base-uncased"
)
"""Vocabulary and config; the checkpoint holds neither."""
VERSION = "2"
"""Changes when any feature may change."""
LONGEST = 512
"""Tokens of the longest text, special tokens included."""
HEADS = (4,) * 13 + (2,)
"""Classes of each head: blank, positive, negative, uncertain; the last one, No Finding, has the first two."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = 100
_STATE, _PREFIX, _BERT = "model_state_dict", "module.", "bert."
_UNUSED = ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "bert.embeddings.position_ids")
_DAMAGE = (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError)


class CheXbert:
    """CheXbert as a ``TextModel``.

    Parameters
    ----------
    folder
        Folder with ``chexbert.pth`` and, there or in its sub-folder ``bert-base-uncased``, ``vocab.txt`` and ``config.json``.
    precision
        What the encoder computes with; the heads compute with float32 at any.
    device
        Where it computes; None: the GPU when there is one.

    Raises
    ------
    MissingError
        When a file is not there, is damaged, or holds other weights than CheXbert's, which are named.
    """

    def __init__(self, folder: Path, precision: Precision = "fp32", device: str | torch.device | None = None) -> None:
        tokenizer = tokenizer_folder(folder)
        shape = BertShape.read(tokenizer / CONFIG, "bert")
        state = _read_state(folder / CHECKPOINT)
        names = {f"{_BERT}{name}": size for name, size in shape.names().items()}
        for number, classes in enumerate(HEADS):
            names[f"linear_heads.{number}.weight"] = (classes, shape.hidden)
            names[f"linear_heads.{number}.bias"] = (classes,)
        used = {name: value for name, value in state.items() if name not in _UNUSED}
        check_names(used, names, str(folder / CHECKPOINT))
        check_finite(used, f"CheXbert: {folder / CHECKPOINT}")
        self._tokenizer, self._first, self._last = read_tokenizer(tokenizer / VOCABULARY, shape.words)
        where = torch.device(device) if device else best_device()
        encoder = {name.removeprefix(_BERT): value for name, value in used.items() if name.startswith(_BERT)}
        self._bert = PackedBert(encoder, shape, where, dtype_of(precision))
        # On the CPU in float32 at any precision: they cost nothing, and a label hangs on their last digits.
        self._heads = [
            torch.cat([used[f"linear_heads.{number}.{part}"].float() for number in range(len(HEADS))])
            for part in ("weight", "bias")
        ]
        self._longest = min(LONGEST, shape.longest)
        self.signature = f"CheXbert|v{VERSION}|{fingerprint(files(folder))}|{precision} on {where.type}"

    def length(self, text: str) -> int:
        """Return the number of tokens of a text, special tokens included: 2 to 512."""
        return len(self.ids(text))

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, special tokens included."""
        found = self._tokenizer.encode(_cleaned(text), add_special_tokens=False).ids
        return [self._first, *found[: self._longest - 2], self._last]

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return of each text ``classes``, int8 (14): 0 blank, 1 positive, 2 negative, 3 uncertain; and ``cls``, float32 (hidden)."""
        vectors, logits = self.logits(texts)
        classes = torch.stack([head.argmax(dim=1) for head in logits], dim=1).to(torch.int8).numpy()
        rows = vectors.numpy()
        return [{"classes": classes[place].copy(), "cls": rows[place].copy()} for place in range(len(texts))]

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Return the [CLS] vectors, float32 (texts, hidden), and the logits of each head, (texts, 4) and of the last (texts, 2)."""
        vectors = self._bert.first([self.ids(text) for text in texts]).cpu()
        return vectors, list(torch.split(dense(filled(vectors), *self._heads)[: len(vectors)], list(HEADS), dim=1))


def build(folder: Path, precision: Precision = "fp32") -> CheXbert:
    """Return CheXbert; what ``encoder.opened`` takes."""
    return CheXbert(folder, precision)


def files(folder: Path) -> list[Path]:
    """Return the files that are read: the checkpoint, the vocabulary and the config (``MissingError`` as below)."""
    return [folder / CHECKPOINT, *(tokenizer_folder(folder) / name for name in TOKENIZER.files)]


def tokenizer_folder(folder: Path) -> Path:
    """Return where the vocabulary and the config lie: beside the checkpoint, or on the hub when the checkpoint is from there.

    Raises ``MissingError`` that names what is lacking.
    """
    for place in (folder / "bert-base-uncased", folder):
        if all((place / name).is_file() for name in TOKENIZER.files):
            return place
    if folder.parent.name == "snapshots":  # of the hub's cache, which keeps each repository apart
        return locate(TOKENIZER)
    raise MissingError(
        f"CheXbert: neither {folder / 'bert-base-uncased'} nor {folder} holds {VOCABULARY} and {CONFIG}. They come from "
        f"{TOKENIZER.hub} on the Hugging Face hub; put copies there."
    )


def read_tokenizer(file: Path, words: int) -> tuple[Tokenizer, int, int]:
    """Return the uncased word-piece tokenizer of ``vocab.txt`` and the ids of [CLS] and [SEP].

    ``words`` is the number of lines that the model knows (``MissingError`` when the file has another).
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise MissingError(
            f"{file} cannot be read ({type(error).__name__}: {error}); put the official one there."
        ) from error
    lines = lines[:-1] if lines[-1] == "" else lines
    vocabulary = {line: number for number, line in enumerate(lines)}
    lacking = [name for name in _SPECIAL if name not in vocabulary]
    if lacking or len(lines) != words:
        raise MissingError(
            f"{file} has {len(lines)} entries{', without ' + ', '.join(lacking) if lacking else ''}; the model has {words} "
            f"with {', '.join(_SPECIAL)} among them. Put the vocabulary that belongs to it there."
        )
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_WORD))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _SPECIAL])
    return tokenizer, vocabulary["[CLS]"], vocabulary["[SEP]"]


def _cleaned(text: str) -> str:
    # Half of a surrogate pair is no character; the tokenizer could not take it.
    return " ".join(text.encode("utf-8", "ignore").decode("utf-8").split())


def _read_state(file: Path) -> Mapping[str, Tensor]:
    """Return the weights by name, without ``module.``; tensors only, no code of the file is run."""
    if not file.is_file():
        raise MissingError(f"CheXbert: {file} is not there.")
    try:
        # Mapped, the optimizer's state, twice as large as the weights, is never read; files from before torch 1.6 cannot be.
        data = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file) or None)
    except _DAMAGE as error:
        said = " ".join(str(error).split())[:160]
        raise MissingError(
            f"CheXbert: {file} is damaged, truncated or no file of tensors ({type(error).__name__}: {said}); fetch it again."
        ) from error
    state = data.get(_STATE) if isinstance(data, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise MissingError(
            f"CheXbert: {file} holds {found[:160]}; {_STATE!r} with tensors by name is needed. Use the official file."
        )
    return {str(name).removeprefix(_PREFIX): value for name, value in state.items()}
