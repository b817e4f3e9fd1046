"""Evaluation over several corpora: studies that share an id are two studies, patients that share a key two patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from wetread.errors import ConfigError, MissingError, UsageError, WetreadWarning
from wetread.models import TemplateModel
from wetread.records import Generation, Image, Report, Score, Study
from wetread.runs import compare, evaluate
from wetread.runs.progress import bar
from wetread.runs.store import JsonLines
from wetread.studies import folder
from wetread.training import stages
from wetread.training.recipe import Recipe, open_recipe


class Reader(TemplateModel):
    """Writes how bright the image is, so that a draft shows whose it is."""

    def generate(self, prompts, sampling, progress=None):
        told = [f"Mean {prompt.images[0].pixels().mean():.2f}." for prompt in prompts]
        return [Generation(p.study, f"FINDINGS: {text}", "end", 5) for p, text in zip(prompts, told, strict=True)]


def study(key: str, patient: str, source: str, level: float, split: str = "test") -> Study:
    image = Image("film.png", "PA", load=lambda: np.full((8, 8), level, np.float32))
    return Study(key, (image,), patient=patient, split=split, source=source, report=Report(f"Clear lungs {key}."))


def corpus(path: Path, source: str, level: float, count: int = 4) -> str:
    """Studies s0, s1 … of the patients p0, p0, p1, p1 …, all of one brightness."""
    folder.write(path, [study(f"s{i}", f"p{i // 2}", source, level) for i in range(count)])
    return str(path)


def recipe(tmp_path: Path, trained: list[str], **asked: object) -> Recipe:
    body = {
        "name": "two", "source": "nothing", "data": {"path": trained}, "evaluate": asked,
        "stages": [{"name": "sft", "kind": "sft", "config": {"optim": {"steps": 1}}}],
    }  # fmt: skip
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(body))
    return open_recipe(tmp_path / "two.yaml")


def test_two_corpora_that_share_ids_and_patients_are_scored_apart(tmp_path, monkeypatch):
    made = recipe(tmp_path, [corpus(tmp_path / "a", "A", 0.25), corpus(tmp_path / "b", "B", 0.75)])
    monkeypatch.setattr(stages, "open_model", lambda name: Reader())
    rows = stages.score(made, tmp_path / "out", bar)
    assert {row.n for row in rows if row.system == "sft" and row.metric == "rouge_l"} == {8}
    found = {one["study"]: one["text"] for one in JsonLines(tmp_path / "out/evaluate/generations-sft.jsonl").read()}
    assert [f"s{i}" in found and f"B:s{i}" in found for i in range(4)] == [True] * 4
    assert {key: text[-5:-1] for key, text in found.items()} == {
        key: "0.75" if key.startswith("B:") else "0.25" for key in found
    }
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["data"].startswith("8 studies")
    clusters = evaluate.patients(stages.tested(made))
    assert len(clusters) == 8 and len(set(clusters.values())) == 4


def test_a_patient_is_one_of_a_source_and_no_patient_is_nobody_elses():
    studies = [study("a", "p1", "X", 0), study("b", "p1", "X", 0), study("c", "p1", "Y", 0), study("p1", "", "X", 0)]
    clusters = evaluate.patients(studies)
    assert clusters["a"] == clusters["b"]
    assert len({clusters[key] for key in ("a", "c", "p1")}) == 3


def test_the_interval_of_one_source_is_that_over_its_patients():
    keys = ["p1", "p10", "p!", "é", "P", "p1", "p é", "p10"]
    studies = [study(str(i), key, "phantom", 0) for i, key in enumerate(keys)]
    scores = {one.id: Score("rouge_l", (i * 7 % 5) / 5) for i, one in enumerate(studies)}
    plain = {one.id: one.patient for one in studies}
    assert compare.estimate("rouge_l", scores, clusters=evaluate.patients(studies)) == compare.estimate(
        "rouge_l", scores, clusters=plain
    )


def test_a_study_of_two_folders_is_scored_once_and_told(tmp_path):
    first = corpus(tmp_path / "a", "A", 0.25)
    folder.write(tmp_path / "b", [study("s0", "p0", "A", 0.25), study("s9", "p9", "A", 0.5)])
    with pytest.warns(WetreadWarning, match="1 of the studies"):
        found = stages.tested(recipe(tmp_path, [first], data=[first, str(tmp_path / "b")]))
    assert [one.id for one in found] == ["s0", "s1", "s2", "s3", "s9"]


def test_what_cannot_be_scored_on_is_refused_by_name(tmp_path):
    first = corpus(tmp_path / "a", "A", 0.25)
    for asked, kind, said in (
        ({"data": [first, str(tmp_path / "none")]}, MissingError, "evaluate: no studies.jsonl"),
        ({"splits": ["tset"]}, UsageError, "evaluate: no study with a report in split 'tset'; the data has: test"),
        ({"splits": []}, ConfigError, "evaluate.splits is empty"),
        ({"data": [first, first]}, UsageError, "evaluate.data: every study of a folder"),
    ):
        with pytest.raises(kind, match=said):
            stages.tested(recipe(tmp_path, [first], **asked))
    assert stages.tested(replace(recipe(tmp_path, [first]), evaluate=None)) == []
