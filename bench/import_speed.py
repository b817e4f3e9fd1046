"""`wetread data import` and `wetread data check` as whole processes: studies a second, in the layout of MIMIC-CXR-JPG.

    python bench/import_speed.py              # 5,000 made-up studies of two images
    python bench/import_speed.py --quick      # 200: does it run?

Reports are the phantom's, in text files with MIMIC's headers; every image is one small JPEG, so that what is measured is the
import and not the disk. Two thirds of the patients have two studies, in which priors are found.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from score_speed import Took, timed

COLUMNS = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime", "split")


def make(root: Path, count: int, seed: int) -> Path:
    """Write ``count`` studies in the layout of MIMIC-CXR-JPG, and return the folder."""
    import numpy as np
    from PIL import Image

    from wetread.studies import phantom

    root.mkdir()
    shown = root / "one.jpg"
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(shown)
    rows = []
    for number, study in enumerate(phantom.generate(count, seed)):
        patient, key = f"1{number * 2 // 3:07d}", f"5{number:07d}"
        folder = root / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{key}"
        folder.mkdir(parents=True)
        report = study.report
        assert report is not None
        folder.with_suffix(".txt").write_text(
            f" FINAL REPORT\n INDICATION:  {study.indication}\n \n FINDINGS: \n \n {report.findings}\n \n"
            f" IMPRESSION: \n \n {report.impression}\n",
            "utf-8",
        )
        for view in ("PA", "LATERAL"):
            dicom = f"{number:08d}-{view}"
            (folder / f"{dicom}.jpg").hardlink_to(shown)
            rows.append(
                (dicom, patient, key, view, f"2150{1 + number % 12:02d}{1 + number % 28:02d}", "120000.0", "train")
            )
    for name in ("metadata", "split"):
        with gzip.open(root / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return root


def told(what: str, count: int, took: Sequence[Took]) -> str:
    """Return studies a second of all runs in words; by the clock, start of the process counted."""
    rates = sorted(count / wall for wall, _ in took)
    seconds = statistics.median(cpu for _, cpu in took)
    return (
        f"{what}: {statistics.median(rates):.0f} studies/s (least {rates[0]:.0f}, greatest {rates[-1]:.0f}, {len(took)} runs), "
        f"{seconds:.1f} processor seconds for {count:,}"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    count, rounds = (200, 1) if given.quick else (given.studies, given.rounds)
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}; seed {given.seed}; other work on the machine lengthens the times by the clock",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        root = make(top / "set", count, given.seed)
        ways: dict[str, list[str]] = {
            "import, images linked, no labels": ["--no-labels"],
            "import, images copied, no labels": ["--no-labels", "--copy"],
            "import, images linked, labels read": [],
        }
        for what, options in ways.items():
            runs = [
                timed(
                    "data",
                    "import",
                    "mimic-cxr-jpg",
                    root,
                    "--out",
                    top / f"{len(options)}-{what[:20]}-{turn}",
                    *options,
                )
                for turn in range(rounds)
            ]
            print(told(what, count, runs), flush=True)
        made = top / f"0-{what[:20]}-0"
        print(told("check, images opened, labels read", count, [timed("data", "check", made) for _ in range(rounds)]))


if __name__ == "__main__":
    main()
