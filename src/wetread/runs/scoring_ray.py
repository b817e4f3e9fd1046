"""Chunks scored by Ray actors, on this machine or on a cluster (extra ``ray``); see ``scoring_pool`` for what a pool is.

Each actor holds the scorer and works on one chunk at a time. A chunk whose actor dies is given to another one, and a new actor
takes the place of the dead one. Nothing is reported to anybody: usage statistics are off, there is no dashboard, and the logs
of a cluster of this machine go with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import wetread
from wetread.errors import MissingError, RunError, UsageError
from wetread.runs.scoring_pool import AHEAD, cores, hold, work_held
from wetread.runs.scoring_work import ENDPOINT, Chunk, Done, Scorer

LOCAL = "local"
"""The address that means a cluster of this machine alone, for this command alone."""
TRIES = 3
"""Actors that may die over one chunk before the command gives up."""
ANSWER = 5.0
"""Seconds in which an address must answer."""
JOIN = 30.0
"""Seconds in which a cluster must let this machine in."""
START = 120.0
"""Seconds in which an actor must start when there is no other."""
_PREFIX = "WETREAD_"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # actors without a GPU see those that are there, as any process does
}


@contextmanager
def opened(scorer: Scorer, address: str, workers: int = 0) -> Iterator[Actors]:
    """Give actors that hold ``scorer``; they end with the context.

    With networks to run and GPUs in the cluster there is one actor a GPU, else one a core.

    Parameters
    ----------
    scorer
        What is held.
    address
        ``local``, or ``HOST:PORT`` of the head of a cluster to which this machine belongs.
    workers
        Actors at most; 0: as many as there are GPUs or cores.

    Raises
    ------
    UsageError
        The address has another form.
    MissingError
        Ray is not installed, or nothing answers at the address.
    RunError
        No actor starts, or the actors have another version of wetread.
    """
    try:
        import ray
    except ImportError:
        raise MissingError("--ray needs Ray, which is not installed: pip install 'wetread[ray]'.") from None
    os.environ.update(_QUIET)
    with _folder() as folder:
        try:
            _connect(ray, address, workers, folder)
            yield Actors(ray, scorer, workers)
        finally:
            ray.shutdown()


@contextmanager
def _folder() -> Iterator[str]:
    """Give a folder for the files of a cluster of this machine.

    Its name is short: the paths of the sockets in it must not be longer than a hundred letters. Ray's processes may write
    into it for a moment after their end was asked for.
    """
    folder = tempfile.mkdtemp(prefix="wetread-", dir="/tmp" if Path("/tmp").is_dir() else None)
    try:
        yield folder
    finally:
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.1)


def _connect(ray: Any, address: str, workers: int, folder: str) -> None:
    """Start Ray on this machine or join a cluster."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        ray.init(address=LOCAL, num_cpus=workers or cores(), include_dashboard=False, _temp_dir=folder, **quiet)
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UsageError(
            f"--ray {address!r}: allowed are {LOCAL} and HOST:PORT of the head of a cluster to which this machine belongs."
        )
    reason = _unanswered(host, int(port), address)
    if reason:
        raise MissingError(
            f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, or use --ray {LOCAL}."
        )
    ray.init(address=address, **quiet)


def _unanswered(host: str, port: int, address: str) -> str:
    """Return why a cluster cannot be joined, empty when it can.

    Ray itself waits for minutes, and talks, where something else listens; so a process is sent ahead that can be ended.
    """
    try:
        socket.create_connection((host, port), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error)
    join = [sys.executable, "-c", "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)", address]
    try:
        tried = subprocess.run(join, capture_output=True, text=True, timeout=JOIN, check=False)
    except subprocess.TimeoutExpired:
        return f"what listens there is no Ray cluster, or did not let this machine in within {JOIN:.0f} s"
    if tried.returncode == 0:
        return ""
    if "AuthenticationError" in tried.stderr:
        return "it asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    return tried.stderr.strip().rpartition("\n")[2].strip()[:200] or "it refused"


