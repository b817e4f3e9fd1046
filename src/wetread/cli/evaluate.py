"""``wetread evaluate``: systems against references, with baselines and intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wetread.records import Inputs
    from wetread.rewards import FindingCalls
    from wetread.runs.evaluate import Row


def run(
    data: Path = typer.Option(..., "--data", help="Folder with studies.jsonl."),
    model: list[str] = typer.Option(
        [], "--model", help="NAME=MODEL or MODEL (folder, Hugging Face id, 'template'); repeatable."
    ),
    inputs: list[str] = typer.Option(
        [],
        "--inputs",
        help="KEY=VALUE or NAME:KEY=VALUE: show all models, or one, something else than in training (prior=none); repeatable.",
    ),
    split: str = typer.Option("test", "--split", help="Split that is scored."),
    out: Path = typer.Option(..., "--out", help="Run folder; a killed command continues there."),
    json_file: Path | None = typer.Option(None, "--json", help="Write data and rows to this file."),
    by: str | None = typer.Option(
        None, "--by", help="Also score by this column: site, sex, or a key of the studies' meta."
    ),
    priors: Literal["kept", "recent"] = typer.Option(
        "kept", "--priors", help="kept: those that the studies name; recent: for the others the latest earlier study."
    ),
    limit: int = typer.Option(0, "--limit", min=0, help="Score the first so many studies; 0: all."),
    batch: int = typer.Option(64, "--batch", min=1, max=4096, help="Studies generated at once."),
    max_new_tokens: int = typer.Option(
        0, "--max-new-tokens", min=0, max=8192, help="Longest draft, or pass of one, in tokens; 0: by its style."
    ),
    resamples: int = typer.Option(2000, "--resamples", min=100, max=1_000_000, help="Bootstrap resamples."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the bootstrap."),
    rounds: int = typer.Option(
        1, "--rounds", min=0, max=8, help="Most corrections of a draft, by models that correct themselves."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N."),
) -> int:
    """Score models on a split, beside the constant-template and most-frequent-report baselines."""
    from wetread import models
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED
    from wetread.records import Sampling
    from wetread.runs import evaluate
    from wetread.runs.progress import bar
    from wetread.runs.store import RunFolder, write_json
    from wetread.studies import folder
    from wetread.studies.priors import read

    named = _systems(model)
    changed = _inputs(inputs, named)
    (every,), found = read([data], priors)
    if found is not None:
        typer.echo(f"priors: {found.words}", err=True)
    studies = folder.choose(every, split, limit)
    config = {
        "data": str(data),
        "split": split,
        "priors": priors,
        "limit": limit,
        "max_new_tokens": max_new_tokens,
        "rounds": rounds,
        "models": named,
        "inputs": {name: one.to_json() for name, one in changed.items()},
        "model_contents": {name: models.fingerprint(path) for name, path in named.items()},
    }
    run_folder = RunFolder.open(out, "evaluate", config, alone=True)
    sampling = Sampling(batch_size=batch, max_new_tokens=max_new_tokens)
    systems: dict[str, Any] = {
        **evaluate.baselines([study for study in every if study.split == "train"], studies),
        **named,
    }
    rows: list[Row] = []
    calls: dict[str, Sequence[FindingCalls]] = {}
    failed = 0
    for name, system in systems.items():
        opened = models.open_model(system, device=device) if isinstance(system, str) else system
        opened.inputs = changed.get(name, opened.inputs)
        with bar(name, len(studies)) as line:
            drafts = evaluate.answer(opened, name, studies, sampling, run_folder, line.advance, rounds)
        lost = [study.id for study, one in zip(studies, drafts, strict=True) if one is None]
        if lost:
            failed += len(lost)
            why = evaluate.failure(name, lost[0], run_folder)
            typer.echo(f"{name}: {len(lost)} of {len(studies)} studies have no draft; the first: {why}", err=True)
        judged = evaluate.judge(name, drafts, studies, run_folder)
        rows += evaluate.rows(judged, studies, seed=seed, resamples=resamples)
        calls[name] = evaluate.calls(judged, studies)
        for stratum, keep in (evaluate.strata(by, studies) if by else {}).items():
            rows += evaluate.rows(judged, studies, seed=seed, resamples=resamples, stratum=stratum, keep=keep)
    source = studies[0].source or "unknown source"
    told = f"{source} data" if source == "phantom" else source
    _print(rows, calls, f"{len(studies)} studies, split {split}, {told}", aside=str(json_file) == "-")
    if json_file is not None:
        body = {
            "data": f"{data.name}/{split} ({told}, {len(studies)} studies)",
            "rows": [row.to_json() for row in rows],
            "calls": {name: [call.to_json() for call in found] for name, found in calls.items()},
        }
        write_json(json_file, body)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _named(text: str) -> tuple[str, str]:
    name, mark, path = text.partition("=")
    if mark:
        return name, path
    parts = [part for part in Path(text).parts if part != "model"]
    return ("/".join(parts[-2:]) if text != "template" else text), text


def _systems(given: Sequence[str]) -> dict[str, str]:
    """Return name to model; ``template`` is always there, as a baseline.

    Raises
    ------
    UsageError
        Two systems of one name, or one named like a baseline.
    """
    from wetread.errors import UsageError
    from wetread.runs.evaluate import BASELINES, TEMPLATE

    found: dict[str, str] = {}
    for text in given:
        name, path = _named(text)
        if path == TEMPLATE and name == TEMPLATE:
            continue
        if name in BASELINES:
            raise UsageError(f"--model {text!r}: {name!r} is the name of a baseline; give another NAME=MODEL.")
        if name in found:
            raise UsageError(f"--model {text!r}: there are two systems called {name!r}; give each its own NAME=MODEL.")
        found[name] = path
    return found


def _inputs(given: Sequence[str], named: Mapping[str, str]) -> dict[str, Inputs]:
    """Return what each model is shown: what it was trained on, with what is ``given`` put in.

    Raises
    ------
    UsageError
        A name that no model has.
    ConfigError
        A key or value that inputs do not have.
    """
    from wetread.errors import UsageError, nearest
    from wetread.models import inputs_of
    from wetread.records import InputConfig
    from wetread.runs.config import build

    sets: dict[str, list[str]] = {name: [] for name in named}
    for text in given:
        name, mark, setting = text.rpartition(":")
        if mark and name not in named:
            raise UsageError(
                f"--inputs {text!r}: no model {name!r}.{nearest(name, named)} There are: {', '.join(named)}."
            )
        for one in [name] if mark else named:
            sets[one].append(setting)
    return {name: build(InputConfig, None, settings).over(inputs_of(named[name])) for name, settings in sets.items()}


def _print(rows: Sequence[Row], calls: Mapping[str, Sequence[FindingCalls]], title: str, *, aside: bool) -> None:
    """Print a table for each stratum; ``aside``: on standard error, since standard output carries the JSON."""
    from rich.console import Console

    from wetread.runs.table import WIDTH, calls_table, table, thinking_table

    console = Console(stderr=aside)
    console.width = max(console.width, WIDTH)

    for stratum in dict.fromkeys(row.stratum for row in rows):
        part = [row for row in rows if row.stratum == stratum]
        console.print(table(part, title if not stratum else f"{title}: {stratum}"))
        thought = thinking_table(part, "Perception, faithfulness, correction")
        if thought is not None:
            console.print(thought)
    console.print(calls_table(calls, "Over-calling and under-calling"))
