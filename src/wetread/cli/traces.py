"""``wetread traces``: reasoning traces for the studies of a data folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.traces.writing import Tally

_SHOWN = 12
"""Findings whose yield is printed; all are in yield.json."""


def run(
    data: Path = typer.Argument(..., help="Folder with studies.jsonl.", metavar="DATA"),
    out: Path = typer.Option(..., "--out", help="Folder for traces.jsonl, guide.json, tree.json and yield.json."),
    split: str = typer.Option(
        "train", "--split", help="Split whose reports are used; never the one that is tested on."
    ),
    limit: int = typer.Option(0, "--limit", min=0, help="The first so many studies; 0: all."),
    writer: str = typer.Option(
        "rules", "--writer", help="rules, or endpoint: the one that WETREAD_JUDGE_URL and WETREAD_JUDGE_MODEL name."
    ),
    tree: str = typer.Option("pruned", "--tree", help="pruned, whole, none, or the file of a tree."),
    least: int = typer.Option(
        5, "--least", min=1, help="Reports that must claim a finding for it to stay in the tree."
    ),
    negatives: str = typer.Option("said", "--negatives", help="What is denied in a walk: none, said or every."),
    shown: bool = typer.Option(False, "--show-tree", help="Show the tree to the model too, in its prompts."),
    shown_words: int = typer.Option(150, "--tree-words", min=1, help="Most words of tree and knowledge in a prompt."),
    knowledge: bool = typer.Option(True, "--knowledge/--no-knowledge", help="Name the knowledge that decides."),
    truth: bool = typer.Option(False, "--truth", help="From the true findings of phantom studies, not their reports."),
    words: int = typer.Option(400, "--words", min=1, help="Longest trace that is accepted, in words."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the rules' wording."),
) -> int:
    """Write what a model is to think before each report, check it against the report, and keep what does not pass with why."""
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
    from wetread.metrics.judges.client import Endpoint, Usage
    from wetread.prompts import Guide
    from wetread.runs.progress import bar
    from wetread.runs.store import RunFolder, write_atomic
    from wetread.studies import folder
    from wetread.traces import writing

    if writer not in ("rules", "endpoint"):
        raise UsageError(f"unknown --writer {writer!r}; allowed are rules and endpoint.")
    every = list(folder.read(data))
    studies = folder.choose(every, split, limit)
    mute = sum(study.split == split and not study.report for study in every)
    chosen = writing.tree_of(tree, studies, least)
    if shown and chosen is None:
        raise UsageError("--show-tree needs a tree; leave out --tree none.")
    guide = Guide(chosen, knowledge, negatives, asked=shown, words=shown_words)  # type: ignore[arg-type]
    endpoint = Endpoint.from_environment("wetread traces") if writer == "endpoint" else None
    how = writing.How(guide, endpoint, truth, seed, words)
    config = writing.config(how, str(data), split, [one for one in studies if tree == "pruned"])
    run = RunFolder.open(out, "traces", config, alone=True)
    if chosen is not None:
        chosen.save(out / "tree.json")
    usage = Usage()
    with bar("traces", len(studies)) as line:
        tally = writing.write(studies, how, run, progress=line.advance, usage=usage)
    write_atomic(out / "yield.json", json.dumps(tally.to_json(), indent=1) + "\n")
    _summary(tally)
    if mute:
        typer.echo(f"  without a report, and so without a trace: {mute} studies of the split")
    if endpoint is not None:
        sys.stderr.write(f"asked {endpoint.model}: {usage.requests} requests\n")
    failed = tally.kinds["endpoint"] or not tally.accepted
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _summary(tally: Tally) -> None:
    said = tally.to_json()
    share = f" ({said['share']:.1%})" if said["share"] is not None else ""
    typer.echo(f"{tally.accepted} of {tally.accepted + tally.rejected} traces accepted{share}")
    for kind, count in said["faults"].items():
        typer.echo(f"  rejected, {kind}: {count}")
    if said["outside"]:
        told = ", ".join(f"{name} {count}" for name, count in list(said["outside"].items())[:_SHOWN])
        typer.echo(f"  the tree has no place for: {told} (kept under the walk's last heading)")
    for name, counts in list(said["findings"].items())[:_SHOWN]:
        typer.echo(f"  {name}: {counts['accepted']} of {counts['all']}")
