"""Small data and the smallest policy, shared by the tests that train."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SMALL = (
    "tiny.image_size=64", "tiny.vision_width=40", "tiny.warmup_steps=4", "tiny.text_width=64", "tiny.text_layers=1",
    "tiny.vocabulary=600", "optim.batch=8", "checkpoint_every=2",
)  # fmt: skip
"""Settings of a policy that trains in seconds."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from wetread.cli import main; main()", *arguments]


def wetread(*arguments: object, **kwargs) -> subprocess.CompletedProcess:
    """Run the command line as a process of its own and return what came of it."""
    return subprocess.run(command(*map(str, arguments)), capture_output=True, text=True, timeout=600, **kwargs)


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def kill_when(arguments: list[str], file: Path, lines: int, seconds: float = 120) -> None:
    """Start the command, kill -9 it once ``file`` has so many lines, and wait until it is gone."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.005)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_children(process: subprocess.Popen, file: Path, lines: int, seconds: float = 300) -> list[int]:
    """Return the children of the process, in the order they were started, once ``file`` has so many lines."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.005)
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return sorted(map(int, found.stdout.split()))
