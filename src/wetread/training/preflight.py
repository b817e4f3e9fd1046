"""What can be told before a training begins: whether it fits, what would be cut, whether the reward pays for the truth.

Everything is measured on the data, the processor and the model's shape; weights are not needed. What cannot work is an
error that says what to change; what is merely unwise is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wetread import metrics, prompts, rewards
from wetread.errors import ConfigError, StudyError, WetreadError
from wetread.models import inputs_of, taught, transformers
from wetread.models.transformers import encode
from wetread.records import Inputs, Report
from wetread.studies import folder
from wetread.training import adapters, guarding, lessons, loop, memory, rewarding, rl
from wetread.training.config import RlConfig, ScorerConfig, SftConfig
from wetread.training.data import Samples, select
from wetread.training.lessons import Lesson

PROBES = 8
"""Samples that are encoded with their images: so many spread over the data, and as many of the longest."""
REPORTS = 2000
"""Reports whose tokens are counted, spread over the data."""
NAMED = 5
"""Images that cannot be read are named up to so many."""
CUT = 0.01
"""Share of reports longer than the length limit from which on a warning is given."""


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


def look(config: SftConfig | RlConfig, before: Sequence[SftConfig | RlConfig] = ()) -> Preflight:
    """Return what can be told of a training without loading weights or training anything.

    Parameters
    ----------
    config
        The training.
    before
        The trainings that are to come first, in order, where the policy that it starts from is not there yet: each takes up
        the policy of the one before, the first starts from a model that is there or is built.

    Raises
    ------
    UsageError
        There is no such prompt style or reward; everything else is among the ``problems``.
    """
    loop.quiet()
    rows: dict[str, str] = {}
    problems: list[WetreadError] = []
    chain = (*before, config)
    origin = chain[0]
    fits = False
    found = Preflight()
    panel: tuple[str, ...] | None = None
    studies: Samples | None = None
    learned: list[Lesson] = []
    model = processor = None
    if isinstance(config, RlConfig):
        config = config.after(_style(chain))
    style = prompts.get(config.style)
    # A slip in the config is told before anything that takes time.
    reward = rewards.get(config.reward) if isinstance(config, RlConfig) else None
    with _noted(problems):
        batch = config.in_completions() if isinstance(config, RlConfig) else config
        loop.check_batch(batch.optim, _rollouts(config))
        fits = True
    with _noted(problems):
        panel = guarding.check(config.guard, reward) if config.guard.every else None
    with _noted(problems):
        shown = Inputs() if origin.model == "tiny" else inputs_of(origin.model)
        for one in chain:
            shown = one.inputs.over(shown)
        studies = select(config.data, config.seed)
        learned, guide, told = _lessons(config, origin, studies)
        rows |= {"lessons": told} if told else {}
        style = prompts.get(config.style, shown, guide)
        rows["data"] = _sources(studies, config)
        rows["patients"] = _patients(studies)
        rows["priors"] = _priors(studies)
    readable = False
    with _noted(problems):
        if learned:
            rows["files"] = _files(learned, style)
        readable = True
    with _noted(problems):
        adapters.check(config.adapter, config.compute, config.model)
        if isinstance(config, RlConfig):
            adapters.vllm_arguments(config.vllm)
    with _noted(problems):
        if isinstance(origin, RlConfig):
            rl.check_policy(origin.model)
        if isinstance(origin, RlConfig) or origin.model != "tiny":
            model, processor = transformers.skeleton(origin.model)
        elif studies is not None:
            model, processor = _tiny(origin, studies, learned, style)
        if model is not None and config.freeze_vision and config.adapter.kind == "none":
            loop.vision(model)
    if fits and readable and studies is not None and model is not None:
        with _noted(problems):
            for one in chain:
                adapters.scale_images(processor, one.compute.image_side)
            found = examine(config, learned, style, model, processor)
    if studies is not None and reward is not None and isinstance(config, RlConfig):
        with _noted(problems):
            rows["reward"] = _paid(config, reward, studies)
    if studies is not None and panel is not None:
        with _noted(problems):
            rows["guards"] = _watched(config, panel, studies)
    return Preflight({**rows, **found.rows}, found.numbers, found.warnings, tuple(problems))


def _style(chain: Sequence[SftConfig | RlConfig]) -> str:
    """Return the style of the policy that the last of some trainings ends with."""
    style = taught(chain[0].model) or "direct"
    for one in chain:
        style = one.style or style
    return style


def _lessons(
    config: SftConfig | RlConfig, origin: SftConfig | RlConfig, studies: Samples
) -> tuple[list[Lesson], prompts.Guide | None, str]:
    """Return what is learned from, the guide of it, and both in words; those are empty where nothing is thought."""
    if isinstance(config, SftConfig):
        learned, guide, told = lessons.of(studies, config.lessons, config.style, config.plain)
        said = "{lessons:,}, {second_turns:,} of them second turns; {without:,} studies without one"
        if "plain" in told:
            said += "; {plain:,} samples without a thought"
        return learned, guide, said.format(**told) if told else ""
    learned, told = lessons.rollouts(studies, config.lessons, config.style)
    guide = prompts.guide_of(origin.model) if origin.model != "tiny" else None
    return learned, guide, f"{told['second_turns']:,} drafts to be corrected" if told else ""


@contextmanager
def _noted(problems: list[WetreadError]) -> Iterator[None]:
    """Add what keeps the block from its end to the problems, and go on after it."""
    try:
        yield
    except WetreadError as error:
        problems.append(error)


def _tiny(config: SftConfig, studies: Samples, learned: Sequence[Lesson], style: prompts.Style) -> tuple[Any, Any]:
    from wetread.training.sft import starting_point
    from wetread.training.warmup import Labels, check_batch

    if config.tiny.warmup_steps:
        check_batch()
    labels = Labels.read(studies, most=config.tiny.vision_width) if config.tiny.warmup_steps else None
    return starting_point(config, learned, style, labels)


def examine(
    config: SftConfig | RlConfig, learned: Sequence[Lesson], style: prompts.Style, model: Any, processor: Any
) -> Preflight:
    """Return what the data look like to a model and what training it takes; its batch is one that can be dealt.

    Parameters
    ----------
    config
        The training.
    learned
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
    seen = _encoded(learned, style, processor)
    images = int(seen["images"])
    if not seen["image_tokens"]:
        raise ConfigError(
            f"the processor of this model puts no image tokens into the prompt; {type(model).__name__} cannot be trained on "
            "radiographs as it is saved. Check its chat template, or give another model."
        )
    reports = _report_tokens(learned, style, processor)
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
            f"{cut:.1%} of the reference reports{' with a thought' if config.style in lessons.THINKING else ''} are longer than "
            f"group.max_new_tokens={new}; "
            f"rollouts of that length are cut. The longest has {reports[-1]} tokens."
        )
    if isinstance(config, SftConfig) and config.adapter.kind == "none" and config.compute.dtype == "bf16":
        warnings.append(
            "compute.dtype=bf16 trains weights that are held in bf16: updates below about 1/256 of a weight are lost; "
            "prefer auto."
        )
    trained = memory.trainable(model, config)
    needed = memory.estimate(model, config, total, trained)
    there = memory.here()
    if there and sum(needed.values()) > there:
        warnings.append(
            f"about {sum(needed.values()) / memory.GIB:.1f} GiB are needed, and {there / memory.GIB:.1f} GiB are here; choose a smaller "
            "optim.micro_batch, compute.gradient_checkpointing, an adapter, vLLM, or shard by accelerate launch."
        )
    size = sum(part.numel() for part in model.parameters())
    prompts_a_step = config.optim.batch // _rollouts(config)
    steps = config.optim.counted(len(learned), prompts_a_step).steps
    rows = {
        "image": f"{images} a sample, {seen['height']}×{seen['width']} pixels, {seen['image_tokens']} tokens in all",
        "length": f"{parts}: {total} of {context or '?'} tokens",
        "reports": f"median {reports[len(reports) // 2]}, 99% up to {reports[int(0.99 * (len(reports) - 1))]}, longest {reports[-1]} tokens"
        + (f"; {cut:.1%} would be cut" if new else ""),
        "model": f"{type(model).__name__}, {memory.short(size)} parameters, {memory.short(trained)} trained ({trained / size:.1%}), "
        f"held in {memory.precision(model, config)}, {config.adapter.kind if config.adapter.kind != 'none' else 'no adapter'}",
        "steps": f"{steps} of {config.optim.batch} {'completions' if new else 'samples'}"
        + (f" ({prompts_a_step} prompts × {config.group.rollouts})" if isinstance(config, RlConfig) else ""),
        "memory": f"about {sum(needed.values()) / memory.GIB:.2f} GiB a process, if nothing is sharded: "
        + ", ".join(f"{name} {value / memory.GIB:.2f}" for name, value in needed.items() if value)
        + "; an estimate without the image encoder's activations, the reward's networks and fragmentation",
    }  # fmt: skip
    numbers = {
        "prompt_tokens": seen["prompt"], "image_tokens": seen["image_tokens"], "image_height": seen["height"],
        "image_width": seen["width"], "longest": total, "context": context, "longest_report": reports[-1],
        "cut_share": round(cut, 6), "parameters": size, "trained": trained, "steps": steps,
        **{f"bytes_{name.replace(' ', '_')}": int(value) for name, value in needed.items()},
    }  # fmt: skip
    return Preflight(rows, numbers, tuple(warnings))


