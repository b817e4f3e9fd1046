"""One command as several processes that train together on this machine: what ``--processes`` does.

The command is started that often, each time told its rank in the way that torch expects (``RANK``, ``WORLD_SIZE`` …), so
`torchrun` and `accelerate launch` may start it just as well. What is added here is how it ends: the first process that
fails ends all, its one line is shown and its exit code is kept; and none outlives the launcher, however that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wetread.errors import EXIT_SOME_FAILED, RunError, UsageError
from wetread.runs.store import write_atomic

_SAID = "WETREAD_SAID"
"""Variable with the file into which a started process writes its error, so that one line is shown and not one each."""
_GRACE = 5.0
"""Seconds between asking a process to end and making it."""


def started(count: int) -> bool:
    """Whether this is one of ``count`` processes that somebody has started already.

    Raises
    ------
    UsageError
        They are more or fewer.
    """
    there = int(os.environ.get("WORLD_SIZE", "1"))
    if there not in (1, count):
        raise UsageError(f"--processes {count}, but this is one of {there} processes already; leave --processes out.")
    return there == count


def writes() -> bool:
    """Whether this process is the one that shows progress and results."""
    return int(os.environ.get("RANK", "0")) == 0


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run ``wetread ARGUMENTS`` as ``count`` processes and return 0 when all are done.

    Raises
    ------
    RunError
        One failed; text and exit code are its own.
    """
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        said = [Path(folder) / f"said-{rank}" for rank in range(count)]
        with _running(count, arguments, said) as running:
            codes = [process.poll() for process in running]
            while None in codes and not any(codes):
                time.sleep(0.02)
                codes = [process.poll() for process in running]
        if any(codes):
            raise _cause(codes, said)
    return 0


def follow() -> None:
    """In a process that ``launch`` started: end as soon as the launcher has ended, however it did."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(EXIT_SOME_FAILED)

    threading.Thread(target=watch, daemon=True).start()


def hand_over(message: str, code: int) -> None:
    """In a process that ``launch`` started: leave an error to the launcher to show."""
    write_atomic(Path(os.environ[_SAID]), f"{code}\n{message}")


@contextmanager
def _running(count: int, arguments: Sequence[str], said: Sequence[Path]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes; at the end of the block those that still run are ended."""
    debug = "--debug" in arguments or bool(os.environ.get("WETREAD_DEBUG"))
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
    }
    shared["TORCH_CPP_LOG_LEVEL"] = os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")  # advice that is none of the user's
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback:  # all are on this machine, whatever its name resolves to
        shared["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", loopback)
    made: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            quiet = None if rank == 0 or debug else subprocess.DEVNULL
            made.append(
                subprocess.Popen(
                    [sys.executable, "-m", "wetread", *arguments],
                    env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), _SAID: str(said[rank])},
                    stdin=subprocess.PIPE,  # never written to; its end tells the process that the launcher has ended
                    stdout=None if rank == 0 else subprocess.DEVNULL,
                    stderr=quiet,
                )
            )
        yield made
    finally:
        _end(made)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _cause(codes: Sequence[int | None], said: Sequence[Path]) -> RunError:
    """Return the error of the process that failed first; the others fail because it no longer answers."""
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            return RunError(
                f"process {rank + 1} of {len(codes)} was ended by {signal.Signals(-code).name}; "
                "its memory may have run out. The same command with the same --out continues from the last checkpoint."
            )
    told = [file for file in said if file.exists()]
    if told:
        number, message = min(told, key=lambda file: file.stat().st_mtime_ns).read_text("utf-8").split("\n", 1)
        error = RunError(message)
        error.exit_code = int(number)
        return error
    rank = next(rank for rank, code in enumerate(codes) if code)
    return RunError(f"process {rank + 1} of {len(codes)} ended with exit code {codes[rank]}; --debug shows why.")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
