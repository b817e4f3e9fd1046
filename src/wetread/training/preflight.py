"""What can be told before a training begins: whether it fits, what would be cut, whether the reward pays for the truth.

Everything is measured on the data, the processor and the model's shape; weights are not needed. What cannot work is an
error that says what to change; what is merely unwise is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wetread import prompts, rewards
from wetread.errors import ConfigError, WetreadError
from wetread.models import inputs_of, transformers
from wetread.models.transformers import encode
from wetread.records import Inputs, Report, Study
from wetread.rewards import rules
from wetread.training import adapters, loop, processes, rewarding
from wetread.training.config import RlConfig, SftConfig
from wetread.training.data import Samples, select

PROBES = 8
"""Samples that are encoded with their images: so many spread over the data, and as many of the longest."""
REPORTS = 2000
"""Reports whose tokens are counted, spread over the data."""
CUT = 0.01
"""Share of reports longer than the length limit from which on a warning is given."""
LAYER_BYTES = 34
"""Bytes of activations a token, unit of width and layer in half precision, attention fused (Korthikanti et al. 2022, eq. 2)."""
GIB = 2**30


@dataclass(frozen=True)
class Preflight:
    """What was found."""

    rows: Mapping[str, str] = field(default_factory=dict)
    """What was looked at to what was found, in words."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The same in numbers: tokens, shares, bytes."""
    warnings: tuple[str, ...] = ()
    """What is unwise, in words."""
    problems: tuple[WetreadError, ...] = ()
    """What keeps the training from starting."""


def look(config: SftConfig | RlConfig, start: SftConfig | RlConfig | None = None) -> Preflight:
    """Return what can be told of a training without loading weights or training anything.

    Parameters
    ----------
    config
        The training.
    start
        The training whose policy it starts from, where that policy is not there yet.

    Raises
    ------
    UsageError
        There is no such prompt style or reward; everything else is among the ``problems``.
    """
    loop.quiet()
    rows: dict[str, str] = {}
    problems: list[WetreadError] = []
    origin = start or config
    studies = model = processor = None
    style = prompts.get(config.style)
    if isinstance(config, RlConfig):
        rewards.get(config.reward)  # a slip in the config, told before anything that takes time
    try:
        shown = Inputs() if origin.model == "tiny" else inputs_of(origin.model)
        if start is not None:
            shown = start.inputs.over(shown)
        style = prompts.get(config.style, config.inputs.over(shown))
        studies = select(config.data, config.seed)
        rows["data"] = _sources(studies, config)
    except WetreadError as error:
        problems.append(error)
    try:
        adapters.check(config.adapter, config.compute)
        if isinstance(config, RlConfig):
            adapters.vllm_arguments(config.vllm)
    except WetreadError as error:
        problems.append(error)
    try:
        if origin.model != "tiny":
            model, processor = transformers.skeleton(origin.model)
        elif studies is not None and isinstance(origin, SftConfig):
            model, processor = _tiny(origin, studies, style)
    except WetreadError as error:
        problems.append(error)
    found = Preflight()
    if studies is not None and model is not None:
        try:
            adapters.scale_images(processor, config.compute.image_side)
            found = examine(config, studies, style, model, processor)
        except WetreadError as error:
            problems.append(error)
    if studies is not None and isinstance(config, RlConfig):
        try:
            rows["reward"] = _paid(config, studies)
        except WetreadError as error:
            problems.append(error)
    return Preflight({**rows, **found.rows}, found.numbers, found.warnings, tuple(problems))


def _tiny(config: SftConfig, studies: Samples, style: prompts.Style) -> tuple[Any, Any]:
    from wetread.training.sft import starting_point
    from wetread.training.warmup import Labels

    labels = Labels.read(studies, most=config.tiny.vision_width) if config.tiny.warmup_steps else None
    return starting_point(config, studies, style, labels)


