"""``wetread data import`` and ``check``: one folder for training, whatever dies, whatever is damaged; no identifier in it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest

import data_set_files as made
from data_set_files import CLEAR, EFFUSION, PATIENTS, STUDIES
from studies_files import needs
from training_helpers import kill_when, wetread
from wetread.cli import main
from wetread.records import Report
from wetread.runs import importing, importing_write
from wetread.studies import datasets, folder
from wetread.studies.datasets.card import Shape, describe
from wetread.training.config import DataConfig
from wetread.training.data import select

MAKE = {
    "openi": made.openi, "r2gen": made.r2gen, "mimic-cxr-jpg": made.mimic, "chexpert-plus": made.chexpert_plus,
    "rexgradient": made.rexgradient, "padchest-gr": made.padchest_gr, "cov-ctr": made.cov_ctr, "rexrank": made.rexrank,
    "llava": made.llava, "table": made.plain,
}  # fmt: skip


@pytest.fixture
def run(capsys):
    """Run ``wetread data …`` in this process: exit code, standard output, standard error."""

    def go(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["data", *map(str, arguments)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return go


def lines(path):
    return [json.loads(line) for line in (path / "studies.jsonl").read_text("utf-8").splitlines()]


def everything(path):
    """Every name and every byte of a folder, but not what its links lead to."""
    found = []
    for file in path.rglob("*"):
        found.append(file.name)
        if file.is_file() and not file.is_symlink() and file.suffix not in (".png", ".jpg", ".dcm"):
            found.append(file.read_text("utf-8"))
    return "\n".join(found)


# ---- every set, to the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MAKE))
def test_every_set_becomes_a_folder_that_training_reads(name, tmp_path, run):
    root = MAKE[name](tmp_path / "set")
    _, out, err = run("import", name, root, "--out", tmp_path / "out")
    studies = folder.read(tmp_path / "out")
    assert studies and all(study.report and study.images for study in studies), err
    assert all(image.pixels().shape == (40, 40) for study in studies for image in study.images)
    assert all(study.source == studies[0].source and study.meta["set"] == name for study in studies)
    assert f"# Data card: {datasets.get(name).title}" in out and f"{len(studies)} studies in" in err
    body = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))
    assert body["import"]["kept"] == body["data"]["studies"] == len(studies)
    assert body["import"]["studies"] == len(studies) + sum(body["import"]["dropped"].values()) - row_drops(name)
    assert (tmp_path / "out" / "README.md").read_text("utf-8").endswith(out)
    code_of_check, checked, _ = run("check", tmp_path / "out")
    assert code_of_check == 0, checked
    assert "PROBLEM" not in checked


def row_drops(name):
    """What is left out before it is a study."""
    return {"padchest-gr": 1, "llava": 1}.get(name, 0)


def test_exit_codes_tell_what_is_no_fault_from_what_is(tmp_path, run):
    root = made.openi(tmp_path / "set")
    assert run("import", "openi", root, "--out", tmp_path / "a")[0] == 0  # a study without text is left out by rule
    (root / "ecgen-radiology" / "9.xml").write_text("<broken")
    code, _, err = run("import", "openi", root, "--out", tmp_path / "b")
    assert code == 1 and "1 left out: a report that cannot be read" in err
    gone = [json.loads(line) for line in (tmp_path / "b" / "dropped.jsonl").read_text("utf-8").splitlines()]
    assert Counter(one["reason"] for one in gone) == {
        "a report that cannot be read": 1, "no findings and no impression": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(MAKE))
def test_the_output_loads_with_datasets(name, tmp_path, run):
    from datasets import load_dataset

    run("import", name, MAKE[name](tmp_path / "set"), "--out", tmp_path / "out", "--imagefolder")
    studies = folder.read(tmp_path / "out")
    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    for data in (
        load_dataset(str(tmp_path / "out"), **options),
        load_dataset("json", data_files=str(tmp_path / "out" / "studies.jsonl"), **options),
    ):
        assert data["study"] == [study.id for study in studies]
        assert [row["findings"] for row in data["report"]] == [study.report.findings for study in studies]
    pictures = load_dataset("imagefolder", data_dir=str(tmp_path / "out"), **options)
    by_study = {row["study"]: row for row in pictures}
    for study in studies:
        assert len(by_study[study.id]["images"]) == len(study.images)
        assert by_study[study.id]["images"][0].size == (40, 40)
        assert by_study[study.id]["impression"] == study.report.impression


def test_columns_that_are_empty_for_long_load_too(tmp_path):
    """``datasets`` guesses types from the first lines; the README says them."""
    from datasets import load_dataset

    rows = [
        {
            "study": f"s{n}",
            "report": CLEAR,
            "patient": f"p{n // 2}",
            "date": f"2020-01-0{n % 2 + 1}",
            "indication": "Cough. " * 90,
        }
        for n in range(400)
    ]
    rows += [{**rows[0], "study": "last", "age": 50}, {**rows[1], "study": "other"}]
    rows[0]["patient"] = rows[1]["patient"] = "alone"
    (tmp_path / "reports.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = datasets.Place(tmp_path / "reports.jsonl", look=False)
    importing.import_set(datasets.get("table"), place, tmp_path / "out", importing.ImportConfig(labels=False))
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(data) == 402 and data[400]["age"] == 50 and data[0]["prior"] is None


# ---- what is written -------------------------------------------------------------------------------------------------


def test_images_are_links_or_copies_and_the_source_is_left_alone(tmp_path, run):
    root = made.mimic(tmp_path / "set")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "linked")
    run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "copied", "--copy")
    for linked, copied in zip(folder.read(tmp_path / "linked"), folder.read(tmp_path / "copied"), strict=True):
        assert linked == copied
        for image, other in zip(linked.images, copied.images, strict=True):
            assert (tmp_path / "linked" / image.name).is_symlink()
            assert not (tmp_path / "copied" / other.name).is_symlink()
            assert np.array_equal(image.pixels(), other.pixels())
    shutil.rmtree(root / "files")
    assert all(image.pixels().size for study in folder.read(tmp_path / "copied") for image in study.images)
    code, out, _ = run("check", tmp_path / "linked")
    assert code == 1 and "PROBLEM  image files: 0 of 4 can be read" in out
    assert before.keys() >= set(root.rglob("*.gz"))


def test_no_identifier_is_written_unless_it_is_asked_for(tmp_path, run):
    root = made.mimic(tmp_path / "set")
    (root / f"{made.mimic_path(PATIENTS[1], STUDIES[2])}.txt").unlink()
    told = run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "out", "--imagefolder")
    told += run("check", tmp_path / "out")
    canaries = [*PATIENTS, *STUDIES, *(row[0] for row in made.MIMIC_IMAGES), "2150", "2160", str(tmp_path)]
    text = everything(tmp_path / "out") + "".join(map(str, told)).replace(str(tmp_path / "out"), "")
    assert [canary for canary in canaries if canary in text] == []
    run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "kept", "--keep-identifiers")
    assert [one["study"] for one in lines(tmp_path / "kept")] == list(STUDIES[:2])
    assert lines(tmp_path / "kept")[0]["patient"] == PATIENTS[0] and lines(tmp_path / "kept")[0]["date"].startswith(
        "2150-01-03"
    )


def test_the_same_study_has_the_same_key_in_every_layout(tmp_path, run):
    for name, make in (("xml", made.openi), ("csv", made.kaggle), ("json", made.r2gen)):
        run("import", "openi", make(tmp_path / name), "--out", tmp_path / f"{name}-out")
    keys = [
        {one["study"]: one["patient"] for one in lines(tmp_path / f"{name}-out")} for name in ("xml", "csv", "json")
    ]
    assert keys[0] == keys[1] and keys[0].items() <= keys[2].items()


def test_a_key_of_ones_own_gives_other_pseudonyms(tmp_path, run):
    root = made.openi(tmp_path / "set")
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    (tmp_path / "short").write_bytes(b"0123")
    run("import", "openi", root, "--out", tmp_path / "a")
    run("import", "openi", root, "--out", tmp_path / "b", "--key-file", tmp_path / "key")
    assert not {one["study"] for one in lines(tmp_path / "a")} & {one["study"] for one in lines(tmp_path / "b")}
    assert "0123456789abcdef" not in everything(tmp_path / "b")
    assert run("import", "openi", root, "--out", tmp_path / "c", "--key-file", tmp_path / "short")[0] == 2
    assert run("import", "openi", root, "--out", tmp_path / "c", "--key-file", tmp_path / "none")[0] == 3


def test_priors_are_found_by_date_and_never_by_number(tmp_path, run):
    """The first two studies of MIMIC's first patient are in the wrong order of their numbers."""
    run("import", "mimic-cxr-jpg", made.mimic(tmp_path / "set"), "--out", tmp_path / "out")
    one, two = folder.read(tmp_path / "out")[:2]
    assert two.prior is None and one.prior is not None
    assert (one.prior.study, one.prior.report, one.prior.date) == (two.id, two.report, two.date)
    assert [image.name for image in one.prior.images] == [image.name for image in two.images]
    assert (one.meta["encounter"], two.meta["encounter"]) == (2, 1)
    assert one.date > two.date and one.date[:4] > "2240"


