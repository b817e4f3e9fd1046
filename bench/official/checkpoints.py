"""Random checkpoints in the official layouts, of any size: the weights on which wetread and the official code meet.

A folder made here serves both sides. ``weights/`` is what ``--weights`` takes; ``official/`` is where the official code runs:
its model names are folders there, and ``official/cache`` is its cache folder, so that nothing is fetched and no line of it is
changed. Head biases are set from a forward pass over sample texts, so that labels, entities and relations occur and differ.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertModel

ENCODERS = {
    "radgraph": "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext",
    "radgraph-xl": "microsoft/BiomedVLP-CXR-BERT-general",
}
"""Checkpoint of RadGraph to the name of its encoder."""
ENTITIES = {
    "radgraph": ("", "ANAT-DP", "OBS-DP", "OBS-DA", "OBS-U"),
    "radgraph-xl": (
        "",
        *(f"Observation::{how}" for how in ("definitely present", "definitely absent", "uncertain")),
        *(f"Anatomy::{how}" for how in ("definitely present", "definitely absent", "uncertain")),
        *(f"{what}::measurement::definitely present" for what in ("Observation", "Anatomy")),
    ),
}
RELATIONS = ("modify", "located_at", "suggestive_of")
PREFIX = "_embedder.token_embedder_bert._matched_embedder.transformer_model."
WIDTHS = "_endpoint_span_extractor._span_width_embedding.weight"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIGNS = "".join(chr(code) for code in range(33, 127)) + "°µ×éüß–’“”…≥"
RADGRAPH_VERSION = "0.1.18"


@dataclass(frozen=True)
class Size:
    """The size of an encoder."""

    hidden: int = 768
    """Width of a token's vector."""
    layers: int = 12
    """Transformer layers."""
    heads: int = 12
    """Attention heads."""
    inner: int = 3072
    """Width inside the feed-forward layers."""
    words: int = 30522
    """Entries of the vocabulary."""
    positions: int = 512
    """Longest text in tokens."""
    gain: float = 1.0
    """How sharp its attention is."""
    whole: float = 1.0
    """Share of the texts' words that its vocabulary has as they are."""


BERT_BASE = Size()
DISTILROBERTA = Size(layers=6, words=50265, positions=514)


@dataclass(frozen=True)
class Spans:
    """The sizes and the shares of RadGraph's heads."""

    width: int = 8
    """Words of the widest span."""
    hidden: int = 150
    """Width of the feed-forward layers."""
    layers: int = 2
    """How many of them."""
    feature: int = 20
    """Width of a span width's vector."""
    per_word: float = 0.5
    """Spans per word that relations are looked for among."""
    entities: float = 0.05
    """Share of the spans that become entities."""
    relations: float = 0.1
    """Share of the pairs of entities that are related."""
    segment: int = 512
    """Word pieces of a segment of a long text."""


def vocabulary(texts: Sequence[str], size: int, whole: float = 1.0, seed: int = 0) -> list[str]:
    """Return a word-piece vocabulary of ``size`` lines that holds a share ``whole`` of the texts' words and pieces of others."""
    random = Random(seed)
    words = sorted({word.lower() for text in texts for word in re.findall(r"\w+", text)})
    kept = [word for word in words if random.random() < whole]
    pieces = {f"##{word[cut:]}" for word in words for cut in (2, 3, 4) if cut < len(word) and random.random() < 0.3}
    starts = {word[:cut] for word in words for cut in (2, 3, 5) if cut < len(word) and random.random() < 0.3}
    signs = [*SIGNS.lower(), *(f"##{sign}" for sign in SIGNS.lower() if sign.isalnum())]
    lines = list(dict.fromkeys([*SPECIAL, *signs, *kept, *sorted(pieces | starts)]))
    if len(lines) > size:
        lines = lines[:size]
    return lines + [f"[unused{number}]" for number in range(size - len(lines))]


