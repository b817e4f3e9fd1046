"""A recipe: a file that says all of a training of several stages, and where it leaves the paper it follows.

    name, source          what it is and which paper it follows
    model, seed, data,    shared by the stages; a stage may say otherwise
    inputs, adapter,
    compute
    stages                in order: name, kind (sft or rl), config; `model: {stage: NAME}` takes up that stage's policy
    choices               what the paper leaves open: a question, the answer taken `here`, and every answer's settings
    deviations            where the recipe knowingly differs: field, paper, here, reason
    evaluate              what the last policy is scored on

A field is named from the stage or the shared group on: ``step1.optim.rate``, ``data.path``; an item of a list by its metric,
name or number: ``step2.reward.terms.error_judge.weight``. What a deviation says of ``here`` must be what the recipe holds.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from wetread.errors import ConfigError, MissingError, UsageError, nearest
from wetread.runs.config import build, limits, merged, put, read, setting, to_dict
from wetread.training.config import RlConfig, SftConfig

KINDS: Mapping[str, type[SftConfig] | type[RlConfig]] = {"sft": SftConfig, "rl": RlConfig}
SHARED = ("model", "seed", "data", "inputs", "adapter", "compute")
"""Keys of a recipe that every stage takes over."""
TAKEN = ("model", "evaluate", "checkpoints")
"""Names in a run folder that no stage may have."""


@dataclass(frozen=True)
class StageEntry:
    """A stage as the file has it."""

    name: str
    """Its name, and that of its run folder."""
    kind: Literal["sft", "rl"]
    """`sft` or `rl`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `wetread train sft` or `rl`."""


@dataclass(frozen=True)
class Deviation:
    """A place where a recipe differs from its paper."""

    field: str
    """Which field of the recipe."""
    paper: str
    """What the paper says, or that it is silent."""
    here: Any
    """What the field holds."""
    reason: str
    """Why."""


@dataclass(frozen=True)
class Choice:
    """Something that the paper leaves open."""

    question: str
    """What is open, and what speaks for which answer."""
    here: str
    """The answer taken."""
    options: Mapping[str, Any]
    """Every answer to the fields that it sets."""


@dataclass(frozen=True)
class Evaluation:
    """What the last stage's policy is scored on, beside the stages before it and the baselines."""

    splits: tuple[str, ...] = ("test",)
    """Splits of the data folders."""
    data: tuple[str, ...] = ()
    """Folders; none: those that are trained on."""
    limit: int = limits(0, 0)
    """Use the first so many studies of a folder; 0: all."""
    batch: int = limits(32, 1, 4096)
    """Studies generated at once."""
    max_new_tokens: int = limits(0, 0, 65_536)
    """Longest draft in tokens; 0: as in the last stage."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as the file has it; its fields are told in the module's docstring."""

    name: str
    """What the recipe is called."""
    source: str
    """The paper, or what else it follows."""
    stages: tuple[StageEntry, ...]
    """The stages in order."""
    model: str = "tiny"
    """What the first stage starts from, and others that name nothing else."""
    seed: int = limits(0, 0, 2**31 - 1)
    """Seed of every stage that says no other."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    adapter: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    compute: Mapping[str, Any] = field(default_factory=dict)
    """Shared keys."""
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Name to choice."""
    deviations: tuple[Deviation, ...] = ()
    """Where it differs from its source."""
    evaluate: Evaluation | None = None
    """What is scored at the end; nothing where it is left out."""


@dataclass(frozen=True)
class Stage:
    """A stage that can be run."""

    name: str
    """Its name, and that of its run folder."""
    config: SftConfig | RlConfig
    """Its config; ``model`` is to be placed where ``start`` names a stage."""
    start: str = ""
    """The earlier stage whose policy it takes up."""

    @property
    def kind(self) -> str:
        """``sft`` or ``rl``."""
        return "sft" if isinstance(self.config, SftConfig) else "rl"

    def placed(self, out: Path) -> SftConfig | RlConfig:
        """Return its config with the policy that it starts from in the run folder ``out``."""
        return replace(self.config, model=str(out / self.start / "model")) if self.start else self.config


@dataclass(frozen=True)
class Recipe:
    """A recipe with its choices taken and settings put in."""

    name: str
    """What it is called."""
    source: str
    """What it follows."""
    stages: tuple[Stage, ...]
    """In order."""
    chosen: Mapping[str, str]
    """What is left open by the paper to the answer taken."""
    deviations: tuple[Deviation, ...]
    """As in the file; ``here`` is what the file holds before settings."""
    evaluate: Evaluation | None
    """What is scored at the end."""
    text: str
    """The file."""
    sets: tuple[str, ...] = ()
    """Settings on top of it."""

    def stage(self, name: str) -> Stage:
        """Return the stage called ``name`` (``UsageError`` where there is none)."""
        found = {stage.name: stage for stage in self.stages}
        if name not in found:
            raise UsageError(f"no stage is called {name!r}.{nearest(name, found)} There are: {', '.join(found)}.")
        return found[name]

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the stages that ``stage`` builds on, in order: each takes up the policy of the one before, the first nobody's."""
        found: list[Stage] = []
        while stage.start:
            stage = self.stage(stage.start)
            found.insert(0, stage)
        return tuple(found)

    def identity(self) -> dict[str, Any]:
        """Return what decides which run folder it may continue."""
        stages = {one.name: {"start": one.start, **to_dict(one.config)} for one in self.stages}
        evaluate = to_dict(self.evaluate) if self.evaluate else None
        return {"name": self.name, "chosen": dict(self.chosen), "stages": stages, "evaluate": evaluate}