def _rollouts(config: SftConfig | RlConfig) -> int:
    return config.group.rollouts if isinstance(config, RlConfig) else 1


def _sources(studies: Samples, config: SftConfig | RlConfig) -> str:
    told = [
        f"{part.source or part.folder} {part.studies}" + (f" ({part.samples} samples)" * (part.samples != part.studies))
        for part in studies.parts
    ]
    return f"{len(studies)} samples an epoch, split {config.data.split!r}: {', '.join(told)}; no leak found"


def _patients(studies: Samples) -> str:
    if not studies.unnamed:
        return f"named by all {studies.compared:,} studies"
    return f"{studies.unnamed:,} of {studies.compared:,} studies name no patient; leaks between them cannot be seen"


def _priors(studies: Samples) -> str:
    having = sum(study.prior is not None for study in studies.studies)
    told = f"{having:,} of the {len(studies.studies):,} studies have one"
    if studies.priors is not None:
        return f"{told}; of those in the folders {studies.priors.words}"
    return told + (", as the folders name them" if having else "; data.priors=recent looks for them by date")


def _files(learned: Sequence[Lesson], style: prompts.Style) -> str:
    """Say how many image files are shown; ``StudyError`` that names those that would end the training when they are met."""
    studies = {one.study.id: one.study for one in learned}.values()
    count, bad = folder.unreadable((study.id, image) for study in studies for image in style.render(study).all_images)
    if bad:
        named = ", ".join(f"{image.name} of study {study}" for study, image in bad[:NAMED])
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise StudyError(
            f"{len(bad)} of the {count:,} training images cannot be read: {named}{more}. Write them again, or leave these "
            "studies out."
        )
    return f"{count:,} images, all there; damage in the middle of a file is not looked for"


