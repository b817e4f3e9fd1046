"""``wetread draft``: images in, draft reports out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.runs.draft import DraftRecord
    from wetread.runs.exporting import Exporter

_SHOWN = ("text", "markdown", "html", "json")


def run(
    paths: list[Path] = typer.Argument(..., help="DICOM, PNG or JPEG files, or folders of them.", metavar="PATH..."),
    model: str = typer.Option(
        ..., "--model", help="A model folder (runs/demo/model), a Hugging Face id, or 'template'."
    ),
    json_file: Path | None = typer.Option(
        None, "--json", help="Write the whole records to this file, as a JSON list; - for standard output."
    ),
    out: Path | None = typer.Option(None, "--out", help="Run folder; a killed command continues there."),
    report_format: str = typer.Option(
        "text", "--report-format", help="How reports are printed: text, markdown, html (one page) or json."
    ),
    export: str = typer.Option(
        "", "--export", help="Files for each study in --out: fhir, fhir-r5, sr, pdf, text, markdown, html; with commas."
    ),
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
    from wetread.runs import exporting, passes
    from wetread.runs.passes import Way
    from wetread.runs.store import RunFolder, write_json
    from wetread.studies import find_studies

    if sex is not None and sex not in SEXES:
        raise UsageError(f"unknown --sex {sex!r}.{nearest(sex, SEXES)} Allowed: {', '.join(SEXES)}.")
    for one in section:
        if one not in BOTH:
            raise UsageError(f"unknown --section {one!r}.{nearest(one, BOTH)} Allowed: {', '.join(BOTH)}.")
    _check_printed(report_format, json_file)
    formats = exporting.parse_formats(export) if export else ()
    if formats and out is None:
        raise UsageError("--export writes files; name their folder with --out.")
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
    exporter = exporting.Exporter(out or Path(), formats, models.version(model, opened), context)
    records, whole = [], True
    made = drafting.draft(
        exporter.watch(items), opened, sampling=sampling, context=context, sections=asked, way=way, run=folder
    )
    for record in made:
        records.append(record)
        if report_format == "markdown":
            typer.echo(_markdown(record, exporter))
        elif report_format == "text" and str(json_file) != "-":
            _show(record)
        whole = _exported(exporter, record) and whole
    if report_format == "html":
        typer.echo(_page(records, exporter))
    for file in dict.fromkeys([*([json_file] if json_file else []), *([Path("-")] if report_format == "json" else [])]):
        write_json(file, [record.to_json() for record in records])
    _summary(records)
    return EXIT_OK if whole and all(record.status == "drafted" for record in records) else EXIT_SOME_FAILED


def _check_printed(report_format: str, json_file: Path | None) -> None:
    """Refuse a form that there is not, and two that would be printed at once."""
    from wetread.errors import UsageError, nearest

    if report_format not in _SHOWN:
        hint = nearest(report_format, _SHOWN)
        raise UsageError(f"unknown --report-format {report_format!r}.{hint} Allowed: {', '.join(_SHOWN)}.")
    if report_format in ("markdown", "html") and str(json_file) == "-":
        raise UsageError(f"--json - and --report-format {report_format} both print; name a file for one of them.")


def _exported(exporter: Exporter, record: DraftRecord) -> bool:
    """Export a record and say what is odd; whether all files that were asked for are written."""
    done = exporter.export(record)
    for said in (*done.problems, *done.notes):
        sys.stderr.write(f"wetread: {record.study}: {said}\n")
    return not done.problems


def _markdown(record: DraftRecord, exporter: Exporter) -> str:
    from wetread.export.text import as_markdown, escaped

    if record.status != "drafted":
        return f"# {escaped(record.study)}\n\n{record.status}: {escaped(record.reason)}\n"
    return as_markdown(exporter.document(record))


def _page(records: list[DraftRecord], exporter: Exporter) -> str:
    from wetread.export.text import page
    from wetread.export.wording import read

    readings = [read(exporter.document(record)) for record in records if record.status == "drafted"]
    failures = [(one.study, f"{one.status}: {one.reason}") for one in records if one.status != "drafted"]
    return page(readings, "Draft reports", failures)


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