def shipped() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def _folder() -> Any:
    return files("wetread").joinpath("recipes")


def find(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of one that comes with the package.

    Raises
    ------
    MissingError
        There is neither.
    """
    if Path(name).is_file():
        return Path(name)
    inside = Path(str(_folder())) / f"{name}.yaml"
    if "/" not in name and inside.is_file():
        return inside
    raise MissingError(f"no recipe {name!r}: no such file, and none that comes with wetread ({', '.join(shipped())}).")


def open_recipe(path: Path, sets: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a file.

    Parameters
    ----------
    path
        YAML file.
    sets
        ``key=value``: a field of a stage or a shared one, or a choice and its answer; stronger than the file.

    Raises
    ------
    ConfigError
        Unknown or wrong keys, a stage that takes up none before it, or a deviation that is not as it says.
    MissingError
        The file is not there.
    """
    made = build(RecipeFile, None, (), read(path))
    _check_stages(made, path.name)
    choices = {name: _choice(name, value) for name, value in made.choices.items()}
    given = [(*setting(item), item.partition("=")[2].strip()) for item in sets]
    taken = {name: choice.here for name, choice in choices.items()}
    for name, choice in choices.items():
        for answer in choice.options:
            _resolved(made, {**_answers(choices, taken), **_answers({name: choice}, {name: answer})}, ())
    _check_deviations(made.deviations, fields_of(*_resolved(made, _answers(choices, taken), ())))
    for key, _, answer in given:
        if key in choices:
            if answer not in choices[key].options:
                raise ConfigError(
                    f"--set {key}={answer}: the recipe has no such answer.{nearest(answer, choices[key].options)} "
                    f"There are: {', '.join(choices[key].options)}."
                )
            taken[key] = answer
    settings = [(key, value) for key, value, _ in given if key not in choices]
    _check_together(made, choices, taken)
    stages, evaluate = _resolved(made, _answers(choices, taken), settings)
    return Recipe(
        made.name, made.source, stages, taken, made.deviations, evaluate, path.read_text("utf-8"), tuple(sets)
    )


def _check_stages(made: RecipeFile, file: str) -> None:
    names = [one.name for one in made.stages]
    if not names:
        raise ConfigError(f"{file} has no stages; give at least one.")
    for number, one in enumerate(made.stages):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", one.name) or one.name in (*SHARED, *TAKEN, *made.choices):
            raise ConfigError(
                f"stages.{number}.name={one.name!r} cannot be a stage's name: small letters, digits and dashes, "
                f"and none of {', '.join((*SHARED, *TAKEN, *made.choices))}."
            )
        if names.index(one.name) < number:
            raise ConfigError(f"two stages are called {one.name!r}; give each its own name.")
        start = one.config.get("model")
        if isinstance(start, Mapping) and (set(start) != {"stage"} or start["stage"] not in names[:number]):
            raise ConfigError(
                f"{one.name}.model={dict(start)!r}: give {{stage: NAME}} with a stage before it"
                + (f" ({', '.join(names[:number])})." if number else "; the first stage has none.")
            )


def _choice(name: str, value: Any) -> Choice:
    choice = build(Choice, None, (), value if isinstance(value, Mapping) else {})
    options = {str(answer): fields for answer, fields in choice.options.items()}
    if choice.here not in options:
        raise ConfigError(
            f"choices.{name}.here={choice.here!r} is none of its options.{nearest(choice.here, options)} There are: {', '.join(options)}."
        )
    return replace(choice, options=options)


def _answers(choices: Mapping[str, Choice], taken: Mapping[str, str]) -> dict[str, Any]:
    return {key: value for name, one in choices.items() for key, value in (one.options[taken[name]] or {}).items()}


def _check_together(made: RecipeFile, choices: Mapping[str, Choice], taken: Mapping[str, str]) -> None:
    """Refuse two answers of which each can be taken, but not both."""
    usual = {name: choice.here for name, choice in choices.items()}
    other = [name for name in choices if taken[name] != usual[name]]
    for one, two in itertools.combinations(other, 2):
        try:
            _resolved(made, _answers(choices, {**usual, one: taken[one], two: taken[two]}), ())
        except ConfigError as error:
            raise ConfigError(
                f"{one}={taken[one]} and {two}={taken[two]} exclude each other ({str(error).rstrip('.')}); take one of them."
            ) from error


def _resolved(
    made: RecipeFile, answers: Mapping[str, Any], sets: Sequence[tuple[str, Any]]
) -> tuple[tuple[Stage, ...], Evaluation | None]:
    """Return stages and evaluation with answers and settings put in; every key is checked."""
    shared = {key: value for key in SHARED if (value := getattr(made, key)) != {}}
    own: dict[str, dict[str, Any]] = {one.name: dict(one.config) for one in made.stages}
    tree: dict[str, Any] = {**shared, **own, "evaluate": to_dict(made.evaluate) if made.evaluate else None}
    for key, value in (*answers.items(), *sets):
        first = key.partition(".")[0]
        if first not in tree and first not in SHARED:
            known = [*own, *SHARED, "evaluate", *made.choices]
            raise ConfigError(
                f"unknown field {key!r} of the recipe.{nearest(first, known)} It begins with one of: {', '.join(known)}."
            )
        _set(tree, key, value)
    stages = []
    for one in made.stages:
        config = dict(tree[one.name])
        start = config.get("model")
        taken = isinstance(start, Mapping)
        if taken:
            config["model"] = "-"
        common = {key: tree[key] for key in SHARED if key in tree}
        try:
            built = build(KINDS[one.kind], None, (), merged(common, config))
        except ConfigError as error:
            raise ConfigError(f"stage {one.name}: {error}") from error
        stages.append(Stage(one.name, built, str(start["stage"]) if isinstance(start, Mapping) else ""))
    evaluate = tree["evaluate"]
    return tuple(stages), None if evaluate is None else build(Evaluation, None, (), evaluate)


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a field; an item of a list that is on the way is found by its metric, name or number."""
    path = key.split(".")
    for depth in range(1, len(path)):
        found = _found(tree, path[:depth])
        if isinstance(found, list):
            items = json.loads(json.dumps(found))
            _set_item(items, path[depth:], value)
            put(tree, ".".join(path[:depth]), items)
            return
    put(tree, key, value)


def _set_item(items: list[Any], path: Sequence[str], value: Any) -> None:
    place = _place(items, path[0])
    if place is None:
        raise ConfigError(f"unknown field: the list has no item {path[0]!r}.")
    if len(path) == 1:
        items[place] = value
    else:
        put(items[place], ".".join(path[1:]), value)


def _place(items: Sequence[Any], name: str) -> int | None:
    for place, item in enumerate(items):
        if isinstance(item, Mapping) and name in (item.get("metric"), item.get("name")):
            return place
    return int(name) if name.isdigit() and int(name) < len(items) else None


_NOWHERE = object()


def _found(tree: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path, or ``_NOWHERE``."""
    here = tree
    for step in path:
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list | tuple) and (place := _place(here, step)) is not None:
            here = here[place]
        else:
            return _NOWHERE
    return here