def examine(
    config: SftConfig | RlConfig, studies: Samples, style: prompts.Style, model: Any, processor: Any
) -> Preflight:
    """Return what the data look like to a model and what training it takes.

    Parameters
    ----------
    config
        The training.
    studies
        What it is trained on.
    style
        The prompt style with the inputs.
    model, processor
        The model, before adapters; on the meta device will do.

    Raises
    ------
    ConfigError
        A sample is longer than the model's context, or images leave no trace in it.
    """
    config = config.in_completions() if isinstance(config, RlConfig) else config
    seen = _encoded(studies.studies, style, processor)
    images = int(seen["images"])
    if not seen["image_tokens"]:
        raise ConfigError(
            f"the processor of this model puts no image tokens into the prompt; {type(model).__name__} cannot be trained on "
            "radiographs as it is saved. Check its chat template, or give another model."
        )
    reports = _report_tokens(studies.studies, style, processor)
    new = config.group.max_new_tokens if isinstance(config, RlConfig) else 0
    total = int(seen["prompt"] + new) if new else int(seen["sample"])
    text = model.config.get_text_config()
    context = int(getattr(text, "max_position_embeddings", 0) or 0)
    parts = f"a prompt of {seen['prompt']} tokens" + (f" and group.max_new_tokens={new}" if new else " and its report")
    if context and total > context:
        remedy = (
            "smaller or fewer images (compute.image_side, inputs.most_images), a shorter prior (inputs.prior_words)"
        )
        raise ConfigError(
            f"{parts} make {total} tokens, but the model reads {context}; choose {remedy}"
            + (", a smaller group.max_new_tokens" if new else "")
            + (", or a larger tiny.max_positions." if config.model == "tiny" else ".")
        )
    warnings = []
    cut = sum(length > new for length in reports) / len(reports) if new else 0.0
    if cut > CUT:
        warnings.append(
            f"{cut:.1%} of the reference reports are longer than group.max_new_tokens={new}; "
            f"rollouts of that length are cut. The longest has {reports[-1]} tokens."
        )
    if isinstance(config, SftConfig) and config.adapter.kind == "none" and config.compute.dtype == "bf16":
        warnings.append(
            "compute.dtype=bf16 trains weights that are held in bf16: updates below about 1/256 of a weight are lost; "
            "prefer auto."
        )
    trained = trainable(model, config)
    memory = estimate(model, config, total, trained)
    here = _memory_here()
    if here and sum(memory.values()) > here:
        warnings.append(
            f"about {sum(memory.values()) / GIB:.1f} GiB are needed, and {here / GIB:.1f} GiB are here; choose a smaller "
            "optim.micro_batch, compute.gradient_checkpointing, an adapter, vLLM, or shard by accelerate launch."
        )
    size = sum(part.numel() for part in model.parameters())
    steps = config.optim.counted(len(studies), _samples_a_step(config)).steps
    rows = {
        "image": f"{images} a sample, {seen['height']}×{seen['width']} pixels, {seen['image_tokens']} tokens in all",
        "length": f"{parts}: {total} of {context or '?'} tokens",
        "reports": f"median {reports[len(reports) // 2]}, 99% up to {reports[int(0.99 * (len(reports) - 1))]}, longest {reports[-1]} tokens"
        + (f"; {cut:.1%} would be cut" if new else ""),
        "model": f"{type(model).__name__}, {_short(size)} parameters, {_short(trained)} trained ({trained / size:.1%}), "
        f"held in {_precision(model, config)}, {config.adapter.kind if config.adapter.kind != 'none' else 'no adapter'}",
        "steps": f"{steps} of {config.optim.batch} {'completions' if new else 'samples'}"
        + (f" ({_samples_a_step(config)} prompts × {config.group.rollouts})" if isinstance(config, RlConfig) else ""),
        "memory": f"about {sum(memory.values()) / GIB:.2f} GiB a process, if nothing is sharded: "
        + ", ".join(f"{name} {value / GIB:.2f}" for name, value in memory.items() if value)
        + "; an estimate without the image encoder's activations, the reward's networks and fragmentation",
    }  # fmt: skip
    numbers = {
        "prompt_tokens": seen["prompt"], "image_tokens": seen["image_tokens"], "image_height": seen["height"],
        "image_width": seen["width"], "longest": total, "context": context, "longest_report": reports[-1],
        "cut_share": round(cut, 6), "parameters": size, "trained": trained, "steps": steps,
        **{f"bytes_{name.replace(' ', '_')}": int(value) for name, value in memory.items()},
    }  # fmt: skip
    return Preflight(rows, numbers, tuple(warnings))


def _samples_a_step(config: SftConfig | RlConfig) -> int:
    return config.optim.batch // config.group.rollouts if isinstance(config, RlConfig) else config.optim.batch


