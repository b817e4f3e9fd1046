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
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError, MissingError, UsageError, nearest
from wetread.runs.config import build, keys, merged, read, setting, to_dict
from wetread.training.config import RlConfig, SftConfig
from wetread.training.fields import NOWHERE, found, leaves, set_field
from wetread.training.recipe_file import Choice, Deviation, Evaluation, RecipeFile

KINDS: Mapping[str, type[SftConfig] | type[RlConfig]] = {"sft": SftConfig, "rl": RlConfig}
SHARED = ("model", "seed", "data", "inputs", "adapter", "compute")
"""Keys of a recipe that every stage takes over."""
TAKEN = ("model", "evaluate", "checkpoints")
"""Names in a run folder that no stage may have."""


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
        known = {stage.name: stage for stage in self.stages}
        if name not in known:
            raise UsageError(f"no stage is called {name!r}.{nearest(name, known)} There are: {', '.join(known)}.")
        return known[name]

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the stages that ``stage`` builds on, in order: each takes up the policy of the one before, the first nobody's."""
        earlier: list[Stage] = []
        while stage.start:
            stage = self.stage(stage.start)
            earlier.insert(0, stage)
        return tuple(earlier)

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
        Unknown or wrong keys, a stage that takes up none before it or is scored on what it is trained on, or a deviation
        that is not as it says.
    MissingError
        The file is not there.
    """
    made = build(RecipeFile, None, (), read(path))
    _check_stages(made, path.name)
    choices = {name: _choice(name, value) for name, value in made.choices.items()}
    given = [(*setting(item), item.partition("=")[2].strip()) for item in sets]
    taken = {name: choice.here for name, choice in choices.items()}
    _check_deviations(made.deviations, fields_of(*_resolved(made, _answers(choices, taken), ())))
    for name, choice in choices.items():
        for answer in choice.options:
            with _naming(f"choices.{name}.options.{answer}"):
                _resolved(made, {**_answers(choices, taken), **_answers({name: choice}, {name: answer})}, ())
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


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Let a ``ConfigError`` in the block say where in the file it is."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _choice(name: str, value: Any) -> Choice:
    if not isinstance(value, Mapping):
        raise ConfigError(f"choices.{name}={value!r} is not a group of keys; give question, here and options.")
    with _naming(f"choices.{name}"):
        choice = build(Choice, None, (), value)
    options = {answer: {} if fields is None else fields for answer, fields in choice.options.items()}
    for answer, fields in options.items():
        if not isinstance(fields, Mapping):
            raise ConfigError(
                f"choices.{name}.options.{answer}={fields!r} is not a group of fields; give FIELD: VALUE, or {{}} for none."
            )
        other = next((key for key in fields if not isinstance(key, str)), None)
        if other is not None:
            raise ConfigError(
                f"choices.{name}.options.{answer}: {other!r} is no field; name one, such as STAGE.optim.rate."
            )
    if choice.here not in options:
        raise ConfigError(
            f"choices.{name}.here={choice.here!r} is none of its options.{nearest(choice.here, options)} There are: {', '.join(options)}."
        )
    return replace(choice, options=options)


def _answers(choices: Mapping[str, Choice], taken: Mapping[str, str]) -> dict[str, Any]:
    return {key: value for name, one in choices.items() for key, value in one.options[taken[name]].items()}


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
        set_field(tree, key, value)
    common = {key: tree[key] for key in SHARED if key in tree}
    stages: list[Stage] = []
    for one in made.stages:
        if not isinstance(tree[one.name], Mapping):
            raise ConfigError(
                f"{one.name}={tree[one.name]!r}: {one.name} is a stage; set one of its keys, such as {one.name}.optim.rate."
            )
        config = dict(tree[one.name])
        start = _start(one.name, config.get("model"), [stage.name for stage in stages])
        if start:
            config["model"] = "-"
        with _naming(f"stage {one.name}"):
            stages.append(Stage(one.name, build(KINDS[one.kind], None, (), merged(common, config)), start))
    evaluate = _evaluation(tree["evaluate"])
    _check_apart(stages, evaluate)
    return tuple(stages), evaluate


def _start(name: str, model: Any, before: Sequence[str]) -> str:
    """Return the stage whose policy ``model`` names, empty where it names none; it must be one of those ``before``."""
    if not isinstance(model, Mapping):
        return ""
    if set(model) != {"stage"} or model["stage"] not in before:
        raise ConfigError(
            f"{name}.model={dict(model)!r}: give {{stage: NAME}} with a stage before it"
            + (f" ({', '.join(before)})." if before else "; the first stage has none.")
        )
    return str(model["stage"])


def _evaluation(value: Any) -> Evaluation | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"evaluate={value!r}: evaluate is a group of keys; set one of {', '.join(keys(Evaluation))}.")
    with _naming("evaluate"):
        return build(Evaluation, None, (), value)


def _check_apart(stages: Sequence[Stage], evaluate: Evaluation | None) -> None:
    """Refuse a stage that names the same folder and split as the evaluation; ``stages.tested`` compares the studies."""
    if evaluate is None:
        return
    tested = {Path(one) for one in evaluate.data or stages[-1].config.data.path}
    for stage in stages:
        data = stage.config.data
        both = [one for one in data.path if Path(one) in tested]
        if both and data.split in evaluate.splits:
            raise ConfigError(
                f"{stage.name}.data.split={data.split!r} is also in evaluate.splits ({', '.join(evaluate.splits)}), and both "
                f"read {both[0]}: the policy would be scored on what it learned from. Choose another split for one of them."
            )


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
        held = found(tree, one.field.split("."))
        if held is NOWHERE:
            raise ConfigError(f"deviations: the recipe has no field {one.field!r}.{nearest(one.field, leaves(tree))}")
        if held != one.here:
            raise ConfigError(
                f"deviations: {one.field} is {held!r} in the recipe, but the deviation says {one.here!r}; make them agree."
            )
        for part in ("paper", "reason"):
            if not getattr(one, part).strip():
                raise ConfigError(f"deviations: {one.field} has no {part}; say it.")


def changed(recipe: Recipe) -> list[str]:
    """Return the fields of deviations that a setting or an answer has made something else than the file says."""
    tree = fields_of(recipe.stages, recipe.evaluate)
    return [one.field for one in recipe.deviations if found(tree, one.field.split(".")) != one.here]
