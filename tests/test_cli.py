"""The command line as a user meets it: exit codes, one line for each mistake, batches that go on, kills that lose nothing."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from training_helpers import command, kill_when, wetread
from wetread.runs.store import JsonLines
from wetread.studies import phantom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with phantom radiographs and one of each kind of bad file."""
    folder = tmp_path_factory.mktemp("films")
    phantom.write(folder / "made", 3, seed=4)
    good = folder / "good"
    good.mkdir()
    for i, path in enumerate(sorted((folder / "made").rglob("*.png"))):
        path.rename(good / f"film{i}.png")
    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.png").touch()
    (bad / "text.dcm").write_text("no dicom here")
    data = (good / "film0.png").read_bytes()
    (bad / "cut.png").write_bytes(data[: len(data) // 2])
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save(bad / "photo.jpg")
    return folder


def one_line(done) -> str:
    lines = [line for line in done.stderr.strip().splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_help_and_version():
    done = wetread("--help")
    assert done.returncode == 0
    for verb in ("demo", "draft", "phantom", "train", "evaluate"):
        assert verb in done.stdout
    assert wetread("--version").stdout.startswith("wetread ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["draft", "x.png", "--model", "template"], 3, "x.png"),
        (["draft"], 2, "--help"),
        (["drift"], 2, "drift"),
        (["draft", ".", "--model", "nowhere"], 3, "no model at 'nowhere'"),
        (["draft", ".", "--model", "template", "--sex", "mail"], 2, "Did you mean 'male'"),
        (["draft", ".", "--model", "template", "--age", "200"], 2, "130"),
        (["train", "sft", "--out", "o", "--set", "optim.stepz=1"], 2, "optim.steps"),
        (["train", "sft", "--out", "o", "--set", "optim.rate=-1"], 2, "out of range"),
        (["train", "sft", "--out", "o", "--config", "no.yaml"], 3, "no.yaml"),
        (["train", "rl", "--out", "o", "--set", "reward=bleu"], 2, "Did you mean 'bleu_4'"),
        (["evaluate", "--data", "nowhere", "--out", "o"], 3, "wetread phantom"),
        (["phantom", "--out", "o", "--studies", "0"], 2, "studies"),
        (["phantom", "--out", "o", "--format", "jpeg"], 2, "png"),
    ],
)
def test_mistakes_are_one_line_with_their_exit_code(arguments, code, said, tmp_path):
    done = wetread(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in one_line(done)


def test_debug_shows_the_traceback(tmp_path):
    done = wetread("draft", "x.png", "--model", "template", "--debug", cwd=tmp_path)
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def test_a_batch_goes_on_past_bad_files(films, tmp_path):
    file = tmp_path / "drafts.json"
    done = wetread(
        "draft", films / "good", films / "bad", "--model", "template", "--json", file, "--out", tmp_path / "run"
    )
    assert done.returncode == 1
    records = json.loads(file.read_text())
    keys = {"study", "images", "status", "reason", "report", "perception", "model", "seconds"}
    assert all(keys <= set(record) for record in records)
    statuses = [record["status"] for record in records]
    assert statuses.count("drafted") == 3
    assert statuses.count("refused") == 1
    assert statuses.count("failed") == 3
    for record in records:
        assert (record["status"] == "drafted") == bool(record["report"]["findings"])
        if record["status"] != "drafted":
            assert record["reason"]
            assert "\n" not in record["reason"]
        else:
            assert record["perception"][0].keys() >= {
                "name",
                "presence",
                "side",
                "location",
                "severity",
                "change",
                "span",
            }
    assert "AI draft, not verified" in done.stderr


def test_all_drafted_is_exit_0_and_json_goes_to_standard_output(films):
    done = wetread("draft", films / "good", "--model", "template", "--json", "-")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 3


def test_a_draft_folder_of_another_model_is_refused(films, tmp_path):
    arguments = ["draft", str(films / "good"), "--model", "template", "--out", str(tmp_path / "run")]
    assert wetread(*arguments).returncode == 0
    done = wetread(*arguments, "--max-new-tokens", "7")
    assert done.returncode == 1
    assert "max_new_tokens (was 0, now 7)" in one_line(done)


def test_a_killed_draft_run_repeats_nothing_and_loses_nothing(tmp_path):
    phantom.write(tmp_path / "many", 120, seed=9)
    out = tmp_path / "run"
    arguments = ["draft", str(tmp_path / "many" / "images"), "--model", "template", "--out", str(out), "--batch", "1"]
    kill_when(arguments, out / "drafts.jsonl", 10)
    before = [record["study"] for record in JsonLines(out / "drafts.jsonl").read()]
    assert before
    done = wetread(*arguments, "--json", tmp_path / "all.json")
    assert done.returncode == 0, done.stderr
    written = [record["study"] for record in JsonLines(out / "drafts.jsonl").read()]
    assert written[: len(before)] == before
    assert len(written) == len(set(written)) == 120
    assert len(json.loads((tmp_path / "all.json").read_text())) == 120


def test_a_killed_phantom_run_ends_with_the_same_bytes(tmp_path):
    arguments = ["phantom", "--studies", "150", "--seed", "3", "--out"]
    kill_when([*arguments, str(tmp_path / "a")], tmp_path / "a" / "studies.jsonl", 20)
    for name in ("a", "b"):
        assert wetread(*arguments, tmp_path / name).returncode == 0
    first, second = (sorted((tmp_path / name).rglob("*")) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True) if a.is_file())


def test_interrupt_is_130_and_one_line(tmp_path):
    process = subprocess.Popen(
        command("phantom", "--out", str(tmp_path / "p"), "--studies", "100000"),
        stderr=subprocess.PIPE,
        text=True,
        # A test run that was started in the background hands down an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "p" / "studies.jsonl").exists():
        time.sleep(0.02)
    for _ in range(20):  # as a user would: one that falls into a destructor is lost to Python, so press again
        os.kill(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=3)
            break
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 130
    assert "interrupted" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_full_disk_is_one_line(films):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    done = wetread("draft", films / "good", "--model", "template", "--json", "/dev/full/x.json")
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_real_files_each_give_a_draft_or_one_line(wetread_data, tmp_path):
    file = tmp_path / "all.json"
    done = wetread("draft", wetread_data / "dicom", wetread_data / "chest_xray", "--model", "template", "--json", file)
    assert done.returncode == 1  # the hips are refused
    records = json.loads(file.read_text())
    refused = [record for record in records if record["status"] == "refused"]
    assert len(refused) == 7
    assert all("Body Part Examined (0018,0015)" in record["reason"] for record in refused)
    assert sum(len(record["images"]) for record in records if record["status"] == "drafted") == 142
    assert "Traceback" not in done.stderr
