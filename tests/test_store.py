"""The run folder survives kills, refuses other configs, and says what went wrong with the disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread.errors import RunError
from wetread.runs import store
from wetread.runs.store import JsonLines, RunFolder


def test_lines_come_back_in_order(tmp_path):
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append({"study": "a"}, {"study": "b"})
    lines.append({"study": "ç\n\u2028"})
    assert [one["study"] for one in lines.read()] == ["a", "b", "ç\n\u2028"]


@given(st.integers(min_value=0, max_value=60))
def test_any_cut_tail_loses_only_the_cut_line(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    JsonLines(path).append({"study": "a", "n": 1}, {"study": "b", "n": 2})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut] if cut else data)
    whole = path.read_bytes().count(b"\n")
    again = JsonLines(path)
    assert len(list(again.read())) == whole
    again.append({"study": "c"})
    kept = list(JsonLines(path).read())
    assert len(kept) == whole + 1
    assert kept[-1] == {"study": "c"}


def test_damage_inside_is_named_by_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"study": "a"}\nnot json\n{"study": "b"}\n')
    with pytest.raises(RunError, match="line 2"):
        list(JsonLines(path).read())


def test_another_config_is_refused_by_its_keys(tmp_path):
    RunFolder.open(tmp_path / "run", "sft", {"seed": 0, "optim": {"rate": 0.1}})
    RunFolder.open(tmp_path / "run", "sft", {"seed": 0, "optim": {"rate": 0.1}})
    with pytest.raises(RunError, match=r"optim\.rate \(was 0\.1, now 0\.2\)"):
        RunFolder.open(tmp_path / "run", "sft", {"seed": 0, "optim": {"rate": 0.2}})
    with pytest.raises(RunError, match="'sft' run"):
        RunFolder.open(tmp_path / "run", "rl", {"seed": 0, "optim": {"rate": 0.1}})


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    lines = JsonLines(tmp_path / "a.jsonl")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device") as caught:
        lines.append({"study": "a"})
    assert "\n" not in str(caught.value)


def test_a_real_full_device_is_one_line():
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    from pathlib import Path

    lines = JsonLines(Path("/dev/full"))
    lines._repaired = True
    with pytest.raises(RunError, match="No space left"):
        lines.append({"study": "a"})


def test_kill_9_while_writing_keeps_every_line_that_was_acknowledged(tmp_path):
    path = tmp_path / "a.jsonl"
    code = (
        "import sys; from pathlib import Path; from wetread.runs.store import JsonLines\n"
        f"lines = JsonLines(Path({str(path)!r}))\n"
        "for i in range(100000):\n"
        "    lines.append({'study': str(i), 'text': 'x' * 5000}); print(i, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    acknowledged = [process.stdout.readline() for _ in range(20)]
    time.sleep(0.05)
    process.kill()
    rest = process.stdout.read().splitlines()
    process.wait()
    last = int(rest[-1]) if rest else int(acknowledged[-1])
    kept = [int(one["study"]) for one in JsonLines(path).read()]
    assert kept[: last + 1] == list(range(last + 1))


HOLDER = """
import os, sys, time
from pathlib import Path
from wetread.runs.store import RunFolder
RunFolder.open(Path(sys.argv[1]), "sft", {}, alone=True).event("begun")
if not os.fork():  # a worker, say, that the kill leaves behind
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_folder_that_another_process_writes_is_refused_until_that_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        told = rf"run is being written by another process \(pid {holder.pid} on .*\); wait .* or choose another --out"
        with pytest.raises(RunError, match=told):
            RunFolder.open(tmp_path / "run", "sft", {}, alone=True)
        assert RunFolder.open(tmp_path / "run", "sft", {}).done("begun")  # reading is free
        holder.kill()
        holder.wait()
        with store.letting_go(tmp_path / "run"):
            RunFolder.open(tmp_path / "run", "sft", {}, alone=True)
            os.kill(child, 0)  # still there
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_process_does_not_lock_itself_out_and_lets_go(tmp_path):
    def free() -> bool:
        code = "import sys; from pathlib import Path; from wetread.runs.store import hold; hold(Path(sys.argv[1]))"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert done.returncode == 0 or "being written by another process" in done.stderr
        return done.returncode == 0

    with store.letting_go(tmp_path / "run"):
        assert free()
        store.hold(tmp_path / "run")
        store.hold(tmp_path / "run" / "stage")
        with store.letting_go(tmp_path / "run"):
            store.hold(tmp_path / "run")
        assert not free()
    assert free()


def test_where_nothing_can_be_written_there_is_no_lock(tmp_path):
    (tmp_path / "file").write_text("")
    store.hold(tmp_path / "file" / "run")
    with pytest.raises(RunError, match=r"cannot make the run folder .*Choose another --out") as caught:
        RunFolder.open(tmp_path / "file" / "run", "sft", {}, alone=True)
    assert "Free space" not in str(caught.value)


def test_a_folder_that_was_moved_is_restated_and_still_refuses_another_config(tmp_path):
    RunFolder.open(tmp_path / "run", "rl", {"model": "a/sft/model", "seed": 0}).event("begun")
    store.restate(tmp_path / "run", "model", "b/sft/model")
    assert RunFolder.open(tmp_path / "run", "rl", {"model": "b/sft/model", "seed": 0}).done("begun")
    assert "b/sft/model" in (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(RunError, match="model"):
        RunFolder.open(tmp_path / "run", "rl", {"model": "a/sft/model", "seed": 0})


def test_atomic_write_leaves_no_part(tmp_path):
    store.write_atomic(tmp_path / "x.json", json.dumps([1]))
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]
