"""`wetread score` and `wetread compare` as whole processes, with every metric that needs no weights.

    python bench/score_speed.py              # 10,000 pairs scored; two systems compared on 2,000 studies, 10,000 resamples
    python bench/score_speed.py --quick      # 200 and 100: does it run?

The pairs are those of `bench/scale.py`: phantom reports and the same with edits. The second system is the first with every third
draft taken from another study.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from scale import pairs

Took = tuple[float, float]
"""Seconds on the clock, and processor seconds of the process and its workers, which other work lengthens less."""


def timed(*arguments: object) -> Took:
    """Run `wetread` and return what it took."""
    command = [str(Path(sys.executable).with_name("wetread")), *map(str, arguments)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def said(took: Sequence[Took]) -> str:
    """Return the times of all runs in words."""
    wall, cpu = zip(*took, strict=True)
    return (
        f"{statistics.median(wall):.1f} s (least {min(wall):.1f}, greatest {max(wall):.1f}, {len(wall)} runs), "
        f"{statistics.median(cpu):.1f} processor seconds (least {min(cpu):.1f})"
    )


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def score_seconds(folder: Path, count: int, seed: int, rounds: int) -> list[Took]:
    """Time the scoring of ``count`` pairs."""
    references, drafts = zip(*pairs(count, seed), strict=True)
    files = write(folder / "references.jsonl", references), write(folder / "drafts.jsonl", drafts)
    return [
        timed("score", "--references", files[0], "--drafts", files[1], "--json", folder / "scores.json")
        for _ in range(rounds)
    ]


def compare_seconds(folder: Path, count: int, seed: int, rounds: int, resamples: int) -> tuple[list[Took], int]:
    """Time the comparison of two systems, and count the metrics."""
    references, drafts = zip(*pairs(count, seed), strict=True)
    others = [
        {**drafts[(place + 1) % count], "study": draft["study"]} if place % 3 == 0 else draft
        for place, draft in enumerate(drafts)
    ]
    truth = write(folder / "truth.jsonl", references)
    for name, rows in (("a", drafts), ("b", others)):
        file = write(folder / f"{name}.jsonl", rows)
        timed("score", "--references", truth, "--drafts", file, "--out", folder / name)
    told = folder / "compared.json"
    seconds = [
        timed("compare", folder / "a", folder / "b", "--resamples", resamples, "--json", told) for _ in range(rounds)
    ]
    return seconds, len(json.loads(told.read_text("utf-8"))["pairs"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="200 pairs, 100 studies, once")
    given = parser.parse_args()
    scored, studies, resamples = (200, 100, 1_000) if given.quick else (10_000, 2_000, 10_000)
    rounds = 1 if given.quick else given.rounds
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"seed {given.seed}, {time.strftime('%Y-%m-%d')}"
    )
    with tempfile.TemporaryDirectory() as place:
        took = score_seconds(Path(place), scored, given.seed, rounds)
        print(f"wetread score --metrics offline, {scored} pairs: {said(took)}")
        took, metrics = compare_seconds(Path(place), studies, given.seed, rounds, resamples)
        print(
            f"wetread compare, two systems, {studies} studies, {resamples} resamples, {metrics} metrics: {said(took)}"
        )


if __name__ == "__main__":
    main()