def test_priors_where_the_set_says_the_order_alone(tmp_path, run):
    _, out, _ = run(
        "import", "chexpert-plus", made.chexpert_plus(tmp_path / "set"), "--out", tmp_path / "out", "--keep-identifiers"
    )
    by_id = {study.id: study for study in folder.read(tmp_path / "out")}
    assert by_id["patient00001/study7"].prior.study == "patient00001/study2"
    assert by_id["patient00001/study2"].prior is None and by_id["patient00003/study1"].prior is None
    assert by_id["patient00001/study7"].date == ""
    assert "1 got the most recent earlier study" in out


def test_priors_that_the_set_names(tmp_path, run):
    run("import", "padchest-gr", made.padchest_gr(tmp_path / "set"), "--out", tmp_path / "out", "--keep-identifiers")
    by_id = {study.id: study for study in folder.read(tmp_path / "out")}
    outside, inside = by_id["251"].prior, by_id["253"].prior
    assert (outside.study, outside.report, len(outside.images)) == ("240", None, 1)
    assert outside.images[0].pixels().shape == (40, 40)
    assert (inside.study, inside.report, inside.date) == ("251", by_id["251"].report, "2014-02-01")
    assert by_id["252"].prior is None


def test_pictures_of_more_than_8_bits_are_read_as_drafting_reads_them(tmp_path, run):
    from wetread.studies import open_study

    root = made.padchest_gr(tmp_path / "set")
    run("import", "padchest-gr", root, "--out", tmp_path / "out")
    image = folder.read(tmp_path / "out")[0].images[0]
    assert ".deep.png" in image.name
    straight = open_study(root / "Padchest_GR_files" / "PadChest_GR" / "i251.png").images[0].pixels()
    assert np.array_equal(image.pixels(), straight)
    assert image.pixels().max() > 0.9  # 3000 of 65535 would be nearly black