def bert_state(size: Size, random: torch.Generator, kinds: int = 2) -> dict[str, Tensor]:
    """Return random weights under the names of a BERT or RoBERTa encoder."""
    state: dict[str, Tensor] = {}

    def matrix(name: str, outputs: int, inputs: int, scale: float) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=random) * (scale / inputs**0.5)
        state[f"{name}.bias"] = torch.randn(outputs, generator=random) * 0.05

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(size.hidden, generator=random)
        state[f"{name}.bias"] = 0.1 * torch.randn(size.hidden, generator=random)

    for name, rows, scale in (("word", size.words, 1.0), ("position", size.positions, 0.2), ("token_type", kinds, 0.1)):
        state[f"embeddings.{name}_embeddings.weight"] = torch.randn(rows, size.hidden, generator=random) * scale
    norm("embeddings.LayerNorm")
    for number in range(size.layers):
        at = f"encoder.layer.{number}"
        for part, scale in (("query", 2 * size.gain), ("key", 2 * size.gain), ("value", 1.0)):
            matrix(f"{at}.attention.self.{part}", size.hidden, size.hidden, scale)
        matrix(f"{at}.attention.output.dense", size.hidden, size.hidden, 0.4)
        norm(f"{at}.attention.output.LayerNorm")
        matrix(f"{at}.intermediate.dense", size.inner, size.hidden, 1.0)
        matrix(f"{at}.output.dense", size.hidden, size.inner, 0.7)
        norm(f"{at}.output.LayerNorm")
    matrix("pooler.dense", size.hidden, size.hidden, 1.0)
    return state


def write_bert(folder: Path, size: Size, lines: Sequence[str]) -> None:
    """Write config and vocabulary of a BERT into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": size.words, "hidden_size": size.hidden,
        "num_hidden_layers": size.layers, "num_attention_heads": size.heads, "intermediate_size": size.inner,
        "max_position_embeddings": size.positions, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def chexbert(
    folder: Path, size: Size, texts: Sequence[str], seed: int, *, prefix: str = "module.", position_ids: bool = False
) -> None:
    """Write ``chexbert.pth`` and its BERT's config and vocabulary; files of older transformers hold ``position_ids``."""
    random = torch.Generator().manual_seed(seed)
    lines = vocabulary(texts, size.words, size.whole, seed)
    tokenizer = folder / "bert-base-uncased"
    write_bert(tokenizer, size, lines)
    state = bert_state(size, random)
    firsts = torch.stack([hidden[0] for hidden in _hidden(state, tokenizer, texts[:48])])
    full = {f"bert.{name}": value for name, value in state.items()}
    for number, classes in enumerate((4,) * 13 + (2,)):
        weight = torch.randn(classes, size.hidden, generator=random) * (4 / size.hidden**0.5)
        full[f"linear_heads.{number}.weight"] = weight
        full[f"linear_heads.{number}.bias"] = -(firsts @ weight.T).mean(dim=0)
    if position_ids:
        full["bert.embeddings.position_ids"] = torch.arange(size.positions)[None]
    told = {f"{prefix}{name}": value for name, value in full.items()}
    torch.save({"epoch": 1, "model_state_dict": told}, folder / "chexbert.pth")


def radgraph(folder: Path, name: str, size: Size, texts: Sequence[str], seed: int, spans: Spans | None = None) -> None:
    """Write an unpacked RadGraph checkpoint into ``folder/name`` and its encoder's files into ``folder/encoder``."""
    random = torch.Generator().manual_seed(seed)
    spans = spans or Spans()
    encoder = folder / "encoder" / ENCODERS[name]
    write_bert(encoder, size, vocabulary(texts, size.words, size.whole, seed))
    state = bert_state(size, random)
    labels = {f"{name}__ner_labels": ENTITIES[name], f"{name}__relation_labels": RELATIONS}
    weights = {f"{PREFIX}{key}": value for key, value in state.items()}
    heads = _heads(labels, size, spans, random)
    _set_biases(heads, name, spans, _hidden(state, encoder, texts[:24]))
    place = folder / name
    (place / "vocabulary").mkdir(parents=True, exist_ok=True)
    (place / "vocabulary" / "non_padded_namespaces.txt").write_text("*labels\n*tags\n")
    for key, rows in labels.items():
        (place / "vocabulary" / f"{key}.txt").write_text("\n".join(rows))
    bert = {"type": "pretrained_transformer_mismatched", "max_length": spans.segment, "model_name": ENCODERS[name]}
    dims = {"dropout": 0.4, "hidden_dims": spans.hidden, "num_layers": spans.layers}
    modules = {
        "coref": {"coref_prop": 0, "max_antecedents": 100, "spans_per_word": 0.3},
        "events": {"loss_weights": {"arguments": 1, "trigger": 0.2}, "trigger_spans_per_word": 0.3, "argument_spans_per_word": 0.8},
        "ner": {},
        "relation": {"spans_per_word": spans.per_word},
    }  # fmt: skip
    model = {
        "type": "dygie", "embedder": {"token_embedders": {"bert": bert}}, "feature_size": spans.feature,
        "feedforward_params": dims, "initializer": {}, "module_initializer": {}, "modules": modules,
        "loss_weights": {"coref": 0, "events": 0, "ner": 0.2, "relation": 1}, "max_span_width": spans.width,
        "target_task": "relation",
    }  # fmt: skip
    reader = {"type": "dygie", "max_span_width": spans.width, "token_indexers": {"bert": bert}}
    (place / "config.json").write_text(json.dumps({"dataset_reader": reader, "model": model}))
    torch.save(weights | heads, place / "weights.th")


