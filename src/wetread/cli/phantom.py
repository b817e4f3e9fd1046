"""``wetread phantom``: make phantom studies."""

from __future__ import annotations

from pathlib import Path

import typer


def run(
    out: Path = typer.Option(..., "--out", help="Folder to write: studies.jsonl and images/."),
    studies: int = typer.Option(1000, "--studies", min=1, max=10_000_000, help="How many studies."),
    seed: int = typer.Option(0, "--seed", min=0, help="Same seed, same bytes."),
    size: int = typer.Option(128, "--size", min=64, max=1024, help="Side of the square images, in pixels."),
    format: str = typer.Option("png", "--format", help="png or dicom."),
) -> int:
    """Make phantom studies: procedural radiographs whose findings are known exactly, with reports. Never clinical data."""
    from wetread.errors import UsageError
    from wetread.runs.progress import bar
    from wetread.studies import phantom

    if format not in ("png", "dicom"):
        raise UsageError(f"unknown --format {format!r}; allowed are png and dicom.")
    with bar("phantom studies", studies) as line:
        phantom.write(out, studies, seed=seed, size=size, format=format, progress=lambda done, _: line.to(done))
    typer.echo(f"{studies} phantom studies (seed {seed}, {size} x {size}, {format}) in {out}")
    return 0
