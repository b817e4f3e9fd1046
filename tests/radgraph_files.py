"""Tiny random RadGraph checkpoints in the official layout."""

import io
import json
import tarfile

import torch
from transformers import AutoConfig, AutoModel

from wetread.metrics.neural.radgraph_archive import ENCODER, Archive, head_shapes

MODEL = "someone/tiny-encoder"
ENTITIES = ("", "Observation::definitely present", "Anatomy::definitely present", "Observation::uncertain")
RELATIONS = ("modify", "located_at", "suggestive_of")
WORDS = (
    *("heart", "size", "is", "normal", "no", "effusion", "left", "right", "lower", "lobe", "opacity", "mild", "edema"),
    *("small", "findings", "impression", ".", ",", ":"),
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_/()<>[]?!%"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
BERT = {
    "model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 40, "initializer_range": 0.5,
}  # fmt: skip

MODERN = {
    "model_type": "modernbert", "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.5,
    "local_attention": 8, "global_attn_every_n_layers": 3, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3,
    "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip


def config(**feedforward):
    bert = {"type": "pretrained_transformer_mismatched", "max_length": 40, "model_name": MODEL}
    return {
        "dataset_reader": {"type": "dygie", "max_span_width": 4, "token_indexers": {"bert": bert}},
        "model": {
            "type": "dygie",
            "embedder": {"token_embedders": {"bert": bert}},
            "feature_size": 5,
            "feedforward_params": {"dropout": 0.4, "hidden_dims": 12, "num_layers": 2} | feedforward,
            "loss_weights": {"coref": 0, "events": 0, "ner": 0.2, "relation": 1},
            "max_span_width": 4,
            "modules": {"coref": {"coref_prop": 0}, "events": {}, "ner": {}, "relation": {"spans_per_word": 0.5}},
            "target_task": "relation",
        },
    }


def write_encoder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(BERT))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')


def files(folder, name, seed=0, settings=None, **changes):
    """Members of an archive; ``changes`` of weights by name, None takes one away."""
    write_encoder(folder / "encoder" / MODEL)
    settings = settings or config()
    labels = {f"{name}__ner_labels": ENTITIES, f"{name}__relation_labels": RELATIONS}
    archive = Archive(name, settings, labels, {}, folder / "encoder" / MODEL, "")
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(str(archive.encoder)))
    state = {ENCODER + key: value for key, value in encoder.state_dict().items()}
    state |= {key: torch.randn(shape, generator=random) * 0.4 for key, shape in head_shapes(archive).items()}
    state = {key: value for key, value in (state | changes).items() if value is not None}
    weights = io.BytesIO()
    torch.save(state, weights)
    members = {
        "config.json": json.dumps(settings).encode(),
        "vocabulary/.lock": b"",
        "vocabulary/non_padded_namespaces.txt": b"*labels\n*tags",
        "weights.th": weights.getvalue(),
    }
    return members | {f"vocabulary/{key}.txt": "\n".join(value).encode() for key, value in labels.items()}


def pack(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def checkpoint(weights, name, **more):
    """Write a checkpoint below a folder of weights."""
    folder = weights / "radgraph"
    return pack(folder / f"{name}.tar.gz", files(folder, name, **more))
