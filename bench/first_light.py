"""Drafts of real radiographs by the demo's model, written down as they are.

    python bench/first_light.py DATA MODEL        writes docs/results/first_light.md

DATA is the folder with `dicom/` and `chest_xray/`. The model was trained on phantoms alone; the page says what that means.
"""

from __future__ import annotations

import collections
import datetime
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HEAD = """# First light: the demo's model on real radiographs

**These drafts mean nothing clinically.** The model was trained for minutes on procedural phantom pictures and has never seen a
patient. They are kept here because the way from a real file to a report must work before a real model comes, and because what a
model does outside its data should be seen and not guessed: it writes fluent reports of what is not there.

Command: `python bench/first_light.py DATA runs/demo/model`, which runs
`wetread draft DATA/dicom DATA/chest_xray --model runs/demo/model --json FILE`. {date}, {machine}. DATA holds public DICOM samples
(NEMA WG-04, and an NIH film by way of Google) and the pictures of the COVID-19 image data collection and NIH ChestX-ray14.

## What became of the files

| status | studies | images |
|---|--:|--:|
{statuses}

{problems}

## What the model says

{studies} studies drafted, {texts} distinct texts; the most frequent text was given to {most} of them. Findings it claims, by
how many studies:

{findings}

There is no ground truth for most of these files and the drafts are not scored. The collection is almost all COVID-19 and
pneumonia; a model that saw them would claim opacities and consolidation most of the time, and would not find free abdominal air
or sternotomy wires where there are none.

## Every draft

| study | draft |
|---|---|
{rows}
"""


def main() -> None:
    """Draft everything and write the page."""
    data, model = Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drafts.json"
        command = [
            str(Path(sys.executable).with_name("wetread")),
            "draft",
            str(data / "dicom"),
            str(data / "chest_xray"),
        ]
        done = subprocess.run([*command, "--model", model, "--json", str(file)], capture_output=True, text=True)
        if not file.exists():
            sys.exit(done.stderr)
        records = json.loads(file.read_text("utf-8"))
    page = HEAD.format(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **_parts(records),
    )
    Path("docs/results/first_light.md").write_text(page, "utf-8")
    print(f"{len(records)} studies; docs/results/first_light.md")


def _parts(records: list[dict[str, Any]]) -> dict[str, Any]:
    drafted = [record for record in records if record["status"] == "drafted"]
    others = [record for record in records if record["status"] != "drafted"]
    texts = collections.Counter(_text(record) for record in drafted)
    claimed = collections.Counter(
        name for record in drafted for name in {f["name"] for f in record["perception"] if f["presence"] == "present"}
    )
    counts = collections.Counter(record["status"] for record in records)
    images = collections.Counter()
    for record in records:
        images[record["status"]] += len(record["images"])
    return {
        "statuses": "\n".join(
            f"| {status} | {counts[status]} | {images[status] or 'not opened'} |" for status in counts
        ),
        "problems": "\n".join(f"- `{record['study']}`: {record['status']}: {record['reason']}" for record in others),
        "studies": len(drafted),
        "texts": len(texts),
        "most": texts.most_common(1)[0][1] if texts else 0,
        "findings": ", ".join(f"{name} {count}" for name, count in claimed.most_common()) or "none",
        "rows": "\n".join(f"| `{record['study']}` | {_text(record)} |" for record in drafted),
    }


def _text(record: dict[str, Any]) -> str:
    report = record["report"]
    return " ".join(f"*{name.capitalize()}:* {report[name]}" for name in ("findings", "impression") if report[name])


if __name__ == "__main__":
    main()