class Worker:
    """What an actor is."""

    def __init__(self, scorer: Scorer, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        hold(scorer)

    def version(self) -> str:
        """Return the version of wetread; the answer says that the actor is ready."""
        return wetread.__version__

    def work(self, chunk: Chunk) -> Done:
        """Score a chunk."""
        return work_held(chunk)


class Actors:
    """A pool of Ray actors. Those that have started are given chunks, each to the one with the fewest."""

    def __init__(self, ray: Any, scorer: Scorer, workers: int = 0) -> None:
        self._ray = ray
        self.scorer = scorer
        total = ray.cluster_resources()
        networks = any(ENDPOINT not in need for need in scorer.needs)
        gpus = int(total.get("GPU", 0)) if networks else 0
        kind = ray.remote(Worker).options(num_cpus=1, num_gpus=1 if gpus else 0)
        count = gpus or max(1, int(total.get("CPU", 1)))
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        # Handed over and not set as Ray's runtime environment, which a cluster writes into its logs: a key may be among it.
        self._start = partial(kind.remote, ray.put(scorer), environment)
        self._starting: dict[Any, Any] = {}
        self._ready: list[Any] = []
        self._busy: dict[Any, Any] = {}
        self._failed = 0
        for _ in range(min(workers, count) if workers else count):
            self._add()

    @property
    def ahead(self) -> int:
        """Chunks under way, two for each actor that has started."""
        self._welcome(0)
        return AHEAD * max(1, len(self._ready))

    def begin(self, chunk: Chunk) -> Callable[[], Done]:
        """Give a chunk to the actor that has the fewest."""
        return partial(self._result, chunk, *self._send(chunk))

    def _result(self, chunk: Chunk, actor: Any, sent: Any) -> Done:
        failures = self._ray.exceptions
        for left in reversed(range(TRIES)):
            try:
                done: Done = self._ray.get(sent)
                return done
            except failures.RayTaskError as error:  # what the scoring itself raised
                raise error.cause from None
            except failures.RayError:
                self._lose(actor)
                if left:
                    actor, sent = self._send(chunk)
        raise RunError(
            f"{TRIES} Ray actors died over the studies from {chunk.pairs[0].study!r} on (killed, or out of memory); give "
            "fewer --workers. With --out the same command continues where it was."
        )

    def _send(self, chunk: Chunk) -> tuple[Any, Any]:
        self._welcome(0)
        until = time.monotonic() + START
        while not self._ready and time.monotonic() < until:
            self._welcome(until - time.monotonic())
        if not self._ready:
            raise RunError(
                f"no Ray actor started within {START:.0f} s; see with `ray status` what the cluster has free."
            )
        if self._busy:
            for done in self._ray.wait(list(self._busy), num_returns=len(self._busy), timeout=0, fetch_local=False)[0]:
                del self._busy[done]
        loads = list(self._busy.values())
        actor = min(self._ready, key=loads.count)
        sent = actor.work.remote(chunk)
        self._busy[sent] = actor
        return actor, sent

    def _add(self) -> None:
        actor = self._start()
        self._starting[actor.version.remote()] = actor

    def _welcome(self, seconds: float) -> None:
        """Take in the actors that have started; wait for one so long."""
        if not self._starting:
            return
        for answer in self._ray.wait(list(self._starting), timeout=seconds)[0]:
            actor = self._starting.pop(answer)
            try:
                found = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                self._failed += 1
                if self._failed >= TRIES:
                    said = str(error).strip().rpartition("\n")[2].strip()[:300]
                    raise RunError(f"{TRIES} Ray actors could not start; is wetread on every node? {said}") from None
                self._add()
                continue
            if found != wetread.__version__:
                raise RunError(
                    f"a Ray node has wetread {found}, this one {wetread.__version__}; install one version on every node."
                )
            self._ready.append(actor)
            self._failed = 0

    def _lose(self, actor: Any) -> None:
        """Put a new actor in the place of a dead one."""
        if actor in self._ready:
            self._ready.remove(actor)
            self._busy = {sent: one for sent, one in self._busy.items() if one is not actor}
            self._add()