def test_marks(tmp_path, run):
    root = made.openi(tmp_path / "set")
    for how, findings in (
        ("keep", f"{EFFUSION} XXXX scarring."),
        ("remove", f"{EFFUSION} scarring."),
        ("sentence", EFFUSION),
    ):
        run("import", "openi", root, "--out", tmp_path / how, "--marks", how)
        assert folder.read(tmp_path / how)[1].report == Report(findings)
    assert folder.read(tmp_path / "remove")[0].indication == "Cough for weeks"
    assert run("import", "openi", root, "--out", tmp_path / "x", "--marks", "erase")[0] == 2


def test_splits(tmp_path, run):
    root = made.openi(tmp_path / "set")
    for split, wanted in (("official", ["train", "val"]), ("none", ["", ""])):
        run("import", "openi", root, "--out", tmp_path / split, "--split", split)
        assert [study.split for study in folder.read(tmp_path / split)] == wanted
    rows = [
        {"study": f"s{n}", "report": f"{CLEAR} {n}", "patient": f"p{n % 40}", "split": ["train", "test"][n % 2]}
        for n in range(400)
    ]
    rows[3]["patient"] = "p2"
    made.table(tmp_path / "many.csv", rows)
    run("import", "table", tmp_path / "many.csv", "--no-images", "--out", tmp_path / "leak", "--no-labels")
    code, out, _ = run("check", tmp_path / "leak")
    assert code == 1 and "PROBLEM  splits: 1 patients in more than one" in out
    run(
        "import",
        "table",
        tmp_path / "many.csv",
        "--no-images",
        "--out",
        tmp_path / "anew",
        "--split",
        "patient",
        "--no-labels",
    )
    assert run("check", tmp_path / "anew", "--no-labels")[0] == 0
    assert {study.split for study in folder.read(tmp_path / "anew")} == {"train", "val", "test"}
    code, _, err = run("import", "openi", root, "--out", tmp_path / "x", "--split", "offical")
    assert code == 2 and "Did you mean 'official'" in err


