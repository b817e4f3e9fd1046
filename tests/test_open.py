"""wetread.studies.open: paths in, studies and problems out, in a stable order."""

import itertools
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PilImage
from pydicom.uid import generate_uid

from studies_files import SHARED, dicom, grey8, needs, save, scene
from wetread.errors import MissingError, Refused, StudyError
from wetread.records import Study
from wetread.studies import Problem, find_studies, open_study
from wetread.studies.anonymise import pseudonym


def png(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(grey8()).save(path)
    return path


def film(path, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(dicom(grey8(), **tags), path)


def summary(found):
    return [(item.id if isinstance(item, Study) else (item.name, item.status)) for item in found]


def test_open_picture(tmp_path):
    study = open_study(png(tmp_path / "ward film.png"))
    assert (study.id, study.source, study.patient) == ("ward film", "png", "")
    assert (study.images[0].name, study.images[0].view) == ("ward film.png", "unknown")
    np.testing.assert_allclose(study.images[0].pixels(), scene(), atol=0.003)


def test_open_dicom(tmp_path):
    path = film(tmp_path / "film.dcm", ViewPosition="AP", PatientAge="031Y", PatientSex="F", StudyDate="20210203",
                ReasonForTheRequestedProcedure="fever")  # fmt: skip
    study = open_study(str(path))
    assert (study.id, study.source, study.age, study.sex) == ("film", "dicom", 31, "female")
    assert (study.indication, study.date, study.images[0].view) == ("fever", "2021-02-03", "AP")
    assert study.patient == pseudonym("patient", "CANARY-ID-77")
    written = json.dumps(study.to_json())
    assert "CANARY" not in written and str(tmp_path) not in written


def test_a_uid_without_suffix_stays_whole(tmp_path):
    assert open_study(film(tmp_path / "1.2.840.99.7")).id == "1.2.840.99.7"


def test_pixels_are_picklable_and_never_shared(tmp_path):
    image = open_study(film(tmp_path / "film.dcm")).images[0]
    again = pickle.loads(pickle.dumps(image))
    first = image.pixels()
    first[:] = 0
    np.testing.assert_array_equal(image.pixels(), again.pixels())
    assert image.pixels().max() == 1


def test_a_changed_file_is_read_again(tmp_path):
    image = open_study(film(tmp_path / "film.dcm")).images[0]
    save(dicom(grey8()[:48], BodyPartExamined="CHEST"), tmp_path / "film.dcm")
    assert image.pixels().shape == (48, 64)
    (tmp_path / "film.dcm").unlink()
    with pytest.raises(StudyError, match=r"film\.dcm: the file is gone"):
        image.pixels()


def test_dual_personality_file_is_dicom(tmp_path):
    path = film(tmp_path / "IM1")
    data = bytearray(path.read_bytes())
    data[:4] = b"II*\0"
    path.write_bytes(bytes(data))
    assert open_study(path).source == "dicom"


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"hello there", "not a DICOM or picture file"), (bytes(500), "not a DICOM")]
)
def test_open_fails_in_one_line(tmp_path, content, said):
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=f"^thing: .*{said}") as error:
        open_study(path)
    assert str(tmp_path) not in str(error.value)


def test_open_refuses_and_is_forced(tmp_path):
    path = film(tmp_path / "hip.dcm", BodyPartExamined="HIP")
    with pytest.raises(Refused, match="'HIP'"):
        open_study(path)
    image = open_study(path, force=True).images[0]
    assert image.notes[0].startswith("Drafted by force")
    assert image.pixels().shape == (96, 64)


def test_open_folder_and_missing(tmp_path):
    png(tmp_path / "film.png")
    with pytest.raises(StudyError, match="folder"):
        open_study(tmp_path)
    with pytest.raises(MissingError, match=r"Did you mean 'film\.png'"):
        open_study(tmp_path / "filn.png")
    with pytest.raises(MissingError):
        find_studies([tmp_path / "no" / "where.png"])  # at once, not when it is walked
    missing = [
        item for item in find_studies([tmp_path / "film.png", tmp_path / "filn.png"]) if isinstance(item, Problem)
    ]
    assert [item.status for item in missing] == ["failed"]
    assert "Did you mean 'film.png'" in missing[0].reason


def test_folder_walk_is_sorted_and_passes_over_other_files(tmp_path):
    png(tmp_path / "b.png")
    png(tmp_path / "a" / "z.png")
    film(tmp_path / "a" / "IM0001")
    png(tmp_path / ".hidden" / "x.png")
    for name in ("notes.csv", "README", "README.md", "DICOMDIR", "a/labels.json", ".DS_Store"):
        (tmp_path / name).write_text("x")
    (tmp_path / "broken").write_text("?")
    assert summary(find_studies(tmp_path)) == ["b", ("broken", "failed"), "a/IM0001", "a/z"]
    assert summary(find_studies(tmp_path, recursive=False)) == ["b", ("broken", "failed")]


