"""What a training takes before it begins: how many numbers are trained, in which precision, and about how many bytes."""

from __future__ import annotations

import os
from typing import Any

from wetread.training import adapters, loop, processes
from wetread.training.config import RlConfig, SftConfig

LAYER_BYTES = 34
"""Bytes of activations a token, unit of width and layer in half precision, attention fused (Korthikanti et al. 2022, eq. 2)."""
GIB = 2**30


def trainable(model: Any, config: SftConfig | RlConfig) -> int:
    """Return how many numbers are trained: the model's, without the image encoder where it is frozen, or the adapter's."""
    if config.adapter.kind == "none":
        frozen = loop.TOWERS if config.freeze_vision else ()
        return sum(one.numel() for name, one in model.named_parameters() if not set(name.split(".")) & set(frozen))
    everything = config.adapter.target == "all" and not config.freeze_vision
    layers = dict(model.named_modules())
    return sum(
        config.adapter.rank * (layers[name].in_features + layers[name].out_features)
        for name in adapters.targets(model, everything=everything)
    )


def precision(model: Any, config: SftConfig | RlConfig) -> str:
    """Return the form in which the model's weights are held."""
    if config.adapter.kind == "qlora":
        return "4 bits"
    if config.compute.dtype == "auto" and config.adapter.kind != "none":
        return str(next(model.parameters()).dtype).removeprefix("torch.")
    return "bfloat16" if config.compute.dtype == "bf16" else "float32"


def estimate(model: Any, config: SftConfig | RlConfig, tokens: int, trained: int) -> dict[str, float]:
    """Return about how many bytes a process needs, by what for.

    Parameters
    ----------
    model
        Any device.
    config
        The training, batches counting completions.
    tokens
        Longest sequence.
    trained
        Numbers that are trained.
    """
    import torch

    size = sum(part.numel() for part in model.parameters())
    form = precision(model, config)
    held = {"4 bits": 0.56, "float32": 4.0}.get(form, 2.0)
    full = config.adapter.kind == "none"
    number = 2.0 if config.compute.dtype == "bf16" and full else 4.0
    text = model.config.get_text_config()
    share = config.optim.batch // processes.count()
    micro = config.optim.micro_batch or share
    width, layers = text.hidden_size, text.num_hidden_layers
    wide = (
        1.0 if (torch.cuda.is_available() and config.compute.dtype != "fp32") or config.compute.dtype == "bf16" else 2.0
    )
    unit = wide * micro * tokens * width
    kept = unit * (2 * layers + LAYER_BYTES) if config.compute.gradient_checkpointing else unit * LAYER_BYTES * layers
    made = {
        "weights": size * held + (0 if full else trained * number),
        "gradients": trained * number,
        "optimiser": 2 * trained * number,
        "activations": kept,
    }
    if isinstance(config, RlConfig):
        if config.group.kl and full:
            made["reference policy"] = size * held
        if config.vllm.use == "none":
            heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
            head = getattr(text, "head_dim", None) or width // text.num_attention_heads
            made["keys and values of rollouts"] = 2 * layers * heads * head * tokens * share * 2.0 * wide
    return made


def here() -> float:
    """Return the bytes of the first GPU, or of the machine where there is none; 0 where that cannot be told."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 0.0


def short(count: int) -> str:
    """Return a count in few letters.

    >>> short(8_767_123_456), short(43_646_976), short(512)
    ('8.77 B', '43.6 M', '512')
    """
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)