def test_splits_from_a_file_in_place_of_the_sets_own(tmp_path, run):
    """Keys in the file may be written as others write them: s and the number, R2Gen's names."""
    root = made.mimic(tmp_path / "set")
    rows = [{"study_id": f"s{STUDIES[0]}", "split": "test"}, {"study_id": STUDIES[1], "split": "test"}]
    made.table(tmp_path / "mine.csv", rows)
    code, _, err = run("import", "mimic-cxr-jpg", root, "--splits", tmp_path / "mine.csv", "--out", tmp_path / "out")
    assert code == 0 and "2 rows of studies that the file of splits does not name" in err
    assert [study.split for study in folder.read(tmp_path / "out")] == ["test", "test", ""]
    made.r2gen(tmp_path / "r2gen")
    root = made.openi(tmp_path / "openi")
    run("import", "openi", root, "--splits", tmp_path / "r2gen" / "annotation.json", "--out", tmp_path / "o")
    assert [study.split for study in folder.read(tmp_path / "o")] == ["train", "val"]
    made.table(tmp_path / "wrong.csv", [{"id": "x", "fold": 1}])
    code, _, err = run("import", "openi", root, "--splits", tmp_path / "wrong.csv", "--out", tmp_path / "w")
    assert code == 1 and "no column 'study_id', 'split'" in err


def test_options_that_a_set_has_no_use_for_are_refused(tmp_path, run):
    root = made.openi(tmp_path / "set")
    assert run("import", "openi", root, "--language", "es", "--out", tmp_path / "out")[0] == 2
    assert run("import", "openi", root, "--reports", root, "--out", tmp_path / "out")[0] == 2
    assert run("import", "openi", root, "--splits", tmp_path / "none.csv", "--out", tmp_path / "out")[0] == 3


def test_a_split_word_that_is_none_is_left_out(tmp_path, run):
    made.table(
        tmp_path / "t.csv",
        [{"study": "a", "report": CLEAR, "split": "trian"}, {"study": "b", "report": CLEAR, "split": "dev"}],
    )
    code, _, err = run("import", "table", tmp_path / "t.csv", "--no-images", "--out", tmp_path / "out")
    assert code == 1 and "a split that is none of" in err
    assert [study.split for study in folder.read(tmp_path / "out")] == ["val"]


def test_limit(tmp_path, run):
    run("import", "mimic-cxr-jpg", made.mimic(tmp_path / "set"), "--out", tmp_path / "out", "--limit", 1)
    assert len(folder.read(tmp_path / "out")) == 1
    assert json.loads((tmp_path / "out" / "card.json").read_text())["import"]["studies"] == 4


def test_missing_image_files_are_counted_and_the_rest_of_the_study_stays(tmp_path, run):
    root = made.mimic(tmp_path / "set")
    (root / made.mimic_path(PATIENTS[0], STUDIES[0]) / "aaaa0002.jpg").unlink()
    (root / made.mimic_path(PATIENTS[0], STUDIES[1]) / "aaaa0003.jpg").write_bytes(b"")
    code, _, err = run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "out")
    assert code == 1 and "1 left out: no image file" in err and "2 image files that are not there" in err
    studies = folder.read(tmp_path / "out")
    assert [len(study.images) for study in studies] == [1, 1] and studies[0].images[0].view == "lateral"
    assert studies[0].prior is None


def test_images_elsewhere_and_none_at_all(tmp_path, run):
    root = made.rexrank(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "pictures")
    code, _, err = run("import", "rexrank", root, "--out", tmp_path / "out")
    assert code == 1 and "--images" in err and not (tmp_path / "out" / "run.json").exists()
    assert run("import", "rexrank", root, "--images", tmp_path / "pictures", "--out", tmp_path / "out")[0] == 0
    assert run("import", "rexrank", root, "--no-images", "--out", tmp_path / "texts")[0] == 0
    assert all(not study.images for study in folder.read(tmp_path / "texts"))
    assert run("import", "rexrank", root, "--no-images", "--copy", "--out", tmp_path / "x")[0] == 2


