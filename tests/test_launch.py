"""Several processes of one command end together, with one line, and none outlives the launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training_helpers import wait_for_children
from wetread.cli import processes
from wetread.errors import RunError, UsageError

LAUNCH = "import sys; from wetread.cli import processes; processes.launch(2, sys.argv[1:])"


def endless(out: Path) -> list[str]:
    """A command that needs no model and takes for ever."""
    return ["phantom", "--out", str(out), "--studies", "1000000", "--size", "64"]


def test_all_done_is_0(capfd):
    assert processes.launch(2, ["--version"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1  # the first process alone is heard


def test_text_and_code_are_those_of_the_process_that_failed(capfd):
    with pytest.raises(RunError, match="o such option") as raised:
        processes.launch(2, ["phantom", "--studie", "3"])
    assert raised.value.exit_code == 2
    assert "wetread:" not in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="asks ps for children by parent")
def test_one_that_is_killed_ends_the_other(tmp_path):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, *endless(tmp_path)], stderr=subprocess.PIPE, text=True)
    first, second = _children(launcher)
    os.kill(second, signal.SIGKILL)
    _, said = launcher.communicate(timeout=60)
    assert "process 2 of 2 was ended by SIGKILL" in said
    _gone([first])


@pytest.mark.skipif(sys.platform != "linux", reason="asks ps for children by parent")
def test_none_outlives_a_launcher_that_is_killed(tmp_path):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, *endless(tmp_path)], stderr=subprocess.DEVNULL)
    children = _children(launcher)
    launcher.kill()
    launcher.wait()
    _gone(children)


def test_another_number_of_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes.started(4)
    with pytest.raises(UsageError, match="one of 4 processes already"):
        processes.started(2)


def _children(launcher: subprocess.Popen) -> list[int]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = wait_for_children(launcher, Path(os.devnull), 0)
        if len(found) == 2:
            time.sleep(1.0)  # until they are at work; before that they end just as well, but show less
            return found
    raise AssertionError("no processes were started")


def _gone(pids: list[int]) -> None:
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "outlived the launcher"
        time.sleep(0.02)
