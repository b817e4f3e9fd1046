"""Folders of studies: what is written is read, what is damaged is told, nothing is read from outside."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

from wetread.errors import MissingError, RunError, StudyError, UsageError, WetreadWarning
from wetread.records import Image, Prior, Report, Study
from wetread.studies import folder
from wetread.studies.phantom import generate
from wetread.studies.splits import check_leaks, split_of


class Ramp:
    """A picklable picture."""

    def __init__(self, rows, columns):
        self.shape = (rows, columns)

    def __call__(self):
        rows, columns = self.shape
        return np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(rows, columns)


def study(key, **changes):
    made = Study(key, (Image("x.png", "PA", load=Ramp(5, 7)),), patient="p", report=Report("Clear lungs.", "Normal."))
    return replace(made, **changes)


def test_what_is_written_is_read(tmp_path):
    prior = Prior("b", images=(Image("y.png", "AP", load=Ramp(4, 4)),), report=Report("Old."))
    assert folder.write(tmp_path, [study("a/1"), study("c", prior=prior)]) == 2
    first, second = folder.read(tmp_path)
    assert (first.id, first.report, first.patient) == ("a/1", Report("Clear lungs.", "Normal."), "p")
    assert np.abs(first.images[0].pixels() - Ramp(5, 7)()).max() < 1e-4
    assert second.prior.images[0].pixels().shape == (4, 4)
    assert folder.read(tmp_path / "studies.jsonl") == [first, second]


def test_writing_again_adds_what_is_missing(tmp_path):
    assert folder.write(tmp_path, [study("a")]) == 1
    assert folder.write(tmp_path, [study("a"), study("b")]) == 1
    assert [one.id for one in folder.read(tmp_path)] == ["a", "b"]


def test_phantom_studies_survive_the_folder(tmp_path):
    made = list(generate(20, 4, 64))
    folder.write(tmp_path, made)
    for one, other in zip(folder.read(tmp_path), made, strict=True):
        assert one.findings == other.findings and one.meta == other.meta
        assert np.abs(one.images[0].pixels() - other.images[0].pixels()).max() < 1e-4


def test_pixels_are_lazy_and_travel(tmp_path):
    folder.write(tmp_path, [study("a")])
    (one,) = pickle.loads(pickle.dumps(folder.read(tmp_path)))
    assert one.images[0].pixels().shape == (5, 7)
    (tmp_path / one.images[0].name).write_bytes(b"not a picture")
    with pytest.raises(StudyError, match="cannot be decoded"):
        one.images[0].pixels()
    (tmp_path / one.images[0].name).unlink()
    with pytest.raises(StudyError, match="not there"):
        one.images[0].pixels()


def test_a_half_written_last_line_is_left_out_with_a_warning(tmp_path):
    folder.write(tmp_path, [study("a"), study("b")])
    listing = tmp_path / "studies.jsonl"
    listing.write_bytes(listing.read_bytes()[:-9])
    with pytest.warns(WetreadWarning, match="line 2"):
        assert [one.id for one in folder.read(tmp_path)] == ["a"]
    with folder.StudyLog(tmp_path) as log:
        assert log.ids == ["a"]
    assert [one.id for one in folder.read(tmp_path)] == ["a"]


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"images": []}', '{"study": "b", "images": 3}', "null"])
def test_a_damaged_line_is_named(tmp_path, line):
    folder.write(tmp_path, [study("a")])
    with (tmp_path / "studies.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(StudyError, match="line 2"):
        folder.read(tmp_path)


def test_a_study_that_is_listed_twice_is_refused(tmp_path):
    folder.write(tmp_path, [study("a")])
    listing = tmp_path / "studies.jsonl"
    listing.write_bytes(listing.read_bytes() * 2)
    with pytest.raises(StudyError, match="twice"):
        folder.read(tmp_path)


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "images/../../out.png", "..\\out.png"])
def test_image_names_do_not_lead_out_of_the_folder(tmp_path, name):
    data = study("a", images=(Image(name),)).to_json()
    (tmp_path / "studies.jsonl").write_text(json.dumps(data) + "\n")
    with pytest.raises(StudyError, match="leads out"):
        folder.read(tmp_path)


def test_what_cannot_be_read_is_found_without_decoding_the_rest(tmp_path, monkeypatch):
    folder.write(tmp_path, [study(key) for key in "abcd"])
    every = [(one.id, one.images[0]) for one in folder.read(tmp_path)]
    assert folder.unreadable(every * 2) == (4, [])
    (tmp_path / every[1][1].name).write_bytes(b"not a picture")
    (tmp_path / every[3][1].name).unlink()
    decoded = []
    plain = folder.load_pixels
    monkeypatch.setattr(Image, "pixels", lambda image: decoded.append(image.name) or plain(*image.load.args))
    assert folder.unreadable(every) == (4, [every[1], every[3]])
    assert decoded == [every[1][1].name, every[3][1].name]
    assert folder.unreadable([("x", Image("elsewhere.png"))]) == (0, [])


def test_studies_without_images_are_named():
    folder.check_shown([study("a")])
    with pytest.raises(StudyError, match="the study b has no image"):
        folder.check_shown([study("a"), study("b", images=())])
    with pytest.raises(StudyError, match="2 studies have no image, the first b"):
        folder.check_shown([study("b", images=()), study("c", images=())])


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingError, match=r"studies\.jsonl"):
        folder.read(tmp_path)
    with pytest.raises(RunError, match="with statement"):
        folder.StudyLog(tmp_path).append(study("a"))


def test_splits_are_kept_by_patient_and_near_their_shares():
    splits = [split_of(f"patient {number}") for number in range(4000)]
    assert splits == [split_of(f"patient {number}") for number in range(4000)]
    shares = {name: splits.count(name) / 4000 for name in ("train", "val", "test")}
    assert abs(shares["train"] - 0.80) < 0.03 and abs(shares["val"] - 0.08) < 0.02
    assert splits != [split_of(f"patient {number}", key="other") for number in range(4000)]
    assert {split_of(str(n), shares={"a": 0.5, "b": 0.0, "c": 0.5}) for n in range(50)} == {"a", "c"}


def test_splits_refuse_what_they_cannot_keep():
    with pytest.raises(UsageError, match="patient"):
        split_of("")
    with pytest.raises(UsageError, match="add up to 1"):
        split_of("p", shares={"train": 0.5})
    with pytest.raises(UsageError, match="64"):
        split_of("p", key="k" * 65)
    check_leaks([study("a", split="train"), study("b", split="train"), study("c", patient="")])
    with pytest.raises(StudyError, match="1 patients"):
        check_leaks([study("a", split="train"), study("b", split="test")])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prior": "nowhere"}, "prior is not a mapping of keys to values but str"),
        ({"prior": {"images": []}}, "prior.study"),
        ({"prior": {"study": "b", "images": ["b.png"]}}, "prior.images is not a list of mappings"),
        ({"prior": {"study": "b", "report": "Clear."}}, "prior.report is not a mapping"),
        ({"report": "Clear."}, "report is not a mapping"),
        ({"images": ["a.png"]}, "images is not a list of mappings"),
        ({"truth": "effusion"}, "truth is not a list of mappings"),
        ({"meta": 3}, "meta is not a mapping"),
    ],
)
def test_a_key_in_the_wrong_shape_is_named(tmp_path, changes, said):
    (tmp_path / folder.LIST).write_text(json.dumps({"study": "a", "images": [], **changes}) + "\n")
    with pytest.raises(StudyError, match=re.escape(said)) as caught:
        folder.read(tmp_path)
    assert "line 1" in str(caught.value)
    assert "\n" not in str(caught.value) and "has no attribute" not in str(caught.value)