def distilroberta(folder: Path, size: Size, texts: Sequence[str], seed: int, *, prefix: str = "roberta.") -> None:
    """Write a RoBERTa encoder with its byte-level vocabulary, trained on the texts and filled up, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(texts, vocab_size=min(size.words - 1, 4000), special_tokens=special)
    trained.save_model(str(folder))
    known = json.loads((folder / "vocab.json").read_text("utf-8"))
    known |= {f"madeupword{number:05}": number for number in range(len(known), size.words - 1)}
    known["<mask>"] = size.words - 1
    (folder / "vocab.json").write_text(json.dumps(known), encoding="utf-8")
    config = {
        "architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "vocab_size": size.words,
        "hidden_size": size.hidden, "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
        "intermediate_size": size.inner, "max_position_embeddings": size.positions, "type_vocab_size": 1,
        "hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}')
    state = {f"{prefix}{name}": value for name, value in bert_state(size, random, kinds=1).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def lay_out(folder: Path) -> Path:
    """Make ``folder/official`` for what lies in ``folder/weights``, and return it: where the official code runs."""
    weights, place = folder / "weights", folder / "official"
    chexbert_cache, radgraph_cache = place / "cache" / "chexbert", place / "cache" / "radgraph" / RADGRAPH_VERSION
    links = {
        place / "bert-base-uncased": weights / "chexbert" / "bert-base-uncased",
        place / "distilroberta-base": weights / "bertscore" / "distilroberta-base",
        chexbert_cache / "chexbert.pth": weights / "chexbert" / "chexbert.pth",
        **{radgraph_cache / name: weights / "radgraph" / name for name in ENCODERS},
        **{place / model: weights / "radgraph" / "encoder" / model for model in ENCODERS.values()},
    }
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not link.exists():
            link.symlink_to(os.path.relpath(target, link.parent))
    for model in ENCODERS.values():
        # The official code loads the encoder before it overwrites its weights with those of the checkpoint.
        if (place / model).exists() and not (place / model / "model.safetensors").exists():
            bare = BertModel(BertConfig.from_pretrained(str(place / model)))
            save_file(bare.state_dict(), place / model / "model.safetensors", metadata={"format": "pt"})
    return place


def base(folder: Path, texts: Sequence[str], seed: int, *, small: bool = False) -> None:
    """Make all checkpoints at the sizes of the real ones, about 2.5 GB, or small ones; nothing when they are there."""
    size, other = BERT_BASE, DISTILROBERTA
    if small:
        size = Size(hidden=32, layers=2, heads=4, inner=64, words=4000)
        other = Size(hidden=32, layers=6, heads=4, inner=64, words=5000, positions=514)
    made = {"seed": seed, "bert": asdict(size), "roberta": asdict(other), "layout": 1}
    stamp = folder / "made.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == made:
        return
    weights = folder / "weights"
    for name in ("chexbert", "radgraph", "bertscore"):
        (weights / name).mkdir(parents=True, exist_ok=True)
    chexbert(weights / "chexbert", size, texts, seed)
    for place, name in enumerate(ENCODERS):
        radgraph(weights / "radgraph", name, size, texts, seed + place + 1)
    distilroberta(weights / "bertscore" / "distilroberta-base", other, texts, seed + 9)
    stamp.write_text(json.dumps(made))


@torch.inference_mode()
def _hidden(state: Mapping[str, Tensor], folder: Path, texts: Sequence[str]) -> list[Tensor]:
    """Return the last layer of the BERT in ``folder`` with weights ``state`` for each text, shape (tokens, hidden)."""
    model = BertModel(BertConfig.from_pretrained(str(folder))).eval()
    model.load_state_dict(dict(state), strict=True)
    lines = (folder / "vocab.txt").read_text("utf-8").split("\n")[:-1]
    tokenizer = Tokenizer(WordPiece({line: place for place, line in enumerate(lines)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    ends = lines.index("[CLS]"), lines.index("[SEP]")
    rows = [[ends[0], *tokenizer.encode(text).ids[:500], ends[1]] for text in texts]
    return [model(torch.tensor([row])).last_hidden_state[0] for row in rows]


def _heads(labels: Mapping[str, Sequence[str]], size: Size, spans: Spans, random: torch.Generator) -> dict[str, Tensor]:
    """Return random weights of all heads that the official code builds, those that no graph needs among them."""
    state: dict[str, Tensor] = {}
    span = 2 * size.hidden + spans.feature

    def linear(name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=random) * (1.4 / inputs**0.5)
        state[f"{name}.bias"] = torch.randn(outputs, generator=random) * 0.1

    def inside(name: str, inputs: int) -> None:
        for layer in range(spans.layers):
            linear(f"{name}._linear_layers.{layer}", spans.hidden if layer else inputs, spans.hidden)

    def scorer(name: str, outputs: int, inputs: int = span) -> None:
        inside(f"{name}.0._module", inputs)
        linear(f"{name}.1._module", spans.hidden, outputs)

    state[WIDTHS] = torch.randn(spans.width, spans.feature, generator=random)
    entity, relation = labels
    scorer(f"_ner._ner_scorers.{entity}", len(labels[entity]) - 1)
    scorer(f"_relation._mention_pruners.{relation}._scorer", 1)
    inside(f"_relation._relation_feedforwards.{relation}", 3 * span)
    linear(f"_relation._relation_scorers.{relation}", spans.hidden, len(labels[relation]))
    for part in ("coref", "events"):
        state[f"_{part}._distance_embedding.weight"] = torch.randn(10, spans.feature, generator=random)
    inside("_coref._antecedent_feedforward._module", 3 * span + spans.feature)
    scorer("_coref._mention_pruner._scorer", 1)
    linear("_coref._antecedent_scorer._module", spans.hidden, 1)
    linear("_coref._f_network._linear_layers.0", 2 * span, span)
    return state


@torch.inference_mode()
def _set_biases(state: dict[str, Tensor], name: str, spans: Spans, hidden: Sequence[Tensor]) -> None:
    """Set the last biases of the heads, so that the wanted shares of spans and pairs score above 0 in these texts."""
    labels = f"{name}__relation_labels"
    widths, entity = state[WIDTHS], f"_ner._ner_scorers.{name}__ner_labels"
    pruner = f"_relation._mention_pruners.{labels}._scorer"
    relation = f"_relation._relation_feedforwards.{labels}", f"_relation._relation_scorers.{labels}"
    # Pruning like the entity head makes it likely that what is kept is an entity, as in a trained model.
    for layer in range(spans.layers):
        for kind in ("weight", "bias"):
            part = f"0._module._linear_layers.{layer}.{kind}"
            state[f"{pruner}.{part}"] = state[f"{entity}.{part}"].clone()

    def forward(values: Tensor, inside: str, last: str) -> Tensor:
        for layer in range(spans.layers):
            at = f"{inside}._linear_layers.{layer}"
            values = functional.relu(functional.linear(values, state[f"{at}.weight"], state[f"{at}.bias"]))
        return functional.linear(values, state[f"{last}.weight"], state[f"{last}.bias"])

    every: list[Tensor] = []
    for text in hidden:
        words = text[1:-1]
        pairs = [(one, one + width) for one in range(len(words)) for width in range(min(spans.width, len(words) - one))]
        first, last = torch.tensor(pairs).T
        every.append(torch.cat((words[first], words[last], widths[last - first]), dim=1))
    state[f"{pruner}.1._module.weight"] = state[f"{entity}.1._module.weight"].mean(dim=0, keepdim=True)
    ends = f"{entity}.1._module"
    scores = forward(torch.cat(every), f"{entity}.0._module", ends)
    state[f"{ends}.bias"] -= scores.mean(dim=0)
    scores = forward(torch.cat(every), f"{entity}.0._module", ends)
    state[f"{ends}.bias"] -= scores.max(dim=1).values.quantile(1 - spans.entities)
    kept = []
    for one in every:
        found = one[(forward(one, f"{entity}.0._module", ends) > 0).any(dim=1)]
        sums = forward(found, f"{pruner}.0._module", f"{pruner}.1._module")
        far = found[:, None].expand(-1, len(found), -1)
        near = far.transpose(0, 1)
        joined = torch.cat((near, far, near * far), dim=-1).flatten(0, 1)
        kept.append(forward(joined, *relation) + (sums + sums.T).flatten()[:, None])
    scores = torch.cat(kept)
    state[f"{relation[1]}.bias"] -= scores.mean(dim=0)
    best = (scores - scores.mean(dim=0)).max(dim=1).values
    state[f"{relation[1]}.bias"] -= best.quantile(1 - spans.relations)