def test_training_takes_an_import(tmp_path, run):
    run("import", "mimic-cxr-jpg", made.mimic(tmp_path / "set"), "--out", tmp_path / "out")
    samples = select(DataConfig(path=(str(tmp_path / "out"),)))
    assert len(samples) == 2 and samples.unnamed == 0


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused(tmp_path, run):
    root = made.openi(tmp_path / "set")
    (tmp_path / "phantom").mkdir()
    (tmp_path / "phantom" / "studies.jsonl").write_text("")
    code, _, err = run("import", "openi", root, "--out", tmp_path / "phantom")
    assert code == 1 and "holds studies that no import wrote" in err
    run("import", "openi", root, "--out", tmp_path / "out")
    code, _, err = run("import", "openi", root, "--out", tmp_path / "out", "--copy")
    assert code == 1 and "copy (was False, now True)" in err
    made.table(root / "splits.csv", [{"study_id": "CXR1", "split": "test"}])
    code, _, err = run("import", "openi", root, "--out", tmp_path / "out")
    assert code == 1 and "contents (was" in err


def test_unknown_sets_and_missing_places(tmp_path, run):
    code, _, err = run("import", "mimic", tmp_path, "--out", tmp_path / "out")
    assert code == 2 and "Did you mean 'mimic-cxr'" in err
    assert run("import", "openi", tmp_path / "nowhere", "--out", tmp_path / "out")[0] == 3
    assert run("check", tmp_path)[0] == 3
    assert not (tmp_path / "out").exists()


def test_importing_again_changes_nothing(tmp_path, run):
    root = made.mimic(tmp_path / "set")
    first = run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "out")
    names = ("studies.jsonl", "card.json", "README.md", "dropped.jsonl")
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    assert run("import", "mimic-cxr-jpg", root, "--out", tmp_path / "out")[:2] == first[:2]
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before


def test_a_moved_source_has_its_links_set_anew(tmp_path, run):
    run("import", "openi", made.openi(tmp_path / "set"), "--out", tmp_path / "out")
    done = (tmp_path / "out" / "studies.jsonl").read_bytes()
    (tmp_path / "set").rename(tmp_path / "moved")
    assert run("check", tmp_path / "out")[0] == 1
    assert run("import", "openi", tmp_path / "moved", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "studies.jsonl").read_bytes() == done
    assert run("check", tmp_path / "out")[0] == 0


def many(root, studies=1500):
    """A CSV of many studies with a picture each, patients with two studies by date."""
    rows = [
        {"study": f"study {n}", "findings": f"{CLEAR} Number {n}.", "impression": "", "patient": f"p{n // 2}",
         "date": f"2020-01-0{2 - n % 2}", "image": f"{n % 7}.png"}
        for n in range(studies)
    ]  # fmt: skip
    for n in range(7):
        made.picture(root / "images" / f"{n}.png", n)
    return made.table(root / "reports.csv", rows)