def test_explicit_files_are_all_answered(tmp_path):
    (tmp_path / "labels.csv").write_text("a,b\n")
    found = list(find_studies([png(tmp_path / "a.png"), tmp_path / "labels.csv"]))
    assert summary(found) == ["a", ("labels.csv", "failed")]
    assert isinstance(found[1], Problem) and found[1].reason.startswith("not a DICOM or picture file")


def test_one_bad_file_does_not_stop_the_others(tmp_path):
    for place, name in enumerate(("a", "b", "c")):
        film(tmp_path / f"{name}.dcm", BodyPartExamined="HIP" if place == 1 else "CHEST")
    data = film(tmp_path / "d.dcm").read_bytes()
    (tmp_path / "d.dcm").write_bytes(data[: len(data) // 2])
    png(tmp_path / "e.png")
    assert summary(find_studies(tmp_path)) == ["a", ("b.dcm", "refused"), "c", ("d.dcm", "failed"), "e"]
    assert summary(find_studies(tmp_path, force=True)) == ["a", "b", "c", ("d.dcm", "failed"), "e"]


def test_dicom_files_of_one_study_are_one_study_frontal_first(tmp_path):
    uid = generate_uid()
    for name, view in (("1", "LL"), ("2", ""), ("3", "AP"), ("4", "PA")):
        film(tmp_path / f"{name}.dcm", StudyInstanceUID=uid, ViewPosition=view,
             PatientAge="050Y" if name == "1" else "")  # fmt: skip
    film(tmp_path / "5.dcm", StudyInstanceUID=uid, BodyPartExamined="HIP")
    film(tmp_path / "sub" / "6.dcm")
    refused, study, other = find_studies(tmp_path)
    assert refused.name == "5.dcm" and refused.status == "refused"
    assert study.id == pseudonym("study", uid) and uid not in repr(study)
    assert [image.name for image in study.images] == ["4.dcm", "3.dcm", "2.dcm", "1.dcm"]
    assert [image.view for image in study.images] == ["PA", "AP", "unknown", "lateral"]
    assert any("First of 4 images" in note for note in study.images[0].notes)
    assert study.age == 50  # only the lateral states it
    assert other.id == "sub/6"


def test_files_named_one_by_one_are_grouped_too(tmp_path):
    uid = generate_uid()
    paths = [film(tmp_path / f"{view}.dcm", StudyInstanceUID=uid, ViewPosition=view) for view in ("LL", "PA")]
    (study,) = find_studies(paths)
    assert [image.name for image in study.images] == ["PA.dcm", "LL.dcm"]


def test_names_are_unique_and_files_are_read_once(tmp_path):
    png(tmp_path / "one" / "x.png")
    png(tmp_path / "two" / "x.png")
    PilImage.fromarray(grey8()).save(tmp_path / "one" / "x.jpg")
    found = summary(find_studies([tmp_path / "one", tmp_path / "two", tmp_path / "one" / "x.png"]))
    assert found == ["x.jpg", "x.png", "x.png#2"]


def test_empty_folder_is_a_problem(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    (problem,) = find_studies(tmp_path)
    assert problem.status == "failed" and "no image files (1 files of other kinds" in problem.reason


def test_studies_come_one_at_a_time(tmp_path):
    for name in "abc":
        png(tmp_path / f"{name}.png")
    found = find_studies(tmp_path)
    assert next(found).id == "a"
    (tmp_path / "b.png").write_bytes(b"\x89PNG broken")  # b has not been decoded yet
    assert summary(found) == [("b.png", "failed"), "c"]


def test_folder_of_a_data_set_is_read_by_its_reader(tmp_path):
    study = open_study(png(tmp_path / "set" / "film.png"))
    lines = json.dumps(study.to_json()) + "\n"
    (tmp_path / "set" / "studies.jsonl").write_text(lines)
    png(tmp_path / "loose.png")
    found = list(find_studies(tmp_path))
    assert summary(found) == ["film", "loose"]
    np.testing.assert_allclose(found[0].images[0].pixels(), scene(), atol=0.003)


def test_broken_data_set_is_a_problem(tmp_path):
    (tmp_path / "studies.jsonl").write_text("{not json\n")
    (problem,) = find_studies(tmp_path)
    assert (problem.name, problem.status) == ("studies.jsonl", "failed")


def test_importing_studies_is_light():
    code = "import sys, wetread.studies; print([m for m in ('pydicom', 'PIL', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs("dicom")
def test_real_dicom_folder():
    found = list(find_studies(SHARED / "dicom"))
    assert [type(item).__name__ for item in found].count("Problem") == 7
    studies = [item for item in found if isinstance(item, Study)]
    assert [len(study.images) for study in studies] == [1, 2]
    assert all(item.status == "refused" for item in found if isinstance(item, Problem))
    forced = list(find_studies(SHARED / "dicom", force=True))
    assert [item.name for item in forced if isinstance(item, Problem)] == ["wg04/RG2_JPLY"]


@needs("chest_xray")
def test_real_pictures_through_the_door():
    found = list(itertools.islice(find_studies(SHARED / "chest_xray" / "nih"), 10))
    assert summary(found) == ["00000001_000", "00000013_027", "00000013_028", "00000013_029", "00000013_043",
                              "00027426_000"]  # fmt: skip
