"""The official RadGraph archives: finding them, reading them, and refusing those that are not whole.

An archive (``radgraph.tar.gz``, ``radgraph-xl.tar.gz``, ``modern-radgraph-xl.tar.gz``) holds ``config.json``,
``vocabulary/`` and ``weights.th``. The encoder's weights are inside ``weights.th``; its ``config.json`` and its tokenizer's
files lie beside the archive. Nothing is unpacked to the disk.
"""

from __future__ import annotations

import fnmatch
import io
import json
import math
import pickle
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wetread.errors import MissingError
from wetread.metrics.neural.packed import check_finite
from wetread.metrics.radgraph import WEIGHTS as SPECS
from wetread.metrics.weights import fingerprint, where_from
from wetread.models.hub import check_reachable

CONFIG, WEIGHTS, VOCABULARY = "config.json", "weights.th", "vocabulary"
UNPADDED = "non_padded_namespaces.txt"
ENCODER = "_embedder.token_embedder_bert._matched_embedder.transformer_model."
"""What the names of the encoder's weights begin with."""
WIDTHS = "_endpoint_span_extractor._span_width_embedding.weight"
_BUFFER = "embeddings.position_ids"
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
_TOKENIZER_CONFIG = "tokenizer_config.json"
_DAMAGE = (
    tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, pickle.UnpicklingError, ValueError, KeyError,
    AttributeError, TypeError,
)  # fmt: skip
_NAMED = 6


@dataclass(frozen=True)
class Archive:
    """What one checkpoint is made of."""

    name: str
    """``radgraph``, ``radgraph-xl`` or ``modern-radgraph-xl``."""
    config: Mapping[str, Any]
    """Its ``config.json``."""
    vocabulary: Mapping[str, tuple[str, ...]]
    """Namespace to labels, by index."""
    state: Mapping[str, Tensor]
    """Its weights by name, on the CPU."""
    encoder: Path
    """Folder of the encoder's config and tokenizer."""
    fingerprint: str
    """16 hex digits that stand for the contents of all its files."""

    @property
    def entity_namespace(self) -> str:
        """Namespace of its entity labels."""
        return f"{self.name}__ner_labels"

    @property
    def relation_namespace(self) -> str:
        """Namespace of its relation labels."""
        return f"{self.name}__relation_labels"

    @property
    def max_length(self) -> int:
        """Word pieces of one segment, with its special tokens."""
        return int(self.config["dataset_reader"]["token_indexers"]["bert"]["max_length"])


def read(folder: Path, name: str) -> Archive:
    """Return the checkpoint called ``name`` that lies in ``folder``, packed or unpacked, there or in a folder of its name.

    Raises
    ------
    MissingError
        When it or a file of its encoder is not there, is damaged, or is not what the official code could load: the message
        names the file and, of weights, the names that are missing or too many.
    """
    source = _source(folder, name)
    try:
        contents = _packed(source) if source.is_file() else _unpacked(source)
        config = json.loads(contents[CONFIG])
        vocabulary = _vocabulary(contents)
        weights = torch.load(io.BytesIO(contents[WEIGHTS]), map_location="cpu", weights_only=True)
        # Files that older transformers wrote hold the numbers of the places too.
        state = {key: value for key, value in weights.items() if key != ENCODER + _BUFFER}
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(f"{WEIGHTS} holds more than tensors by name")
        model = _encoder_name(config)
    except _DAMAGE as error:
        raise _damaged(name, source, error) from error
    encoder = _encoder(folder, source, name, model)
    archive = Archive(name, config, vocabulary, state, encoder, fingerprint(_files(source, encoder)))
    _check(archive, source)
    return archive


def files(folder: Path, name: str) -> list[Path]:
    """Return the files that ``read`` reads, without reading weights; it raises what ``read`` raises for what is looked at."""
    source = _source(folder, name)
    try:
        if source.is_file():
            with tarfile.open(source, "r:gz") as archive:
                member = next(one for one in archive if one.isfile() and _wanted(Path(one.name).parts) == CONFIG)
                content = archive.extractfile(member)
                config = json.loads(content.read() if content else b"")
        else:
            config = json.loads((source / CONFIG).read_bytes())
        model = _encoder_name(config)
    except (*_DAMAGE, StopIteration) as error:
        raise _damaged(name, source, error) from error
    return _files(source, _encoder(folder, source, name, model))