@pytest.mark.slow
@pytest.mark.parametrize("copy", [False, True])
def test_a_killed_import_continues_and_ends_with_the_same_bytes(tmp_path, copy):
    path = many(tmp_path / "set")
    options = ["--no-labels", *(["--copy"] if copy else [])]
    assert wetread("data", "import", "table", path, "--out", tmp_path / "whole", *options).returncode == 0
    for stop in (1, 300, 900):
        kill_when(
            ["data", "import", "table", str(path), "--out", str(tmp_path / "cut"), *options],
            tmp_path / "cut" / "studies.jsonl",
            stop,
        )
    listed = tmp_path / "cut" / "studies.jsonl"
    listed.write_bytes(listed.read_bytes()[:-40])  # a line that a kill left half written
    done = wetread("data", "import", "table", path, "--out", tmp_path / "cut", *options)
    assert done.returncode == 0, done.stderr
    for name in ("studies.jsonl", "card.json", "README.md", "dropped.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not list((tmp_path / "cut" / "images").rglob("*.part"))
    shown = {one.relative_to(tmp_path / "cut") for one in (tmp_path / "cut" / "images").rglob("*.png")}
    assert shown == {one.relative_to(tmp_path / "whole") for one in (tmp_path / "whole" / "images").rglob("*.png")}


@pytest.mark.slow
def test_two_imports_into_one_folder_are_refused(tmp_path):
    from wetread.runs.store import hold, letting_go

    path = many(tmp_path / "set", 20)
    with letting_go(tmp_path / "out"):
        hold(tmp_path / "out")
        done = wetread("data", "import", "table", path, "--out", tmp_path / "out")
    assert done.returncode == 1 and "is being written by another process" in done.stderr


def test_a_full_disk_is_one_line_and_the_import_continues(tmp_path, run, monkeypatch):
    import errno

    path = many(tmp_path / "set", 600)
    real, left = importing_write.shutil.copyfile, [300]

    def copy(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target)

    monkeypatch.setattr(importing_write.shutil, "copyfile", copy)
    code, _, err = run("import", "table", path, "--out", tmp_path / "out", "--copy", "--no-labels")
    assert code == 1 and "No space left on device" in err and "Traceback" not in err
    monkeypatch.setattr(importing_write.shutil, "copyfile", real)
    assert run("import", "table", path, "--out", tmp_path / "out", "--copy", "--no-labels")[0] == 0
    assert len(folder.read(tmp_path / "out")) == 600


def test_a_file_that_cannot_be_read_costs_its_study_alone(tmp_path, run, monkeypatch):
    path = many(tmp_path / "set", 14)
    real = importing_write.shutil.copyfile

    def copy(source, target):
        if source.name == "3.png":
            raise PermissionError(13, "Permission denied", str(source))
        return real(source, target)

    monkeypatch.setattr(importing_write.shutil, "copyfile", copy)
    code, _, err = run("import", "table", path, "--out", tmp_path / "out", "--copy", "--no-labels")
    assert code == 1 and "2 left out: image files that cannot be read" in err
    assert len(folder.read(tmp_path / "out")) == 12


def test_a_table_that_cannot_be_read_is_named_and_not_called_a_full_disk(tmp_path, run, monkeypatch):
    root = made.chexpert_plus(tmp_path / "set")
    real = importing_write.Path.open

    def refuse(self, *arguments, **more):
        if self.suffix == ".csv" and refuse.armed:
            raise OSError(5, "Input/output error", str(self))
        return real(self, *arguments, **more)

    refuse.armed = False
    gather = importing._gather

    def arm(*arguments):
        refuse.armed = True
        return gather(*arguments)

    monkeypatch.setattr(importing_write.Path, "open", refuse)
    monkeypatch.setattr(importing, "_gather", arm)
    code, _, err = run("import", "chexpert-plus", root, "--out", tmp_path / "out")
    assert code == 1 and "df_chexpert_plus_240401.csv: cannot be read (Input/output error)" in err


def test_halves_of_characters_and_numbers_that_are_none_are_written_as_json_can_hold_them(tmp_path, run):
    row = {
        "study": "a",
        "findings": "Clear.",
        "indication": "half \ud83d",
        "weight": float("nan"),
        "note": "\ud83d",
        "image": "a.png",
    }
    (tmp_path / "t.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "study": "\ud83d", "image": "\ud83d.png"}) + "\n"
    )
    made.picture(tmp_path / "a.png")
    run("import", "table", tmp_path / "t.jsonl", "--out", tmp_path / "out")
    (only,) = lines(tmp_path / "out")
    assert (only["indication"], only["meta"]["weight"], only["meta"]["note"]) == ("half ?", None, "?")
    assert "NaN" not in (tmp_path / "out" / "studies.jsonl").read_text()
    entries = {
        "\ud83d": {"image_path": ["a.png"], "report": "Clear."},
        "b": {"image_path": ["\ud83d.png"], "report": "Clear."},
    }
    (tmp_path / "r.json").write_text(json.dumps(entries))
    assert run("import", "rexrank", tmp_path / "r.json", "--out", tmp_path / "r")[0] == 1
    assert len(lines(tmp_path / "r")) == 1


def test_links_that_cannot_be_made_are_told(tmp_path, run, monkeypatch):
    def refuse(self, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(importing_write.Path, "symlink_to", refuse)
    code, _, err = run("import", "openi", made.openi(tmp_path / "set"), "--out", tmp_path / "out")
    assert code == 1 and "use --copy" in err


# ---- check -----------------------------------------------------------------------------------------------------------


def spoil(path, change):
    rows = lines(path)
    change(rows)
    (path / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def first_prior(rows):
    return next(row for row in rows if row["prior"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[0].update(report=None), "PROBLEM  reports: 2 of 3 studies have one"),
        (lambda rows: rows[0].update(images=[]), "PROBLEM  images listed: 2 of 3 studies have one"),
        (lambda rows: rows[1].update(split="test"), "PROBLEM  splits: 1 patients in more than one"),
        (lambda rows: first_prior(rows)["prior"].update(date="2999-01-01"), "a prior that is later than the study"),
        (lambda rows: first_prior(rows)["prior"].update(study=rows[2]["study"]), "a prior that is tested on"),
        (lambda rows: rows[2].update(study=rows[0]["study"]), "is listed twice"),
        (lambda rows: rows.append({"nothing": 1}), "PROBLEM  lines of the list: 3 studies, 1 lines that are none"),
        (lambda rows: rows[2].update(report=rows[0]["report"], images=rows[0]["images"]), "PROBLEM  copies: 1 studies"),
        (lambda rows: rows[0]["images"][0].update(name="../x.png"), "leads out of the folder"),
    ],
)
def test_check_finds_what_is_wrong(tmp_path, run, change, told):
    run("import", "mimic-cxr-jpg", made.mimic(tmp_path / "set"), "--out", tmp_path / "out")
    assert run("check", tmp_path / "out")[0] == 0
    spoil(tmp_path / "out", change)
    code, out, _ = run("check", tmp_path / "out", "--json", tmp_path / "check.json")
    assert code == 1 and told in out, out
    assert json.loads((tmp_path / "check.json").read_text())["sound"] is False


def test_check_finds_damaged_pictures(tmp_path, run):
    run("import", "mimic-cxr-jpg", made.mimic(tmp_path / "set"), "--out", tmp_path / "out", "--copy")
    image = folder.read(tmp_path / "out")[0].images[0].name
    path = tmp_path / "out" / image
    path.write_bytes(path.read_bytes()[:200])
    code, out, _ = run("check", tmp_path / "out")
    assert code == 1 and f"PROBLEM  image files: 3 of 4 can be read: {image}" in out
    assert run("check", tmp_path / "out", "--no-images")[0] == 0


def test_check_looks_at_folders_that_no_import_made(data, run):
    code, out, _ = run("check", data)
    assert code == 0 and "60 studies" in out and "What was imported" not in out


def test_the_card_of_a_check_is_that_of_the_import(tmp_path, run):
    _, imported, _ = run("import", "chexpert-plus", made.chexpert_plus(tmp_path / "set"), "--out", tmp_path / "out")
    _, checked, _ = run("check", tmp_path / "out")
    assert checked.startswith(imported)


# ---- the card --------------------------------------------------------------------------------------------------------


def test_the_card_counts():
    from wetread.records import Image, Prior, Study

    images = (Image("a.png", "PA"), Image("b.png", "lateral"))
    studies = [
        Study(
            "1",
            images,
            patient="p",
            age=20,
            sex="male",
            split="train",
            report=Report(EFFUSION, "XXXX"),
            date="2020-01-01",
        ),
        Study(
            "2",
            images[:1],
            patient="p",
            split="test",
            report=Report(EFFUSION, "xxxx"),
            prior=Prior("1", report=Report("x")),
        ),
        Study("3", images[:1], split="test", report=Report(impression="No pneumothorax."), indication="Cough now"),
    ]
    card = describe(studies)
    assert (card.studies, card.patients, card.unnamed, card.images, card.leaks, card.dated) == (3, 1, 1, 4, 1, 1)
    assert card.views == {"PA": 3, "lateral": 1} and card.images_per_study == {"1": 2, "2": 1}
    assert card.splits == {"test": {"studies": 2, "patients": 1}, "train": {"studies": 1, "patients": 1}}
    assert card.sections == {"findings and impression": 2, "impression": 1}
    assert (card.texts, card.most_frequent, card.repeated) == (2, 2, {"test": 1})
    assert card.marks == {"impression": 1}
    assert (card.words["indication"].texts, card.words["indication"].mean, card.words["findings"].longest) == (
        1,
        2.0,
        4,
    )
    assert card.priors == {"with a prior": 1, "with the prior's report": 1, "with the prior's image": 0}
    assert card.labels["Pleural Effusion"] == {"present": 2} and card.labels["Pneumothorax"] == {"denied": 1}
    assert card.ages == {"18-39": 1, "unknown": 2}
    assert describe(studies, labels=False).unlabelled == "not asked for"


def test_the_card_reads_no_labels_where_nothing_is_known_of_the_modality(tmp_path, run):
    _, out, _ = run("import", "cov-ctr", made.cov_ctr(tmp_path / "set"), "--out", tmp_path / "out")
    assert "Not read: there is no knowledge of chest_ct." in out


def test_shapes_of_meta():
    shape = Shape()
    for meta in ({"a": 1, "b": None, "c": {"x": 1.0}}, {"a": 2.5, "c": {"x": None, "y": "t"}}):
        shape.add(meta)
    assert shape.features() == [
        {"name": "a", "dtype": "float64"}, {"name": "b", "dtype": "string"},
        {"name": "c", "struct": [{"name": "x", "dtype": "float64"}, {"name": "y", "dtype": "string"}]},
    ]  # fmt: skip
    shape.add({"a": "word"})
    assert shape.features() is None


def test_the_table_of_the_documentation_says_what_the_sets_say():
    from test_docs import ROOT

    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    for name in datasets.SETS:
        one = datasets.get(name)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert cells == [f"`{name}`", one.reference, one.context, one.splits, one.priors, one.dropped], name


# ---- the real Open-i files -------------------------------------------------------------------------------------------


@needs("openi")
def test_the_real_openi_files(wetread_data, tmp_path, run):
    code, out, err = run("import", "openi", wetread_data / "openi", "--no-images", "--out", tmp_path / "out")
    assert code == 0 and "2,365 studies in" in err
    card = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))
    assert card["data"]["splits"] == {
        "train": {"studies": 2069, "patients": 2069}, "val": {"studies": 296, "patients": 296},
    }  # fmt: skip
    assert card["data"]["repeated"] == {"val": 56}
    assert card["data"]["sections"] == {"findings and impression": 2359, "findings": 6}
    assert card["data"]["marks"]["findings"] == 1015 and card["data"]["marks"]["impression"] == 288
    assert (card["data"]["leaks"], card["data"]["dated"], card["import"]["dropped"]) == (0, 0, {})
    assert "56 of the val studies have a report that a training study has word for word" in out
    assert run("check", tmp_path / "out")[0] == 0


