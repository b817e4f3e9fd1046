"""``wetread compare``: systems against each other, from stored scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer


def run(
    folders: list[Path] = typer.Argument(
        ..., help="Run folders of `wetread score --out`, two or more.", metavar="A B [C]..."
    ),
    names: str = typer.Option("", "--metrics", help="Metrics with commas between; all that they share by default."),
    json_file: Path | None = typer.Option(None, "--json", help="Write everything to this file; - for standard output."),
    resamples: int = typer.Option(10_000, "--resamples", min=100, max=1_000_000, help="Resamples, and swaps."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of both."),
) -> int:
    """Compare systems on the same studies: paired intervals, p corrected by Holm, effect sizes, wins. No metric is run."""
    from rich.console import Console

    from wetread.runs import comparing, stored
    from wetread.runs.scoring_table import WIDTH
    from wetread.runs.store import write_json
    from wetread.studies.texts import keep_apart

    systems = [stored.load(folder) for folder in folders]
    keep_apart({"--json": json_file}, [file for folder in folders for file in stored.files(folder)])
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    found = comparing.run(systems, names=chosen, resamples=resamples, seed=seed)
    if json_file is not None:
        write_json(json_file, found.to_json())
    stream: Any = sys.stderr if str(json_file) == "-" else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # an arrow that the terminal does not know must not end the command
    console = Console(file=stream, highlight=False)
    console.width = max(console.width, WIDTH)
    for table in comparing.tables(found):
        console.print(table)
    return 0
