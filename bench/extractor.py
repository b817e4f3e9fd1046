"""The extractor against the 14 MeSH-coded columns of Open-i: precision, recall and F1 with intervals, tuning half and quoted half apart.

    python bench/extractor.py DATA                      # the table
    python bench/extractor.py DATA --disagree Nodule    # what differs there, in the tuning half

DATA holds `reports.tar.gz` (the collection's XML) and `labels.csv` (filename, 14 columns of 0 and 1). The labels come from
human MeSH coding of the reports; they know no "uncertain", and 0 means absent or not mentioned.
"""

from __future__ import annotations

import argparse
import csv
import platform
import tarfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from wetread.knowledge import extract, label_set
from wetread.records import Report
from wetread.studies.splits import split_of

HALVES = {"tuning": 0.5, "quoted": 0.5}


def read(data: Path) -> tuple[dict[str, Report], dict[str, dict[str, int]]]:
    """Return report and coded columns of each study."""
    with (data / "labels.csv").open(newline="") as file:
        coded = {row.pop("filename"): {key: int(value) for key, value in row.items()} for row in csv.DictReader(file)}
    reports = {}
    with tarfile.open(data / "reports.tar.gz") as tar:
        for member in tar:
            handle = tar.extractfile(member) if member.name.endswith(".xml") else None
            if handle is None:
                continue
            root = ET.parse(handle).getroot()
            uid = root.find("uId")
            name = uid.get("id", "") if uid is not None else ""
            if name in coded:
                parts = {part.get("Label", ""): (part.text or "").strip() for part in root.iter("AbstractText")}
                reports[name] = Report(parts.get("FINDINGS", ""), parts.get("IMPRESSION", ""))
    return reports, coded


def claimed(report: Report, *, uncertain: bool) -> set[str]:
    """Return the NIH classes that the report claims; hedged ones too when ``uncertain``."""
    found = label_set("nih14", extract(report))
    return {name for name, value in found.items() if value == 1 or (uncertain and value == -1)}


def f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Return F1; NaN where nothing is claimed and nothing coded."""
    with np.errstate(invalid="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def table(names: list[str], columns: list[str], truth: np.ndarray, ours: np.ndarray, seed: int) -> list[str]:
    """Return the lines of a table for studies (N) and columns (C); truth and ours are (N, C) of 0 and 1."""
    counts = np.stack([truth & ours, ~truth & ours, truth & ~ours], axis=-1).astype(float)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    sums = np.einsum("dn,nck->dck", draws, counts)
    lines = ["| column | coded | claimed | precision | recall | F1 | 95% interval |", "|---|---|---|---|---|---|---|"]
    for place, column in [*enumerate(columns), (None, "**micro**")]:
        one = counts.sum(0)[place] if place is not None else counts.sum((0, 1))
        many = sums[:, place] if place is not None else sums.sum(1)
        tp, fp, fn = one
        if tp + fn == 0:
            lines.append(f"| {column} | 0 | {int(tp + fp)} | not scored | not scored | not scored | |")
            continue
        low, high = np.nanpercentile(f1(*many.T), [2.5, 97.5])
        precision = f"{tp / (tp + fp):.3f}" if tp + fp else "none claimed"
        lines.append(
            f"| {column} | {int(tp + fn)} | {int(tp + fp)} | {precision} | {tp / (tp + fn):.3f} | {f1(tp, fp, fn):.3f} | {low:.3f} to {high:.3f} |"
        )
    return lines


def main() -> None:
    """Print the tables, or the disagreements of one column."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--disagree", metavar="COLUMN", help="print the reports that differ there; all: every column")
    parser.add_argument("--half", choices=sorted(HALVES), default="tuning", help="half that --disagree prints")
    parser.add_argument("--uncertain", action="store_true", help="count hedged findings as claimed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    reports, coded = read(given.data)
    columns = [name for name in next(iter(coded.values())) if name != "normal"]
    start = time.perf_counter()
    ours = {name: claimed(report, uncertain=given.uncertain) for name, report in reports.items()}
    spent = time.perf_counter() - start
    half = {name: split_of(name, "wetread-extractor", HALVES) for name in reports}
    if given.disagree:
        for column in columns if given.disagree == "all" else [given.disagree]:
            for name, report in reports.items():
                if half[name] == given.half and (column in ours[name]) != bool(coded[name][column]):
                    print(
                        ("claimed, not coded:" if column in ours[name] else "coded, not claimed:"),
                        column,
                        name,
                        report.text,
                    )
        return
    print(
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; "
        f"{len(reports)} reports in {spent:.2f} s, {len(reports) / spent:.0f} a second; seed {given.seed}; "
        f"hedged findings count as {'claimed' if given.uncertain else 'not claimed'}\n"
    )
    for part in HALVES:
        names = [name for name in reports if half[name] == part]
        truth = np.array([[bool(coded[name][column]) for column in columns] for name in names])
        claims = np.array([[column in ours[name] for column in columns] for name in names])
        print(f"### {part} half, {len(names)} studies\n")
        print("\n".join(table(names, columns, truth, claims, given.seed)), end="\n\n")


if __name__ == "__main__":
    main()