@needs("openi")
def test_labels_of_the_real_openi_files_agree_with_their_coding(wetread_data, tmp_path, run):
    """The card's label counts against the collection's own coding, which knows positives alone."""
    import csv

    run("import", "openi", wetread_data / "openi", "--no-images", "--out", tmp_path / "out")
    labels = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))["data"]["labels"]
    with (wetread_data / "openi" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, column in (
        ("Cardiomegaly", "Cardiomegaly"),
        ("Pleural Effusion", "Effusion"),
        ("Pneumothorax", "Pneumothorax"),
    ):
        coded = sum(row[column] == "1" for row in rows)
        assert abs(labels[name]["present"] - coded) <= 0.25 * coded + 3, (name, labels[name], coded)


@needs("openi")
def test_pictures_of_a_made_folder_go_with_the_real_reports(wetread_data, tmp_path, run):
    """The archive of reports and a folder of pictures called as the XML names them: two studies of the 2,365."""
    pictures = tmp_path / "pictures"
    for name in ("CXR1_1_IM-0001-3001", "CXR4_IM-2050-1001", "CXR4_IM-2050-2001"):
        made.picture(pictures / f"{name}.png")
    code, _, err = run(
        "import", "openi", wetread_data / "openi", "--images", pictures, "--out", tmp_path / "out", "--keep-identifiers"
    )
    assert code == 1 and "left out: no image file" in err
    studies = {study.id: study for study in folder.read(tmp_path / "out")}
    assert set(studies) == {"CXR1", "CXR4"} and len(studies["CXR4"].images) == 2
