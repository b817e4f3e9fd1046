"""``wetread score``: drafts that exist against their references."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from wetread.runs.scoring_result import Result
    from wetread.runs.store import JsonLines

_MANY = 2_000
"""Studies from which on progress is shown."""


def run(
    references: Path = typer.Option(..., "--references", help="JSONL, CSV or ReXrank JSON with the reference reports."),
    drafts: Path = typer.Option(..., "--drafts", help="The same with the drafts; matched by study id."),
    names: str = typer.Option("offline", "--metrics", help="offline, rexrank, all, or names with commas between."),
    weights: Path | None = typer.Option(None, "--weights", help="Folder of the metrics' weights."),
    precision: str | None = typer.Option(
        None,
        "--precision",
        help="fp32 or bf16, what the metrics' networks compute with; fp32 unless WETREAD_PRECISION says.",
    ),
    allow_missing: bool = typer.Option(
        False, "--allow-missing", help="Score what both files have; the coverage says what is left out."
    ),
    by: list[str] = typer.Option([], "--by", help="Metadata column to stratify by; repeatable.", show_default=False),
    json_file: Path | None = typer.Option(None, "--json", help="Write everything to this file; - for standard output."),
    markdown_file: Path | None = typer.Option(None, "--markdown", help="Write the tables as Markdown."),
    latex_file: Path | None = typer.Option(None, "--latex", help="Write the tables as LaTeX."),
    resamples: int = typer.Option(2000, "--resamples", min=100, max=1_000_000, help="Bootstrap resamples."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the bootstrap and of the shuffling."),
    workers: int = typer.Option(
        0, "--workers", min=0, max=256, help="Processes or actors that score; 0: as many as pay."
    ),
    ray: str = typer.Option("", "--ray", help="Score in Ray actors: local, or HOST:PORT of a cluster."),
    out: Path | None = typer.Option(
        None, "--out", help="Run folder for the scores of each study; a killed command continues there."
    ),
) -> int:
    """Score drafts against references, beside three baselines, with intervals and strata."""
    from wetread.metrics.weights import precision_of
    from wetread.runs import scoring
    from wetread.runs.progress import bar
    from wetread.runs.scoring_pool import opened
    from wetread.runs.scoring_result import finish
    from wetread.runs.store import RUN_FILE, RunFolder
    from wetread.studies.texts import keep_apart

    outputs = {"--json": json_file, "--markdown": markdown_file, "--latex": latex_file}
    if out is not None:
        written = ("scores.jsonl", "summary.json", "config.yaml", RUN_FILE)
        outputs |= {f"--out {out.name} with its {name}:": out / name for name in written}
    keep_apart(outputs, [references, drafts])
    chosen, exact = scoring.choose(names), precision_of(precision)
    matched = scoring.read(references, drafts, allow_missing=allow_missing)
    with ExitStack() as stack:
        scorer = scoring.scorer(matched, chosen, weights, exact)
        lines: JsonLines | None = None
        if out is not None:
            lines = RunFolder.open(out, "score", scoring.config(matched, scorer), alone=True).lines("scores")
        elif json_file is not None:
            lines = _beside(stack)
        pool = stack.enter_context(opened(scorer, len(matched), workers, ray))
        line = stack.enter_context(bar("studies scored", len(matched))) if len(matched) >= _MANY else None
        result = scoring.score(
            matched,
            pool,
            seed=seed,
            resamples=resamples,
            by=by,
            lines=lines,
            progress=lambda count: line.advance(count) if line else None,
        )
        _write(result, lines, json_file, markdown_file, latex_file)
        if out is not None:
            finish(out, result)
    _show(result, aside="-" in (str(json_file), str(markdown_file), str(latex_file)))
    return 0


def _beside(stack: ExitStack) -> JsonLines:
    """Return lines in a folder that goes away with the command."""
    import tempfile

    from wetread.runs.store import JsonLines

    return JsonLines(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wetread-"))) / "scores.jsonl")


def _write(
    result: Result, lines: JsonLines | None, json_file: Path | None, markdown_file: Path | None, latex_file: Path | None
) -> None:
    from wetread.runs import scoring_table
    from wetread.runs.store import write_pieces

    if json_file is not None and lines is not None:
        write_pieces(json_file, scoring_table.json_pieces(result, lines.read()))
    if markdown_file is not None:
        write_pieces(markdown_file, [scoring_table.markdown(result)])
    if latex_file is not None:
        write_pieces(latex_file, [scoring_table.latex(result)])


def _show(result: Result, *, aside: bool) -> None:
    """Print the tables; ``aside``: on standard error, since standard output carries a file."""
    from rich.console import Console

    from wetread.runs.scoring_table import WIDTH, rich_tables

    stream: Any = sys.stderr if aside else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # an arrow that the terminal does not know must not end the command
    console = Console(file=stream, highlight=False)
    console.width = max(console.width, WIDTH)
    for part in rich_tables(result):
        console.print(part)
