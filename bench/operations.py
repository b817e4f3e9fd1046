"""How many operations the metrics' encoders need, and how many bare matrix products of their shapes reach a second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any


def matrix_rates(dtype: Any = None) -> dict[str, float]:
    """Return the operations a processor second of bare matrix products in the shapes of a BERT-base layer, at their best.

    ``torch.mm`` goes to the library that torch was built with, which is not the fastest on every processor; oneDNN is the
    other one that comes with torch.
    """
    import torch

    products = {"torch.mm": lambda rows, weight: torch.mm(rows, weight.T)}
    if torch.backends.mkldnn.is_available():
        products["oneDNN"] = partial(torch.ops.mkldnn._linear_pointwise, B=None, attr="none", scalars=[], algorithm="")
    shapes = ((768, 2304), (768, 768), (768, 3072), (3072, 768))
    weights = [torch.randn(outputs, inputs).to(dtype or torch.float32) for inputs, outputs in shapes]
    best = dict.fromkeys(products, 0.0)
    for rows in (768, 2048):
        values = {inputs: torch.randn(rows, inputs).to(dtype or torch.float32) for inputs in (768, 3072)}
        operations = sum(2 * rows * inputs * outputs for inputs, outputs in shapes)
        for name in list(products) * 3:
            start = time.process_time()
            for weight in weights:
                products[name](values[weight.shape[1]], weight)
            best[name] = max(best[name], operations / (time.process_time() - start))
    return best


def counter(encoders: Sequence[str], weights: Path) -> Callable[[Sequence[str]], float]:
    """Return a function from texts to the operations that their encoders need, in layers up to the last one used."""
    from transformers import AutoTokenizer

    folders = {
        "radgraph": weights / "radgraph" / "encoder" / "microsoft" / "BiomedVLP-CXR-BERT-general",
        "chexbert": weights / "chexbert" / "bert-base-uncased",
        "bertscore": weights / "bertscore" / "distilroberta-base",
    }
    configs = {name: json.loads((folders[name] / "config.json").read_text("utf-8")) for name in encoders}
    known = [(name, AutoTokenizer.from_pretrained(str(folders[name])), configs[name]) for name in encoders]

    def needed(name: str, config: dict[str, int], tokens: int) -> float:
        hidden, inner, layers = (config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
        layer = 2 * tokens * (4 * hidden**2 + 2 * hidden * inner) + 4 * tokens**2 * hidden
        if name == "bertscore":
            return 5.0 * layer
        # of CheXbert's last layer only the first token is needed
        first = 2 * tokens * 2 * hidden**2 + layer / tokens
        return layers * layer if name == "radgraph" else (layers - 1) * layer + first

    def count(texts: Sequence[str]) -> float:
        return sum(
            needed(name, config, len(ids))
            for name, tokenizer, config in known
            for ids in tokenizer(list(texts))["input_ids"]
        )

    return count
