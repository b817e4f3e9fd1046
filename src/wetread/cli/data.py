"""``wetread data import`` and ``wetread data check``: data sets into the folder that training reads."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.runs.importing import Progress, Tally

app = typer.Typer(
    help="Data sets: import one into the folder that training reads, and look at such a folder again.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
_NAMES = (
    "openi, r2gen, mimic-cxr, mimic-cxr-jpg, chexpert-plus, rexgradient, padchest-gr, cov-ctr, rexrank, llava, table"
)
_SHOWN = 10
"""Reasons that are told on standard error."""


@app.command("import")
def import_(
    name: str = typer.Argument(..., help=f"The data set: {_NAMES}.", metavar="NAME"),
    path: Path = typer.Argument(..., help="Folder or file of the data set, in its own layout.", metavar="PATH"),
    out: Path = typer.Option(..., "--out", help="Folder to write; a killed import continues there."),
    images: Path | None = typer.Option(None, "--images", help="Folder of the images, where they lie elsewhere."),
    no_images: bool = typer.Option(False, "--no-images", help="Import the reports alone; no image is looked for."),
    copy: bool = typer.Option(False, "--copy", help="Copy the images; without it they are linked to."),
    reports: Path | None = typer.Option(None, "--reports", help="MIMIC-CXR: folder or .zip of the reports."),
    splits: Path | None = typer.Option(
        None,
        "--splits",
        help="Splits in place of the set's own: CSV with study_id and split, or R2Gen's annotation.json.",
    ),
    split: str = typer.Option(
        "official", "--split", help="official, patient (anew, by a hash of the patient) or none."
    ),
    marks: str = typer.Option(
        "keep", "--marks", help="XXXX and ___: keep, remove, or sentence (without the sentences that have one)."
    ),
    language: str = typer.Option("en", "--language", help="PadChest-GR: en or es; COV-CTR: en or zh."),
    keep_identifiers: bool = typer.Option(
        False, "--keep-identifiers", help="Keep the set's own ids and dates; without it pseudonyms and shifted dates."
    ),
    key_file: Path | None = typer.Option(None, "--key-file", help="File with the secret of the pseudonyms."),
    limit: int = typer.Option(0, "--limit", min=0, help="Keep the first so many studies; 0: all."),
    labels: bool = typer.Option(
        True, "--labels/--no-labels", help="Whether the card has labels read from the reports."
    ),
    imagefolder: bool = typer.Option(
        False, "--imagefolder", help="Also write metadata.jsonl for load_dataset('imagefolder', data_dir=DIR)."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the card as JSON; - for standard output."),
) -> int:
    """Import a data set and print its data card. Studies that cannot be used are counted with the reason."""
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
    from wetread.runs import importing
    from wetread.runs.importing import ImportConfig
    from wetread.runs.sections import sectioned
    from wetread.runs.store import write_json
    from wetread.studies import datasets
    from wetread.studies.datasets.stage import BY_RULE
    from wetread.studies.datasets.wording import check_marks

    if no_images and (images is not None or copy):
        raise UsageError("--no-images leaves nothing to find or to copy; give it alone.")
    data_set = datasets.get(name)
    config = ImportConfig(
        split=importing.check_split(split),
        marks=check_marks(marks),
        copy=copy,
        keep_identifiers=keep_identifiers,
        limit=limit,
        labels=labels,
        imagefolder=imagefolder,
        **({} if key_file is None else {"key": _key(key_file)}),
    )
    place = datasets.Place(path, images, reports, splits, language, not no_images, sectioned)
    with ExitStack() as stack:
        result = importing.import_set(data_set, place, out, config, _moving(stack))
    if json_file is not None:
        write_json(json_file, result.body)
    if str(json_file) != "-":
        sys.stdout.write(result.text)
    _told(result.tally, out)
    return EXIT_SOME_FAILED if set(result.tally.reasons) - BY_RULE else EXIT_OK


@app.command("check")
def check(
    path: Path = typer.Argument(..., help="A folder with studies.jsonl.", metavar="DIR"),
    no_images: bool = typer.Option(False, "--no-images", help="Do not open the images."),
    labels: bool = typer.Option(
        True, "--labels/--no-labels", help="Whether the card has labels read from the reports."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write everything as JSON; - for standard output."),
) -> int:
    """Look at a folder of studies again: lines, reports, images, splits, leaks, copies, priors; print its data card."""
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED
    from wetread.runs import checking
    from wetread.runs.store import write_json

    found = checking.check(path, images=not no_images, labels=labels)
    if json_file is not None:
        write_json(json_file, found.to_json())
    if str(json_file) != "-":
        sys.stdout.write(found.text)
        sys.stdout.write("\n## Checks\n\n" + "\n".join(one.line for one in found.findings) + "\n")
    return EXIT_OK if found.sound else EXIT_SOME_FAILED


def _key(path: Path) -> bytes:
    from wetread.errors import MissingError, UsageError

    if not path.is_file():
        raise MissingError(f"there is no file {str(path)!r} with a key.")
    key = path.read_bytes().strip()
    if len(key) < 16:
        raise UsageError(f"{path.name}: {len(key)} bytes; a key must have at least 16, make one at random.")
    return key


def _moving(stack: ExitStack) -> Progress:
    """Return the function that shows how far an import is."""
    from wetread.runs.progress import Bar, bar

    bars: dict[str, Bar] = {}

    def move(what: str, done: int, total: int) -> None:
        if not total:
            return
        if what not in bars:
            bars[what] = stack.enter_context(bar({"read": "rows read"}.get(what, "studies written"), total))
        bars[what].to(done)

    return move


def _told(tally: Tally, out: Path) -> None:
    for reason, count in tally.reasons.most_common(_SHOWN):
        sys.stderr.write(f"wetread: {count:,} left out: {reason}\n")
    for what, count in tally.notes.items():
        sys.stderr.write(f"wetread: {count:,} {what}\n")
    every = f"; each of them is in {out.name}/dropped.jsonl" if tally.reasons else ""
    sys.stderr.write(f"{tally.kept:,} studies in {out}{every}\n")
