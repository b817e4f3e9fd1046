"""The same command again: what may be taken from a run folder, and what must be made anew."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from wetread.cli import main
from wetread.errors import RunError, UsageError
from wetread.models import TemplateModel, fingerprint
from wetread.records import Generation, Image, Report, Sampling, Study
from wetread.runs import evaluate
from wetread.runs.draft import draft
from wetread.runs.store import RunFolder, write_json
from wetread.studies import phantom


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def film(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 255, (96, 96)).astype(np.uint8)
    PilImage.fromarray(grey).save(path)
    return path


class Reader(TemplateModel):
    """Writes how bright the image is, so that its drafts follow the pixels; fails when ``broken``."""

    broken = False

    def generate(self, prompts, sampling, progress=None):
        if self.broken:
            return [Generation(prompt.study, stop="error", error="no pixels") for prompt in prompts]
        told = [f"Mean {prompt.images[0].pixels().mean():.6f}. Clear lungs." for prompt in prompts]
        return [Generation(p.study, f"FINDINGS: {text}", "end", 5) for p, text in zip(prompts, told, strict=True)]


def study(name: str, level: float) -> Study:
    pixels = np.full((8, 8), level, np.float32)
    return Study(name, (Image("film.png", "PA", (), lambda: pixels),), report=Report("Clear lungs."), split="test")


def test_another_image_of_the_same_name_is_drafted_anew(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "draft", {})
    options = {"sampling": Sampling(), "run": folder}
    (first,) = draft([study("film", 0.25)], Reader(), **options)
    (second,) = draft([study("film", 0.75)], Reader(), **options)
    assert first.report != second.report
    (again,) = draft([study("film", 0.25)], Reader(), **options)
    assert again.to_json() == first.to_json()
    assert len(list(folder.lines("drafts").read())) == 2
    (asked,) = draft([replace(study("film", 0.25), indication="cough")], Reader(), **options)
    assert asked.digest != first.digest


def test_what_failed_is_tried_again_and_a_repeated_failure_adds_no_line(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "draft", {})
    model = Reader()
    model.broken = True
    for _ in range(2):
        (record,) = draft([study("film", 0.25)], model, sampling=Sampling(), run=folder)
        assert record.status == "failed"
    assert len(list(folder.lines("drafts").read())) == 1
    model.broken = False
    (record,) = draft([study("film", 0.25)], model, sampling=Sampling(), run=folder)
    assert record.status == "drafted"


def test_a_failed_generation_is_tried_again_when_evaluating(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "evaluate", {})
    model, studies = Reader(), [study("a", 0.25), study("b", 0.5)]
    model.broken = True
    drafts = evaluate.answer(model, "x", studies, Sampling(), folder)
    assert drafts == (None, None)
    assert evaluate.failure("x", "a", folder) == "no pixels"
    assert evaluate.judge("x", drafts, studies, folder).scores["findings_f1"]["a"].value is None
    model.broken = False
    drafts = evaluate.answer(model, "x", studies, Sampling(), folder)
    assert all(drafts)
    evaluate.judge("x", drafts, studies, folder)
    assert len(list(folder.lines("scores-x").read())) == 2


def test_a_replaced_model_does_not_continue_an_old_run(tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = model / "model.safetensors"
    weights.write_bytes(bytes(3_000_000))
    before = fingerprint(str(model))
    assert before == fingerprint(str(model))
    data = bytearray(weights.read_bytes())
    data[-1] = 1
    weights.write_bytes(data)
    assert fingerprint(str(model)) != before
    shutil.rmtree(model)
    assert fingerprint(str(model)) == ""
    with pytest.raises(RunError, match="model_contents"):
        RunFolder.open(tmp_path / "run", "draft", {"model_contents": "a"})
        RunFolder.open(tmp_path / "run", "draft", {"model_contents": "b"})


def test_one_missing_path_does_not_stop_the_batch(tmp_path, capsys):
    good = film(tmp_path / "a" / "film.png", 1)
    other = film(tmp_path / "b" / "film.png", 2)
    out = tmp_path / "drafts.json"
    assert run("draft", good, tmp_path / "a" / "flim.png", other, "--model", "template", "--json", out) == 1
    records = {record["study"]: record for record in json.loads(out.read_text())}
    assert {name: record["status"] for name, record in records.items()} == {
        "a/film": "drafted",
        "b/film": "drafted",
        "flim.png": "failed",
    }
    assert "no such file" in records["flim.png"]["reason"]
    assert "film.png" in records["flim.png"]["reason"]
    assert run("draft", tmp_path / "none.png", "--model", "template") == 3


def test_json_goes_through_links_and_pipes_and_replaces_neither(tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    write_json(link, [1])
    assert link.is_symlink() and json.loads(target.read_text()) == [1]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, [2])
    reader.join(timeout=10)
    assert json.loads(read[0]) == [2] and pipe.is_fifo()
    with pytest.raises(UsageError, match="is a folder"):
        write_json(tmp_path, [])
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.open(target, "draft", {})


@pytest.mark.parametrize("names", [["X=template", "X=other"], ["template=elsewhere"], ["most frequent report=a/b"]])
def test_two_systems_never_share_a_name(tmp_path, names, capsys):
    words = [word for name in names for word in ("--model", name)]
    assert run("evaluate", "--data", tmp_path, "--out", tmp_path / "run", *words) == 2
    assert "NAME=MODEL" in capsys.readouterr().err


def test_a_bare_command_shows_its_help(capsys):
    assert run() == 2
    assert "Commands" in capsys.readouterr().err
    assert run("train") == 2
    assert len(capsys.readouterr().err.splitlines()) > 5


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tiny.image_size=100", "multiple of 32"),
        ("tiny.text_layers=0", "at least 1"),
        ("tiny.text_heads=5", "even parts"),
        ("tiny.vocabulary=10", "at least 300"),
        ("optim.micro_batch=3", "does not divide"),
        ("style=foo", "foo"),
        ("model=nope", "no model"),
    ],
)
def test_a_refused_config_leaves_no_run_folder(tmp_path, setting, said, capsys):
    out = tmp_path / "run"
    phantom.write(tmp_path, 16, seed=0, size=64)
    assert run(
        "train", "sft", "--out", out, "--set", f"data.path={tmp_path}", "--set", "optim.batch=8", "--set", setting
    ) in (2, 3)
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_damaged_weights_are_one_clear_line(tmp_path, capsys):
    from transformers import LlavaConfig

    model = tmp_path / "model"
    LlavaConfig().save_pretrained(model)
    (model / "model.safetensors").write_bytes(b"not weights")
    assert run("draft", film(tmp_path / "film.png", 1), "--model", model) == 3
    said = capsys.readouterr().err
    assert "cannot be loaded" in said and "fault in wetread" not in said