def _files(source: Path, encoder: Path) -> list[Path]:
    own = (
        [source] if source.is_file() else [path for path in _members(source) if _wanted(path.relative_to(source).parts)]
    )
    return own + [path for path in encoder.iterdir() if path.name in (CONFIG, _TOKENIZER_CONFIG, *_TOKENIZERS)]


def _encoder_name(config: Mapping[str, Any]) -> str:
    return str(config["model"]["embedder"]["token_embedders"]["bert"]["model_name"])


def _damaged(name: str, source: Path, error: Exception) -> MissingError:
    said = " ".join(str(error).split())[:160]
    return MissingError(
        f"{name}: {source} is damaged, truncated or no RadGraph checkpoint ({type(error).__name__}: {said}); "
        "put a fresh copy there."
    )


def check_names(found: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse weights that lack names, have further ones or have other shapes (``MissingError`` that names them)."""
    missing = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {wanted[key]}"
        for key in sorted(set(wanted) & set(found))
        if tuple(found[key].shape) != wanted[key]
    ]
    faults = [
        f"{what} {_list(names)}"
        for what, names in (("lacks", missing), ("has beyond what belongs there", extra), ("has the shapes", shapes))
        if names
    ]
    if faults:
        raise MissingError(
            f"{where} {'; '.join(faults)}. It is another model's file or damaged: put a fresh copy there."
        )


def head_shapes(archive: Archive) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight outside the encoder, as the official code builds them from the config.

    The parts for coreference and events are among them although no graph needs them: the official code loads strictly.
    """
    model = archive.config["model"]
    feature, width = int(model["feature_size"]), int(model["max_span_width"])
    token = _hidden_size(archive)
    span = 2 * token + feature
    dims = hidden_dims(model["feedforward_params"])
    shapes: dict[str, tuple[int, ...]] = {WIDTHS: (width, feature)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def feedforward(name: str, inputs: int) -> None:
        for layer, (into, out) in enumerate(zip((inputs, *dims), dims, strict=False)):
            linear(f"{name}._linear_layers.{layer}", into, out)

    def scorer(name: str, outputs: int) -> None:
        feedforward(f"{name}.0._module", span)
        linear(f"{name}.1._module", dims[-1], outputs)

    for namespace, labels in archive.vocabulary.items():
        if "ner_labels" in namespace:
            scorer(f"_ner._ner_scorers.{namespace}", len(labels) - 1)
        if "relation_labels" in namespace:
            scorer(f"_relation._mention_pruners.{namespace}._scorer", 1)
            feedforward(f"_relation._relation_feedforwards.{namespace}", 3 * span)
            linear(f"_relation._relation_scorers.{namespace}", dims[-1], len(labels))
    shapes["_coref._distance_embedding.weight"] = shapes["_events._distance_embedding.weight"] = (10, feature)
    feedforward("_coref._antecedent_feedforward._module", 3 * span + feature)
    scorer("_coref._mention_pruner._scorer", 1)
    linear("_coref._antecedent_scorer._module", dims[-1], 1)
    linear("_coref._f_network._linear_layers.0", 2 * span, span)
    return shapes


def hidden_dims(params: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the width of each layer of the feed-forward networks, which the config gives as one number or a list."""
    dims, layers = params["hidden_dims"], int(params["num_layers"])
    return tuple(int(one) for one in dims) if isinstance(dims, list) else (int(dims),) * layers


def _source(folder: Path, name: str) -> Path:
    """Return the archive file, or the folder into which it was unpacked."""
    for place in (folder / name, folder):
        if (place / f"{name}.tar.gz").is_file():
            return place / f"{name}.tar.gz"
        # A folder that several checkpoints could have been unpacked into is told by its label files.
        if (place / WEIGHTS).is_file() and (place / VOCABULARY / f"{name}__ner_labels.txt").is_file():
            return place
    raise MissingError(
        f"{name}: neither {name}.tar.gz nor {name}/{name}.tar.gz is in {folder}. {where_from(SPECS[name])}"
    )


def _packed(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and (key := _wanted(parts)):
                files[key] = content.read()
    return files


def _unpacked(folder: Path) -> dict[str, bytes]:
    pairs = [(_wanted(path.relative_to(folder).parts), path) for path in _members(folder)]
    return {key: path.read_bytes() for key, path in pairs if key}


def _members(folder: Path) -> list[Path]:
    return [folder / CONFIG, folder / WEIGHTS, *sorted((folder / VOCABULARY).iterdir())]


def _wanted(parts: tuple[str, ...]) -> str:
    if parts[-1] in (CONFIG, WEIGHTS):
        return parts[-1]
    labels = len(parts) > 1 and parts[-2] == VOCABULARY and not parts[-1].startswith(".")
    return f"{VOCABULARY}/{parts[-1]}" if labels else ""


def _vocabulary(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """Return namespace to labels. Namespaces that are padded have two further labels, which no namespace here may have."""
    patterns = files[f"{VOCABULARY}/{UNPADDED}"].decode("utf-8").split()
    found = {}
    for file, content in files.items():
        namespace = Path(file).name.removesuffix(".txt")
        if not file.startswith(VOCABULARY) or Path(file).name == UNPADDED:
            continue
        if not any(fnmatch.fnmatch(namespace, pattern) for pattern in patterns):
            raise ValueError(f"vocabulary {namespace} is padded, which label sets are not")
        lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
        found[namespace] = tuple(lines[:-1] if lines[-1] == "" else lines)
    return found


def _encoder(folder: Path, source: Path, name: str, model: str) -> Path:
    """Return the folder with the encoder's config and tokenizer; ``model`` is its hub id in the checkpoint's config."""
    beside = source.parent if source.is_file() else source
    roots = [place / sub for place in dict.fromkeys((beside, beside.parent, folder)) for sub in ("encoder", ".")]
    places = [root / tail for root in roots for tail in (model, Path(model).name)] + roots[::2]
    for place in places:
        if (place / CONFIG).is_file() and any((place / file).is_file() for file in _TOKENIZERS):
            return place
    if folder.parent.name == "snapshots":  # the checkpoint itself came from the hub: so may the encoder's files
        return _encoder_from_hub(name, model)
    raise MissingError(
        f"{name}: the config and tokenizer of its encoder are not beside {source}; expected "
        f"encoder/{model}/ with {CONFIG} and {' or '.join(_TOKENIZERS)} (from {model} on the Hugging Face hub)."
    )


def _encoder_from_hub(name: str, model: str) -> Path:
    from huggingface_hub import snapshot_download

    files = [CONFIG, _TOKENIZER_CONFIG, *_TOKENIZERS]
    try:
        check_reachable(model, CONFIG)
        return Path(snapshot_download(model, allow_patterns=files))
    except Exception as error:  # offline, gated, renamed: the hub's client raises a dozen kinds
        raise MissingError(
            f"{name}: config and tokenizer of {model} cannot be fetched ({type(error).__name__}); put them into "
            f"radgraph/encoder/{model}/ of the folder that --weights or WETREAD_WEIGHTS names."
        ) from error


def _hidden_size(archive: Archive) -> int:
    return int(json.loads((archive.encoder / CONFIG).read_text("utf-8"))["hidden_size"])


def _check(archive: Archive, source: Path) -> None:
    """Refuse what the official code could not load, and the two settings under which it would do more than we do."""
    model, reader = archive.config.get("model", {}), archive.config.get("dataset_reader", {})
    try:
        weights = model["loss_weights"]
        faults = [
            (archive.entity_namespace not in archive.vocabulary, f"no labels {archive.entity_namespace}"),
            (archive.relation_namespace not in archive.vocabulary, f"no labels {archive.relation_namespace}"),
            (
                archive.vocabulary.get(archive.entity_namespace, ("",))[:1] != ("",),
                "a first entity label that is not empty",
            ),
            (int(reader["max_span_width"]) > int(model["max_span_width"]), "spans wider than the model knows"),
            (not weights["ner"] or not weights["relation"], "entities or relations turned off"),
            (
                weights["coref"] or model["modules"]["coref"]["coref_prop"],
                "coreference turned on, which is not supported",
            ),
            (weights["events"], "events turned on, which is not supported"),
            (not math.isfinite(model["modules"]["relation"]["spans_per_word"]), "no spans per word"),
        ]
        shapes = head_shapes(archive)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingError(
            f"{archive.name}: {CONFIG} in {source} cannot be used ({error!r}); take a fresh copy."
        ) from error
    for wrong, what in faults:
        if wrong:
            raise MissingError(f"{archive.name}: {source} has {what}; only the official checkpoints can be read.")
    heads = {key: value for key, value in archive.state.items() if not key.startswith(ENCODER)}
    check_names(heads, shapes, f"{archive.name}: {WEIGHTS} in {source}")
    check_finite(archive.state, f"{archive.name}: {WEIGHTS} in {source}")


def _list(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