def fields_of(stages: Sequence[Stage], evaluate: Evaluation | None) -> dict[str, Any]:
    """Return every field of a recipe as it takes effect, nested: by stage, and the shared ones as the first stage has them."""
    tree = {one.name: to_dict(one.config) for one in stages}
    for one in stages:
        if one.start:
            tree[one.name]["model"] = {"stage": one.start}
    first = tree[stages[0].name]
    return {**{key: first[key] for key in SHARED}, **tree, "evaluate": to_dict(evaluate) if evaluate else None}


def _check_deviations(deviations: Sequence[Deviation], tree: Mapping[str, Any]) -> None:
    for one in deviations:
        held = _found(tree, one.field.split("."))
        if held is _NOWHERE:
            raise ConfigError(f"deviations: the recipe has no field {one.field!r}.{nearest(one.field, _leaves(tree))}")
        if held != one.here:
            raise ConfigError(
                f"deviations: {one.field} is {held!r} in the recipe, but the deviation says {one.here!r}; make them agree."
            )
        for part in ("paper", "reason"):
            if not getattr(one, part).strip():
                raise ConfigError(f"deviations: {one.field} has no {part}; say it.")


def _leaves(tree: Any, prefix: str = "") -> list[str]:
    if isinstance(tree, Mapping):
        return [leaf for key, value in tree.items() for leaf in _leaves(value, f"{prefix}{key}.")]
    if isinstance(tree, list) and tree and all(isinstance(item, Mapping) for item in tree):
        named = [(item.get("metric") or item.get("name") or number, item) for number, item in enumerate(tree)]
        return [leaf for key, item in named for leaf in _leaves(item, f"{prefix}{key}.")]
    return [prefix.rstrip(".")]


def changed(recipe: Recipe) -> list[str]:
    """Return the fields of deviations that a setting or an answer has made something else than the file says."""
    tree = fields_of(recipe.stages, recipe.evaluate)
    return [one.field for one in recipe.deviations if _found(tree, one.field.split(".")) != one.here]
