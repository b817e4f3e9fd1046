"""Time and memory of `wetread score` as the number of pairs grows.

    python bench/scale.py 10000 100000 1000000 --metrics findings_f1,bleu_4,rouge_l
    python bench/scale.py 10000 100000 --metrics offline --ways here,processes,ray

Phantom reports are the references. The drafts are the same reports, some as they are, most with one edit: a sentence left out,
taken from another report or measured, sides swapped, the end missing. Both files are written line by line and depend on the seed
alone. Every run is a process of its own; what is printed is its time by phase, its peak of resident memory and the highest among
its workers, and the size of the files that it reads and writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import psutil

from wetread.records import Report
from wetread.studies import phantom

WAYS = ("here", "processes", "ray")
"""In the process itself, in worker processes, in Ray actors on this machine."""
SAMPLED = 0.5
"""Seconds between two looks at the workers."""
_SIDES = {"left": "right", "right": "left"}
_STOP = re.compile(r"(?<=\.)\s+")


def pairs(count: int, seed: int) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
    """Yield reference and draft of each study, one at a time."""
    rng = Random(f"scale:{seed}")
    other = Report("The lungs are clear.")
    for index in range(count):
        study = phantom.make_study(seed, index)
        assert study.report is not None
        reference, draft = study.report, _edited(study.report, other, rng)
        other = reference
        # ids in no order of their own, as an archive's are: what is sorted on the way is really sorted
        name = hashlib.blake2b(study.id.encode(), digest_size=6).hexdigest()
        entry = {"study": name, "patient": study.patient, "site": study.site}
        yield {**entry, **reference.to_json()}, {"study": name, **draft.to_json()}


def _edited(report: Report, other: Report, rng: Random) -> Report:
    """Return a report with one edit or none."""
    kind = rng.choice(("same", "drop", "add", "measure", "swap", "cut"))
    sentences, foreign = _STOP.split(report.findings), _STOP.split(other.findings)
    at = rng.randrange(len(sentences))
    if kind == "drop" and len(sentences) > 1:
        del sentences[at]
    elif kind == "add":
        sentences.insert(at, rng.choice(foreign))
    elif kind == "measure":
        sentences.insert(
            at, f"A nodule measures {rng.randint(2, 40)} x {rng.randint(2, 40)} mm on image {rng.randrange(10**6)}."
        )
    elif kind == "swap":
        return Report(
            *(
                re.sub(r"\b(left|right)\b", lambda found: _SIDES[found[1]], text)
                for text in (report.findings, report.impression)
            )
        )
    elif kind == "cut":
        return Report(report.findings)
    return Report(" ".join(sentences), report.impression)


def write(folder: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Write references and drafts and return where."""
    paths = folder / "references.jsonl", folder / "drafts.jsonl"
    with paths[0].open("w", encoding="utf-8") as references, paths[1].open("w", encoding="utf-8") as drafts:
        for reference, draft in pairs(count, seed):
            references.write(json.dumps(reference) + "\n")
            drafts.write(json.dumps(draft) + "\n")
    return paths


def score(folder: Path, names: str, way: str, workers: int) -> None:
    """Score the files of a folder as the command does, and print seconds by phase, memory and digest of the result."""
    from wetread.runs import scoring, scoring_table
    from wetread.runs.scoring_pool import opened
    from wetread.runs.store import JsonLines, write_pieces

    marks = [time.perf_counter()]
    matched = scoring.read(folder / "references.jsonl", folder / "drafts.jsonl")
    marks.append(time.perf_counter())
    scorer = scoring.scorer(matched, scoring.choose(names))
    marks.append(time.perf_counter())
    lines = JsonLines(folder / "scores.jsonl")
    with opened(scorer, len(matched), 1 if way == "here" else workers, "local" if way == "ray" else "") as pool:
        result = scoring.score(matched, pool, lines=lines)
    marks.append(time.perf_counter())
    write_pieces(folder / "result.json", scoring_table.json_pieces(result, lines.read()))
    marks.append(time.perf_counter())
    with (folder / "result.json").open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:12]
    print(json.dumps({
        "seconds": [after - before for before, after in pairwise(marks)],
        "parent": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "digest": digest,
    }))  # fmt: skip


def measure(folder: Path, given: argparse.Namespace, way: str) -> dict[str, object]:
    """Run ``score`` in a process of its own and watch its workers."""
    for name in ("scores.jsonl", "result.json"):
        (folder / name).unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", str(folder), "--metrics", given.metrics, "--ways", way]
    process = subprocess.Popen([*command, "--workers", str(given.workers)], stdout=subprocess.PIPE, text=True)
    highest = 0.0
    while True:
        try:
            said = process.communicate(timeout=SAMPLED)[0]
            break
        except subprocess.TimeoutExpired:
            highest = max([highest, *(_peak(one.pid) for one in psutil.Process(process.pid).children(recursive=True))])
    if process.returncode:
        raise SystemExit(f"scoring ended with {process.returncode}")
    made = sum((folder / name).stat().st_size for name in ("scores.jsonl", "result.json"))
    return {**json.loads(said), "workers": highest, "made": made}


def _peak(pid: int) -> float:
    """Return the peak of resident memory of a process so far, in MB; 0 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=int, nargs="*", default=[10_000], help="numbers of pairs")
    parser.add_argument("--metrics", default="offline")
    parser.add_argument("--ways", default="here", help=f"of {', '.join(WAYS)}, with commas between")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of processes and of Ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        score(given.child, given.metrics, given.ways, given.workers)
        return
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}; seed {given.seed}; metrics {given.metrics}; {given.workers} workers\n\n"
        "| pairs | way | matching, s | corpus, s | scoring, s | JSON, s | pairs/s | parent, MB | largest worker, MB | read, MB | written, MB | result |\n"
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        flush=True,
    )
    for count in given.counts:
        with tempfile.TemporaryDirectory(prefix="scale-") as name:
            read = sum(path.stat().st_size for path in write(Path(name), count, given.seed))
            for way in given.ways.split(","):
                found = measure(Path(name), given, way)
                seconds = found["seconds"]
                assert isinstance(seconds, list)
                print(
                    f"| {count:,} | {way} | {' | '.join(f'{one:.1f}' for one in seconds)} | {count / sum(seconds):.0f} | "
                    f"{found['parent']:.0f} | {found['workers']:.0f} | {read / 1e6:.0f} | {found['made'] / 1e6:.0f} | {found['digest']} |",  # type: ignore[operator]
                    flush=True,
                )


if __name__ == "__main__":
    main()
