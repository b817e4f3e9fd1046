"""``wetread rexrank predict``: drafts for the ReXrank board, in its JSON and with its options."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

app = typer.Typer(
    help="ReXrank, the board of report generators: predict writes drafts in its format.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.callback()
def _root() -> None:
    """Keep ``predict`` a command of its own while it is the only one."""


@app.command("predict")
def predict(
    input_json_file: Path = typer.Option(..., "--input_json_file", help="ReXrank's JSON: study id to images, context."),
    save_json_file: Path = typer.Option(..., "--save_json_file", help="JSON to write: the same with model_prediction."),
    img_root_dir: Path = typer.Option(..., "--img_root_dir", help="Folder that the image paths are relative to."),
    model: str = typer.Option("template", "--model", help="A model folder, a Hugging Face id, or 'template'."),
    sections: str = typer.Option("both", "--sections", help="What to predict: findings, impression or both."),
    out: Path | None = typer.Option(None, "--out", help="Run folder; a killed command continues there."),
    batch: int = typer.Option(16, "--batch", min=1, max=4096, help="Studies drafted at once."),
    max_new_tokens: int = typer.Option(
        0, "--max-new-tokens", min=0, max=8192, help="Longest draft, or pass of one, in tokens; 0: by its style."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N."),
) -> int:
    """Draft every study of a ReXrank file. AI drafts for research; not for any use without a reader."""
    from wetread import models
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED, MissingError, UsageError, nearest
    from wetread.records import NOTICE, Sampling
    from wetread.runs import draft as drafting
    from wetread.runs.progress import bar
    from wetread.runs.store import RunFolder, write_json
    from wetread.studies import rexrank

    allowed = ("findings", "impression", "both")
    if sections not in allowed:
        raise UsageError(f"unknown --sections {sections!r}.{nearest(sections, allowed)} Allowed: {', '.join(allowed)}.")
    if not img_root_dir.is_dir():
        raise MissingError(f"there is no folder {str(img_root_dir)!r}; name the folder of the images.")
    entries = rexrank.read(input_json_file)
    opened = models.open_model(model, device=device)
    folder = None
    if out is not None:
        config = {
            "model": model, "model_contents": models.fingerprint(model), "max_new_tokens": max_new_tokens,
            "input": input_json_file.name,
        }  # fmt: skip
        folder = RunFolder.open(out, "rexrank", config, alone=True)
    sampling = Sampling(batch_size=batch, max_new_tokens=max_new_tokens)
    predictions: dict[str, str] = {}
    failed: list[str] = []
    with bar("studies drafted", len(entries)) as line:
        items = rexrank.studies(entries, img_root_dir)
        for record in drafting.draft(items, opened, sampling=sampling, run=folder):
            text = record.report.text if sections == "both" else record.report.to_json()[sections]
            predictions[record.study] = text.strip()
            if not text.strip():
                failed.append(f"{record.study}: {record.reason or f'the draft has no {sections}'}")
            line.advance()
    write_json(save_json_file, rexrank.written(entries, predictions))
    for problem in failed[:10]:
        sys.stderr.write(f"wetread: {problem}\n")
    if failed:
        sys.stderr.write(f"wetread: {len(failed)} of {len(entries)} studies have an empty model_prediction\n")
    sys.stderr.write(f"{len(entries) - len(failed)} of {len(entries)} drafted. {NOTICE}\n")
    return EXIT_SOME_FAILED if failed else EXIT_OK
