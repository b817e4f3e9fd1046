"""Trainings as processes of their own that are killed where a test says, forked from one that has imported what takes seconds."""

import functools
import importlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

HEAVY = [
    "torch", "datasets", "transformers", "trl.trainer.sft_trainer", "trl.trainer.grpo_trainer", "safetensors.torch",
    "wetread.training.sft", "wetread.training.rl", "wetread.training.warmup", "wetread.training.noise",
]  # fmt: skip
SINGLE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

Point = tuple[str, int | str]
"""Where a process kills itself: before the so-maniest call of a function, by its dotted name, or its first call with a word."""


def start(arguments: Sequence[object], log: Path, kill: Point | None = None, **env: str) -> multiprocessing.Process:
    """Start ``wetread ARGUMENTS`` in a forked process; ``log`` gets what it writes."""
    context = multiprocessing.get_context("forkserver")
    os.environ.update(SINGLE)  # what the first fork inherits is what all do
    context.set_forkserver_preload(HEAVY)
    process = context.Process(target=_run, args=([str(one) for one in arguments], str(log), kill, env))
    process.start()
    return process


def run(arguments: Sequence[object], log: Path, kill: Point | None = None, **env: str) -> int:
    """Run it to its end and return its exit code, -9 when it was killed."""
    process = start(arguments, log, kill, **env)
    process.join(300)
    assert process.exitcode is not None, "still running after five minutes"
    return process.exitcode


def together(count: int, arguments: Sequence[object], log: Path, kill: Point | None = None) -> list[int]:
    """Run it as ``count`` processes that share a training; the last is the one that is killed."""
    shared = ranks(count, free_port())
    processes = [
        start(arguments, log.with_suffix(f".{rank}"), kill if rank == count - 1 else None, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(count)
    ]  # fmt: skip
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ranks(count: int, port: int) -> dict[str, str]:
    """The variables that all processes of a training share."""
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    return shared | {"MASTER_PORT": str(port)} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})


def _run(arguments: list[str], log: str, kill: Point | None, env: dict[str, str]) -> None:
    os.environ.update(env)
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if kill is not None:
        _kill_before(*kill)
    from wetread.cli import main

    main(arguments)


def _kill_before(name: str, call: int | str) -> None:
    """Let the process kill itself at a ``Point``; its function is named package.module.Class.function."""
    owner, last = _find(name)
    plain = getattr(owner, last)
    calls = 0

    @functools.wraps(plain)
    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call or any(isinstance(one, str) and one == call for one in args):
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **kwargs)

    setattr(owner, last, counted)


def _find(name: str) -> tuple[object, str]:
    """Return the module or class that holds the function, and the function's name in it."""
    *parts, last = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], owner), last
    raise LookupError(name)
