"""``wetread rexrank predict``: ReXrank's JSON in and out, every study in it, whatever its images are like."""

import json

import numpy as np
import pytest
from PIL import Image

from wetread.cli import _run
from wetread.errors import StudyError, UsageError
from wetread.models import NORMAL
from wetread.records import Study
from wetread.studies import rexrank
from wetread.studies.open import Problem


@pytest.fixture
def root(tmp_path, rng):
    folder = tmp_path / "images"
    (folder / "one").mkdir(parents=True)
    for name in ("one/0.png", "one/1.png", "two.png"):
        Image.fromarray(rng.integers(0, 255, (80, 64), dtype=np.uint8)).save(folder / name)
    (folder / "bad.png").write_text("no picture")
    return folder


def entry(*paths, **more):
    return {
        "image_path": list(paths), "key_image_path": paths[0] if paths else "", "frontal_lateral": ["frontal"] * len(paths),
        "context": "Age:50-60.Gender:F.Indication: Cough. Comparison: None.", "section_findings": "Clear.", **more,
    }  # fmt: skip


def predict(tmp_path, root, entries, *more):
    given, made = tmp_path / "in.json", tmp_path / "out.json"
    given.write_text(json.dumps(entries), "utf-8")
    code = _run([
        "rexrank", "predict", "--input_json_file", str(given), "--save_json_file", str(made),
        "--img_root_dir", str(root), "--model", "template", *map(str, more),
    ])  # fmt: skip
    return code, json.loads(made.read_text("utf-8")) if made.exists() else None


def test_the_same_entries_come_back_with_their_predictions(tmp_path, root):
    entries = {"b2": entry("one/0.png", "one/1.png"), "17": entry("two.png", extra={"kept": [1]})}
    code, made = predict(tmp_path, root, entries)
    assert code == 0
    assert list(made) == ["b2", "17"]
    for name, one in entries.items():
        assert made[name] == {**one, "model_prediction": NORMAL.text}


@pytest.mark.parametrize(("sections", "text"), [("findings", NORMAL.findings), ("impression", NORMAL.impression)])
def test_one_section_alone(tmp_path, root, sections, text):
    assert predict(tmp_path, root, {"a": entry("two.png")}, "--sections", sections)[1]["a"]["model_prediction"] == text


def test_a_study_without_usable_images_has_an_empty_prediction_and_the_others_go_on(tmp_path, root, capsys):
    entries = {
        "a": entry("bad.png"), "b": entry("two.png"), "c": entry("nowhere.png"), "d": entry("../in.json"),
        "e": {"context": "x"}, "f": entry("bad.png", "one/1.png"),
    }  # fmt: skip
    code, made = predict(tmp_path, root, entries)
    assert code == 1
    assert [name for name, one in made.items() if one["model_prediction"]] == ["b", "f"]
    err = capsys.readouterr().err
    assert "4 of 6 studies have an empty model_prediction" in err
    assert "stay below it" in err
    assert "Traceback" not in err


def test_a_run_folder_repeats_nothing(tmp_path, root):
    entries = {"a": entry("two.png"), "b": entry("one/0.png")}
    run = tmp_path / "run"
    first = predict(tmp_path, root, entries, "--out", run)
    before = (run / "drafts.jsonl").read_bytes()
    assert predict(tmp_path, root, entries, "--out", run) == first
    assert (run / "drafts.jsonl").read_bytes() == before


def test_the_key_image_comes_first_then_frontal_views(root):
    one = entry("one/0.png", "two.png", "one/1.png", frontal_lateral=["lateral", "frontal", "frontal"])
    (study,) = rexrank.studies({"a": {**one, "key_image_path": "one/1.png"}}, root)
    assert isinstance(study, Study)
    assert [image.name for image in study.images] == ["one/1.png", "two.png", "one/0.png"]
    assert [image.view for image in study.images] == ["unknown", "unknown", "lateral"]
    assert (study.id, study.sex, study.indication, study.comparison, study.age) == ("a", "female", "Cough", "", None)
    assert study.images[0].pixels().shape == (80, 64)


def test_left_out_images_are_noted(root):
    (study,) = rexrank.studies({"a": entry("bad.png", "two.png")}, root)
    assert "1 images of the study left out" in study.images[0].notes[-1]
    (problem,) = rexrank.studies({"a": {"image_path": [3]}}, root)
    assert isinstance(problem, Problem)


def test_context_lines():
    assert rexrank.context_of("Age: 64. Sex: male. History: Fall. Comparison: CT of 2019.") == rexrank.Context(
        "Fall", "CT of 2019", 64, "male"
    )
    assert rexrank.context_of("Indication: Cough. Age of onset unknown.Comparison:") == rexrank.Context(
        "Cough. Age of onset unknown"
    )
    assert rexrank.context_of("") == rexrank.Context()


def test_bad_input_is_refused(tmp_path, root, capsys):
    path = tmp_path / "in.json"
    for text, error in (("[]", StudyError), ("{}", StudyError), ('{"a": 1}', StudyError), ("{", StudyError)):
        path.write_text(text, "utf-8")
        with pytest.raises(error, match=r"in\.json"):
            rexrank.read(path)
    path.write_text('{"a": {}, "a": {}}', "utf-8")
    with pytest.raises(UsageError, match="1 study ids are repeated: a"):
        rexrank.read(path)
    assert predict(tmp_path, root / "nowhere", {"a": entry("two.png")})[0] == 3
    assert predict(tmp_path, root, {"a": entry("two.png")}, "--sections", "finding")[0] == 2
    assert "Did you mean 'findings'" in capsys.readouterr().err


def test_what_predict_writes_score_reads(tmp_path, root):
    predict(tmp_path, root, {"1": entry("two.png"), "2": entry("one/0.png")})
    out = tmp_path / "s.json"
    files = ["--references", str(tmp_path / "in.json"), "--drafts", str(tmp_path / "out.json")]
    assert _run(["score", *files, "--metrics", "rouge_l", "--json", str(out), "--resamples", "100"]) == 0
    assert json.loads(out.read_text("utf-8"))["coverage"]["scored"] == 2
