"""The data card as Markdown: for the terminal, and as the README of a folder that ``datasets.load_dataset`` opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wetread.studies.datasets.base import DataSet
from wetread.studies.datasets.card import Card
from wetread.studies.folder import LIST

NOTICE = "For research. Texts and images stay under the licence and the data use agreement of the data set that they come from."
_STRING = {"dtype": "string"}
_IMAGE = [
    {"name": "name", **_STRING}, {"name": "view", **_STRING}, {"name": "notes", "list": "string"},
]  # fmt: skip
_REPORT = [{"name": "findings", **_STRING}, {"name": "impression", **_STRING}]


def features(meta: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns of ``studies.jsonl`` as the YAML of a dataset card writes them.

    Without them ``datasets`` guesses from the first lines, and fails where a column (``prior``, ``age``) is empty there and
    not later.
    """
    prior = [
        {"name": "study", **_STRING}, {"name": "date", **_STRING}, {"name": "images", "list": _IMAGE},
        {"name": "report", "struct": _REPORT},
    ]  # fmt: skip
    columns: dict[str, dict[str, Any]] = {
        "study": _STRING, "patient": _STRING, "modality": _STRING, "images": {"list": _IMAGE}, "indication": _STRING,
        "comparison": _STRING, "age": {"dtype": "int64"}, "sex": _STRING, "site": _STRING, "date": _STRING,
        "split": _STRING, "prior": {"struct": prior}, "report": {"struct": _REPORT},
        "truth": {"list": [{"name": "name", **_STRING}]}, "source": _STRING, "meta": {"struct": list(meta)},
    }  # fmt: skip
    return [{"name": name, **kind} for name, kind in columns.items()]


def front_matter(title: str, meta: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the YAML in front of a dataset card; without columns where those of ``meta`` cannot be typed."""
    import json

    import yaml

    data: dict[str, Any] = {
        "pretty_name": title,
        "configs": [{"config_name": "default", "data_files": LIST}],
    }
    if meta is not None:
        data["dataset_info"] = {
            "features": json.loads(json.dumps(features(meta)))
        }  # nothing shared, so no YAML anchors
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n"


def markdown(card: Card, title: str, data_set: DataSet | None = None, imported: Mapping[str, Any] | None = None) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    card
        What is in the studies.
    title
        What they are called.
    data_set
        What is known of the data set they come from.
    imported
        What an import counted: ``rows``, ``studies``, ``kept``, ``dropped`` (reason to number) and more, see
        ``runs.importing``.
    """
    parts = [f"# Data card: {title}", NOTICE]
    if data_set is not None:
        parts.append(_facts(data_set))
    if imported is not None:
        parts.append(_import(imported))
    parts += [_studies(card), _texts(card), _labels(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table whose columns are as wide as their widest cell; numbers with separators, to the right."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    numbers = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )  # fmt: skip
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        f" {'-' * (width - 1)}: " if number else f" {'-' * width} "
        for width, number in zip(widths, numbers, strict=True)
    )
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _facts(data_set: DataSet) -> str:
    rows = [
        ("reference report", data_set.reference), ("indication, comparison", data_set.context),
        ("splits", data_set.splits), ("priors", data_set.priors), ("left out", data_set.dropped),
    ]  # fmt: skip
    return "## What it is\n\n" + "\n".join(f"- {name}: {fact}" for name, fact in rows)


def _import(imported: Mapping[str, Any]) -> str:
    rows = [
        ("rows read", imported["rows"]),
        ("studies found", imported["studies"]),
        *((f"left out: {reason}", count) for reason, count in imported["dropped"].items()),
        *((f"note: {what}", count) for what, count in imported.get("notes", {}).items()),
        ("studies kept", imported["kept"]),
    ]
    said = [f"- {name}: {value}" for name, value in imported.get("choices", {}).items()]
    return "\n\n".join(["## What was imported", table(["", "number"], rows), "\n".join(said)])


def _studies(card: Card) -> str:
    rows: list[tuple[str, int]] = [("studies", card.studies), ("patients", card.patients)]
    rows += [("studies without a patient", card.unnamed)] if card.unnamed else []
    rows += [("images", card.images)]
    rows += [
        (f"studies with {count} image{'' if count == '1' else 's'}", number)
        for count, number in card.images_per_study.items()
    ]
    rows += [(f"view {view}", number) for view, number in card.views.items()]
    rows += [(f"sex {sex}", number) for sex, number in card.sexes.items() if set(card.sexes) != {"unknown"}]
    rows += [(f"age {band}", number) for band, number in card.ages.items() if set(card.ages) != {"unknown"}]
    rows += [("studies with a date", card.dated)]
    rows += list(card.priors.items()) or [("with a prior", 0)]
    splits = [(split, found["studies"], found["patients"]) for split, found in card.splits.items()]
    parts = [
        "## Studies",
        table(["", "number"], rows),
        table(["split", "studies", "patients"], splits) if splits else "",
    ]
    parts.append(
        f"**{card.leaks:,} patients have studies in more than one split**; training refuses them."
        if card.leaks
        else "No patient has studies in more than one split."
        + (f" {card.unnamed:,} studies name no patient, so that of them it cannot be told." if card.unnamed else "")
    )
    return "\n\n".join(part for part in parts if part)


def _texts(card: Card) -> str:
    lengths = [
        (name, found.texts, found.mean, found.low, found.median, found.high, found.longest, card.marks.get(name, 0))
        for name, found in card.words.items()
    ]
    header = ["words", "texts", "mean", "5%", "median", "95%", "longest", "with marks"]
    share = f" ({card.most_frequent / card.studies:.1%})" if card.studies else ""
    said = [
        f"- {card.texts:,} distinct reports; the most frequent stands in {card.most_frequent:,} studies{share}.",
        *(
            f"- {count:,} of the {split} studies have a report that a training study has word for word."
            for split, count in card.repeated.items()
        ),
    ]
    return "\n\n".join(
        [
            "## Reports",
            table(["sections", "studies"], list(card.sections.items())) if card.sections else "",
            table(header, lengths) if lengths else "",
            "\n".join(said),
        ]
    )


def _labels(card: Card) -> str:
    head = "## Labels\n\nWhat the reports claim, as the extractor reads them (CheXpert's classes), in studies.\n\n"
    if card.unlabelled:
        return f"{head}Not read: {card.unlabelled}."
    rows = [
        (name, found.get("present", 0), f"{found.get('present', 0) / max(1, card.studies):.1%}", found.get("uncertain", 0), found.get("denied", 0))
        for name, found in card.labels.items()
    ]  # fmt: skip
    return head + table(["class", "present", "share", "uncertain", "denied"], rows)
