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


def timed(*arguments: object) -> float:
    """Run `wetread` and return its seconds."""
    command = [str(Path(sys.executable).with_name("wetread")), *map(str, arguments)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def score_seconds(folder: Path, count: int, seed: int, rounds: int) -> list[float]:
    """Time the scoring of ``count`` pairs."""
    references, drafts = zip(*pairs(count, seed), strict=True)
    files = write(folder / "references.jsonl", references), write(folder / "drafts.jsonl", drafts)
    return [
        timed("score", "--references", files[0], "--drafts", files[1], "--json", folder / "scores.json")
        for _ in range(rounds)
    ]


def compare_seconds(folder: Path, count: int, seed: int, rounds: int, resamples: int) -> tuple[list[float], int]:
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
        seconds = score_seconds(Path(place), scored, given.seed, rounds)
        print(
            f"wetread score --metrics offline, {scored} pairs: {statistics.median(seconds):.1f} s "
            f"(least {min(seconds):.1f}, greatest {max(seconds):.1f}, {rounds} runs)"
        )
        seconds, metrics = compare_seconds(Path(place), studies, given.seed, rounds, resamples)
        print(
            f"wetread compare, two systems, {studies} studies, {resamples} resamples, {metrics} metrics: "
            f"{statistics.median(seconds):.1f} s (least {min(seconds):.1f}, greatest {max(seconds):.1f}, {rounds} runs)"
        )


if __name__ == "__main__":
    main()
