"""Trainings and evaluations as single-thread processes, as many at once as there are cores, continued after a kill.

Every job is a command. What it took is written down when it ends, so that a second call runs only what has not ended; a
training that was cut short continues from its own checkpoint. A fixed number of threads makes the results independent of the
number of cores: one each, since two such processes do more than one with two threads, and two where all others wait for one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wetread.runs.store import JsonLines

LEDGER = "jobs.jsonl"
"""File in a run folder that says which jobs have ended, and what each took."""
CALLS = "calls"
"""Folder in a run folder with a file for each call: its name is when it began, its time when it was last alive."""
TICK = 5.0
"""Seconds between signs of life."""
BENCH = Path(__file__).resolve().parent.parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SETTING = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH", "")))),
}


@dataclass(frozen=True)
class Job:
    """One command."""

    name: str
    """Its name, unique; ``/`` makes a folder of the log."""
    command: tuple[str, ...]
    """Program and arguments."""
    after: tuple[str, ...] = ()
    """Jobs whose results it needs."""
    threads: int = 1
    """Its threads: a fixed number, whatever the cores, since results hang on it."""


@dataclass(frozen=True)
class Took:
    """What a job took, all of its calls together."""

    seconds: float
    """Wall time."""
    cpu: float
    """Processor seconds, its children's too."""


class Failed(Exception):
    """A job ended with an error; the last lines of its log are in the message."""


def run(jobs: Sequence[Job], out: Path, workers: int, tell: Callable[[str], None] = print) -> Mapping[str, Took]:
    """Run every job that has not ended in ``out`` yet, and return what each took.

    Where a job fails, those that need it are left out, the others still run, and ``Failed`` says it at the end.
    """
    ledger = JsonLines(out / LEDGER)
    spent: dict[str, Took] = {}
    ended: set[str] = set()
    for record in ledger.read():
        before = spent.get(record["name"], Took(0, 0))
        spent[record["name"]] = Took(before.seconds + record["seconds"], before.cpu + record["cpu"])
        if record["code"] == 0:
            ended.add(record["name"])
    waiting = [job for job in jobs if job.name not in ended]
    failed: dict[str, str] = {}
    running: dict[Future[tuple[int, Took]], Job] = {}
    start = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            for job in [one for one in waiting if set(one.after) <= ended][: workers - len(running)]:
                waiting.remove(job)
                running[pool.submit(_call, job, out)] = job
            lost = [one for one in waiting if set(one.after) & set(failed)]
            for job in lost:
                waiting.remove(job)
                failed[job.name] = f"it needs {', '.join(sorted(set(job.after) & set(failed)))}"
            if not running:
                if waiting and not lost:
                    raise Failed(f"these wait for what is not among the jobs: {[job.name for job in waiting]}")
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                code, took = future.result()
                ledger.append({"name": job.name, "code": code, "seconds": took.seconds, "cpu": took.cpu})
                before = spent.get(job.name, Took(0, 0))
                spent[job.name] = Took(before.seconds + took.seconds, before.cpu + took.cpu)
                if code == 0:
                    ended.add(job.name)
                else:
                    failed[job.name] = _tail(_log(job, out))
                left = len(waiting) + len(running)
                tell(
                    f"{time.monotonic() - start:6.0f} s  {'done' if code == 0 else 'FAILED'}  {job.name}  "
                    f"{took.seconds:.0f} s; {left} left"
                )
    if failed:
        raise Failed("\n".join(f"{name}: {why}" for name, why in failed.items()))
    return {job.name: spent[job.name] for job in jobs}


def left(jobs: Sequence[Job], out: Path) -> bool:
    """Whether any of the jobs has not ended in ``out`` yet."""
    ended = {record["name"] for record in JsonLines(out / LEDGER).read() if record["code"] == 0}
    return any(job.name not in ended for job in jobs)


@contextmanager
def clocked(out: Path) -> Iterator[None]:
    """Keep the wall time of this call in ``out``, to within a few seconds also where it is killed."""
    folder = out / CALLS
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / str(int(time.time()))
    over = threading.Event()

    def tick() -> None:
        while True:
            mark.touch()
            if over.wait(TICK):
                mark.touch()
                return

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def calls(out: Path) -> list[float]:
    """Return the wall seconds of every call that did something in ``out``, in order."""
    marks = sorted((out / CALLS).glob("*"), key=lambda mark: int(mark.name))
    return [mark.stat().st_mtime - int(mark.name) for mark in marks]


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a module of this folder."""
    return (sys.executable, "-m", f"ablation.{name}", *arguments)


def _log(job: Job, out: Path) -> Path:
    return out / "logs" / f"{job.name}.log"


def _call(job: Job, out: Path) -> tuple[int, Took]:
    log = _log(job, out)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    env = {**os.environ, **SETTING, **dict.fromkeys(THREADS, str(job.threads))}
    with log.open("ab") as file:
        process = subprocess.Popen(
            job.command, stdout=file, stderr=subprocess.STDOUT, env=env, stdin=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
    return code, Took(time.monotonic() - start, usage.ru_utime + usage.ru_stime)


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
