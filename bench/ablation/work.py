"""Several trainings and scorings in one process, one after another, so that the libraries are loaded once.

    PYTHONPATH=bench python -m ablation.work TASKS.json LEDGER.jsonl

Every task leaves its own mark when it ends, so a second call does only what has not ended. The ledger says what each training
took: wall and processor seconds of every call that it went through.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation import measure, planted, thinking
from wetread.errors import GuardWarning
from wetread.records import InputConfig
from wetread.runs.config import build
from wetread.runs.store import JsonLines

Task = Mapping[str, Any]
"""``do``: a key of ``DO``; and what that needs, see the functions."""


def train(task: Task) -> None:
    """Train by ``config`` in ``out``; ``kind`` is sft or rl."""
    from wetread.training import rl, sft
    from wetread.training.config import RlConfig, SftConfig

    if task["kind"] == "sft":
        sft.train(build(SftConfig, None, (), task["config"]), Path(task["out"]))
    else:
        rl.train(build(RlConfig, None, (), task["config"]), Path(task["out"]))


def plant(task: Task) -> None:
    """Train by ``config`` in ``out`` on the planted reward ``reward``."""
    planted.plant()
    train({**task, "kind": "rl"})


def score(task: Task) -> None:
    """Draft and score ``model``, called ``name``, on both groups of test studies, also with parts of the ``priors`` kept."""
    data = Path(task["data"])
    for group in measure.GROUPS:
        studies = measure.group(data, group, task["limit"])
        for prior in (None, *task["priors"]):
            out = measure.place(Path(task["out"]), group, prior or "")
            measure.make(data, task["model"], task["name"], studies, out, InputConfig(prior=prior))


DO = {
    "train": train,
    "plant": plant,
    "score": score,
    "prime": thinking.prime,
    "trace": thinking.trace,
    "reflect": thinking.reflect,
    "think": thinking.think,
}
TICK = 20.0
"""Seconds between notes of what a training has taken."""
SCORING = ("score", "think")
"""What is not training, and whose time does not count as an arm's."""


def run(tasks: Sequence[Task], ledger: JsonLines) -> None:
    """Do the tasks in order, and note what each that trains has taken so far, every few seconds and at its end."""
    for task in tasks:
        if task["do"] in SCORING:
            DO[task["do"]](task)
            continue
        over = threading.Event()
        noting = threading.Thread(target=_note, args=(task["out"], ledger, over), daemon=True)
        noting.start()
        try:
            DO[task["do"]](task)
        finally:
            over.set()
            noting.join()


def _note(out: str, ledger: JsonLines, over: threading.Event) -> None:
    wall, cpu, call = time.monotonic(), time.process_time(), f"{time.time():.3f}-{os.getpid()}"
    while True:
        last = over.wait(TICK)
        took = {"seconds": round(time.monotonic() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}
        ledger.append({"out": out, "call": call, **took})
        if last:
            return


def took(ledger: Path) -> dict[str, float]:
    """Return training folder to processor seconds, all calls together, those that were killed too."""
    calls: dict[tuple[str, str], float] = {}
    for number, record in enumerate(JsonLines(ledger).read()):
        calls[record["out"], record.get("call", str(number))] = record["cpu"]
    found: dict[str, float] = {}
    for (out, _), cpu in calls.items():
        found[out] = found.get(out, 0.0) + cpu
    return found


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, so that nothing trains on unseen and is started again beside it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Do what a file of tasks says."""
    _end_with_parent()
    warnings.simplefilter("always", GuardWarning)
    tasks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run(tasks, JsonLines(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