def _paid(config: RlConfig, recipe: rewards.RewardRecipe, studies: Samples) -> str:
    references = [study.report for study in studies.studies if study.report]
    _, tried, best = rewarding.rehearse(config, recipe, references)
    return f"{recipe.name}: {tried} gold reports get {best:g}, the best value"


def _watched(config: SftConfig | RlConfig, panel: Sequence[str], studies: Samples) -> str:
    """Say what looks at the policy go by, after trying that on one report: its weights may be missing."""
    given = config.guard
    there = guarding.check_split(config, studies.reported)
    gold = [study.report for study in studies.studies if study.report][:1]
    scorers = config.scorers if isinstance(config, RlConfig) else ScorerConfig()
    wanted = [*panel, *([given.keep] if given.keep in metrics.METRICS else [])]
    metrics.score(wanted, gold, gold, weights=scorers.weights or None, precision=scorers.precision or None)
    if given.keep in rewards.RECIPES:
        metrics.score(rewards.get(given.keep).metrics, gold, gold)
    return (
        f"every {given.every} steps {min(given.studies, there)} studies of split {given.split!r}; kept by {given.keep}; "
        f"held out: {', '.join(panel)}"
    )


def _encoded(learned: Sequence[Lesson], style: prompts.Style, processor: Any) -> dict[str, int]:
    """Return the greatest lengths in tokens of some rendered samples, and the size of their images."""
    chosen = _spread(learned, REPORTS)
    rendered = [(one.prompt(style), one.target(style)) for one in chosen]

    def length(place: int) -> int:
        prompt, target = rendered[place]
        return sum(map(len, prompt.texts)) + len(target) + 10_000 * len(prompt.all_images)

    places = range(len(rendered))
    longest = sorted(places, key=length, reverse=True)[:PROBES]
    found = {"prompt": 0, "sample": 0, "image_tokens": 0, "images": 0, "height": 0, "width": 0}
    for place in {*_spread(places, PROBES), *longest}:
        prompt, target = rendered[place]
        inputs = encode(processor, [prompt])
        ids = inputs["input_ids"][0]
        own = len(processor.tokenizer(target, add_special_tokens=False)["input_ids"])
        height, width = _pixels(inputs, processor)
        here = {
            "prompt": len(ids), "sample": len(ids) + own + 1, "images": len(prompt.all_images),
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


def _report_tokens(learned: Sequence[Lesson], style: prompts.Style, processor: Any) -> list[int]:
    """Return the lengths of the targets in tokens, their end included, shortest first."""
    every = [one for one in learned if one.study.report]
    longest = sorted(every, key=lambda one: len((one.report or one.study.report or Report()).text))[-PROBES:]
    texts = [lessons.usual(one, style) for one in (*_spread(every, REPORTS), *longest)]
    return sorted(
        len(ids) + 1 for ids in processor.tokenizer(list(dict.fromkeys(texts)), add_special_tokens=False)["input_ids"]
    )


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most ``most`` of the items, evenly spaced.

    >>> _spread(range(10), 3)
    [0, 3, 6]
    """
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]