def _sources(studies: Samples, config: SftConfig | RlConfig) -> str:
    told = [
        f"{part.source or part.folder} {part.studies}" + (f" ({part.samples} samples)" * (part.samples != part.studies))
        for part in studies.parts
    ]
    return f"{len(studies)} samples an epoch, split {config.data.split!r}: {', '.join(told)}; no leak found"


def _paid(config: RlConfig, studies: Samples) -> str:
    recipe = rewards.get(config.reward)
    references = [study.report for study in studies.studies if study.report]
    _, tried, best = rewarding.rehearse(config, recipe, references)
    panel = rules.panel(recipe.metrics, config.guard.panel) if config.guard.every else ()
    watched = f"; held out of it: {', '.join(panel)}" if panel else ""
    return f"{recipe.name}: {tried} gold reports get {best:g}, the best value{watched}"


def _encoded(studies: Sequence[Study], style: prompts.Style, processor: Any) -> dict[str, int]:
    """Return the greatest lengths in tokens of some rendered samples, and the size of their images."""
    rendered = {study.id: style.render(study) for study in _spread(studies, REPORTS)}
    by_id = {study.id: study for study in studies}

    def length(name: str) -> int:
        report = by_id[name].report or Report()
        return len(rendered[name].text) + len(style.target(report)) + 10_000 * len(rendered[name].images)

    longest = sorted(rendered, key=length, reverse=True)[:PROBES]
    found = {"prompt": 0, "sample": 0, "image_tokens": 0, "images": 0, "height": 0, "width": 0}
    for name in {*_spread(list(rendered), PROBES), *longest}:
        prompt = rendered[name]
        inputs = encode(processor, [prompt])
        ids = inputs["input_ids"][0]
        own = len(
            processor.tokenizer(style.target(by_id[name].report or Report()), add_special_tokens=False)["input_ids"]
        )
        height, width = _pixels(inputs, processor)
        here = {
            "prompt": len(ids), "sample": len(ids) + own + 1, "images": len(prompt.images),
            "image_tokens": int((ids == _image_token(processor)).sum()), "height": height, "width": width,
        }  # fmt: skip
        found = {key: max(value, here[key]) for key, value in found.items()}
    return found


def _image_token(processor: Any) -> int:
    known = getattr(processor, "image_token_id", None)
    return int(processor.tokenizer.convert_tokens_to_ids(processor.image_token) if known is None else known)


def _pixels(inputs: Any, processor: Any) -> tuple[int, int]:
    """Return height and width of the first image as the model gets it."""
    if "image_grid_thw" in inputs:
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return rows * processor.image_processor.patch_size, columns * processor.image_processor.patch_size
    height, width = inputs["pixel_values"].shape[-2:]
    return int(height), int(width)


def _report_tokens(studies: Sequence[Study], style: prompts.Style, processor: Any) -> list[int]:
    """Return the lengths of the reports in tokens, their end included, shortest first."""
    texts = [style.target(study.report) for study in studies if study.report]
    chosen = {*_spread(texts, REPORTS), *sorted(texts, key=len)[-PROBES:]}
    return sorted(len(ids) + 1 for ids in processor.tokenizer(list(chosen), add_special_tokens=False)["input_ids"])


def trainable(model: Any, config: SftConfig | RlConfig) -> int:
    """Return how many numbers are trained: the model's, without the image encoder where it is frozen, or the adapter's."""
    if config.adapter.kind == "none":
        frozen = ("vision_tower", "visual", "vision_model") if config.freeze_vision else ()
        return sum(one.numel() for name, one in model.named_parameters() if not set(name.split(".")) & set(frozen))
    everything = config.adapter.target == "all" and not config.freeze_vision
    layers = dict(model.named_modules())
    return sum(
        config.adapter.rank * (layers[name].in_features + layers[name].out_features)
        for name in adapters.targets(model, everything=everything)
    )


def _precision(model: Any, config: SftConfig | RlConfig) -> str:
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
    precision = _precision(model, config)
    held = {"4 bits": 0.56, "float32": 4.0}.get(precision, 2.0)
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


def _memory_here() -> float:
    """Return the bytes of the first GPU, or of the machine where there is none; 0 where that cannot be told."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 0.0


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most ``most`` of the items, evenly spaced.

    >>> _spread(range(10), 3)
    [0, 3, 6]
    """
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def _short(count: int) -> str:
    """Return a count in few letters.

    >>> _short(8_767_123_456), _short(43_646_976), _short(512)
    ('8.77 B', '43.6 M', '512')
    """
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)
