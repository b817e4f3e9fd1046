"""``wetread draft``: images in, draft reports out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.runs.draft import DraftRecord


def run(
    paths: list[Path] = typer.Argument(..., help="DICOM, PNG or JPEG files, or folders of them.", metavar="PATH..."),
    model: str = typer.Option(
        ..., "--model", help="A model folder (runs/demo/model), a Hugging Face id, or 'template'."
    ),
    json_file: Path | None = typer.Option(
        None, "--json", help="Write the whole records to this file, as a JSON list; - for standard output."
    ),
    out: Path | None = typer.Option(None, "--out", help="Run folder; a killed command continues there."),
    indication: str | None = typer.Option(None, "--indication", help="Why the examination was asked for."),
    comparison: str | None = typer.Option(None, "--comparison", help="What it is to be compared with."),
    age: int | None = typer.Option(None, "--age", min=0, max=130, help="Age in years."),
    sex: str | None = typer.Option(None, "--sex", help="female, male or unknown."),
    prior: Path | None = typer.Option(None, "--prior", help="Frontal image of the study before, of the same patient."),
    prior_report: Path | None = typer.Option(
        None, "--prior-report", help="Text file with the report of the study before."
    ),
    section: list[str] = typer.Option(
        [], "--section", help="findings or impression, to be drafted alone; both by default."
    ),
    style: str = typer.Option(
        "", "--style", help="direct, reasoned, reflected or labelled; by default that of the model's training."
    ),
    rounds: int | None = typer.Option(
        None, "--rounds", min=0, max=8, help="Most corrections of a draft, with --style reflected; 1 by default."
    ),
    force: bool = typer.Option(False, "--force", help="Draft even where the header names another anatomy or modality."),
    batch: int = typer.Option(16, "--batch", min=1, max=4096, help="Studies drafted at once."),
    max_new_tokens: int = typer.Option(
        0, "--max-new-tokens", min=0, max=8192, help="Longest draft, or pass of one, in tokens; 0: by its style."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N."),
) -> int:
    """Draft reports of radiographs. AI drafts for a radiologist to verify; research use only."""
    from wetread import models, prompts
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError, nearest
    from wetread.prompts.direct import BOTH
    from wetread.records import SEXES, Sampling
    from wetread.runs import draft as drafting
    from wetread.runs import passes
    from wetread.runs.passes import Way
    from wetread.runs.store import RunFolder, write_json
    from wetread.studies import find_studies

    if sex is not None and sex not in SEXES:
        raise UsageError(f"unknown --sex {sex!r}.{nearest(sex, SEXES)} Allowed: {', '.join(SEXES)}.")
    for one in section:
        if one not in BOTH:
            raise UsageError(f"unknown --section {one!r}.{nearest(one, BOTH)} Allowed: {', '.join(BOTH)}.")
    asked = tuple(one for one in BOTH if one in section) or BOTH
    before = drafting.read_prior(prior, prior_report, force=force)
    context = drafting.Context(indication, comparison, age, sex)
    sampling = Sampling(batch_size=batch, max_new_tokens=max_new_tokens)
    items = find_studies(paths, force=force)
    if before is not None:
        items = drafting.with_prior(items, before)
    if style:
        prompts.get(style)
    opened = models.open_model(model, device=device)
    way = Way(style, passes.ROUNDS if rounds is None else rounds)
    for said in passes.unfit(opened, models.taught(model), way, asked=rounds is not None):
        sys.stderr.write(f"wetread: {said}\n")
    folder = None
    if out is not None:
        config = {
            "model": model,
            "model_contents": models.fingerprint(model),
            "max_new_tokens": max_new_tokens,
            "force": force,
            "sections": list(asked),
            "style": style,
            "rounds": way.rounds,
            "prior": [str(path) if path else "" for path in (prior, prior_report)],
            **vars(context),
        }
        folder = RunFolder.open(out, "draft", config, alone=True)
    records = []
    made = drafting.draft(items, opened, sampling=sampling, context=context, sections=asked, way=way, run=folder)
    for record in made:
        records.append(record)
        if str(json_file) != "-":
            _show(record)
    if json_file is not None:
        write_json(json_file, [record.to_json() for record in records])
    _summary(records)
    return EXIT_OK if all(record.status == "drafted" for record in records) else EXIT_SOME_FAILED


def _show(record: DraftRecord) -> None:
    if record.status != "drafted":
        typer.echo(f"{record.study}: {record.status}: {record.reason}")
        return
    typer.echo(f"{record.study}  [{record.model}]")
    for name, text in (("Findings", record.report.findings), ("Impression", record.report.impression)):
        if text:
            typer.echo(f"  {name}: {text}")
    notes = [note for image in record.images for note in image["notes"]]
    for note in dict.fromkeys([record.reason, *notes] if record.reason else notes):
        typer.echo(f"  note: {note}")


def _summary(records: list[DraftRecord]) -> None:
    from wetread.records import NOTICE

    counts = {status: sum(record.status == status for record in records) for status in ("drafted", "refused", "failed")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no image found"
    sys.stderr.write(f"{told}. {NOTICE}\n")
