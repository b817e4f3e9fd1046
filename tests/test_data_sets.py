"""Every data set in its own layout: which text is what, one report a study, views, splits, dates, and what is left out."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_set_files as made
from data_set_files import CLEAR, EFFUSION, PATIENTS, STUDIES
from studies_files import damaged, needs
from wetread.errors import MissingError, StudyError, UsageError, WetreadError
from wetread.records import Report
from wetread.runs.sections import sectioned
from wetread.studies import datasets
from wetread.studies.datasets import Dropped, Found, Place
from wetread.studies.datasets.stage import NO_TEXT, TWO_REPORTS, Stage


def read(name, root, there=True, **more):
    """Return the studies of a data set by their ids, and why rows and studies were left out; ``there``: all files are."""
    data_set = datasets.get(name)
    place = Place(root, read=sectioned, **more)
    studies, gone = {}, []
    with Stage(data_set.twice) as stage:
        for row in data_set.open(place).rows():
            if isinstance(row, Dropped):
                gone.append(row)
            else:
                assert not (place.look and there) or all(file is None or file.is_file() for file in row.files), row
                stage.add(row)
        gone += stage.settle(images=False)
        for found in stage:
            studies[found.study.id] = found
    return studies, gone


def reasons(gone):
    return sorted(one.reason for one in gone)


def views(found: Found):
    return [(image.name.rpartition("/")[2], image.view) for image in found.study.images]


# ---- Open-i ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", [False, True])
def test_openi_xml(tmp_path, archive):
    studies, gone = read("openi", made.openi(tmp_path / "set", archive=archive))
    one, two = studies["CXR1"].study, studies["CXR2"].study
    assert one.report == Report(CLEAR, "Normal chest.")
    assert (one.indication, one.comparison, one.split, one.patient, one.date) == (
        "Cough for XXXX weeks",
        "",
        "train",
        "1",
        "",
    )
    assert two.report == Report(f"{EFFUSION} XXXX scarring.")
    assert (two.indication, two.comparison, two.split) == ("", "", "val")
    assert [file.name for file in studies["CXR1"].files] == ["CXR1_IM-0001-1001.png", "CXR1_IM-0001-2001.png"]
    assert reasons(gone) == [NO_TEXT]
    assert all(image.view == "unknown" for found in studies.values() for image in found.study.images)


def test_openi_csv_says_the_same_and_knows_lateral_views(tmp_path):
    xml, _ = read("openi", made.openi(tmp_path / "xml"))
    made.kaggle(tmp_path / "csv")
    (tmp_path / "xml" / "splits.csv").rename(tmp_path / "csv" / "splits.csv")
    table, gone = read("openi", tmp_path / "csv")
    assert reasons(gone) == [NO_TEXT] and set(table) == set(xml)
    for key in xml:
        one, other = xml[key].study, table[key].study
        assert (one.report, one.indication, one.comparison, one.patient, one.split) == (
            other.report, other.indication, other.comparison, other.patient, other.split,
        )  # fmt: skip
    assert views(table["CXR1"]) == [("1_IM-0001-1001.dcm.png", "unknown"), ("1_IM-0001-2001.dcm.png", "lateral")]


def test_openi_takes_r2gens_split_from_the_annotation_beside(tmp_path):
    root = made.openi(tmp_path)
    (root / "splits.csv").unlink()
    made.r2gen(root)
    studies, _ = read("openi", root)
    assert {key: found.study.split for key, found in studies.items()} == {"CXR1": "train", "CXR2": "val"}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("<eCitation><uId id='CXR8'/>", "not XML"),
        ("", "not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><eCitation><uId id="CXR8"/></eCitation>', "declarations"),
        ("<eCitation/>", ""),
    ],
)
def test_openi_a_damaged_report_does_not_stop_the_others(tmp_path, text, detail):
    root = made.openi(tmp_path)
    (root / "ecgen-radiology" / "0.xml").write_text(text, "utf-8")
    studies, gone = read("openi", root)
    assert set(studies) == {"CXR1", "CXR2"}
    bad = next(one for one in gone if one.reason != NO_TEXT)
    assert detail in bad.detail and "0.xml" not in bad.where


def test_openi_a_cut_archive_gives_what_is_before_the_cut(tmp_path):
    root = made.openi(tmp_path, archive=True)
    path = root / "NLMCXR_reports.tgz"
    with tarfile.open(path, "w:gz") as pack:
        for uid in range(1, 40):
            data = made.openi_xml(uid, {"FINDINGS": f"{CLEAR} {csv_noise(uid)}"}, []).encode()
            member = tarfile.TarInfo(f"ecgen-radiology/{uid}.xml")
            member.size = len(data)
            pack.addfile(member, io.BytesIO(data))
    path.write_bytes(path.read_bytes()[:-600])
    studies, gone = read("openi", root)
    assert 0 < len(studies) < 39
    assert reasons(gone) == ["a file cannot be read on: damaged or cut short"]


def csv_noise(seed):
    """Text that does not compress, so that a cut archive is cut within the reports."""
    import random

    return " ".join(str(random.Random(seed).getrandbits(60)) for _ in range(30))


# ---- R2Gen -----------------------------------------------------------------------------------------------------------


def test_r2gen_iu(tmp_path):
    studies, gone = read("r2gen", made.r2gen(tmp_path))
    assert {key: found.study.split for key, found in studies.items()} == {
        "CXR1": "train", "CXR5": "train", "CXR2": "val", "CXR4": "test",
    }  # fmt: skip
    assert studies["CXR1"].study.report == Report(CLEAR)
    assert studies["CXR4"].study.report == Report("Clear.", "Normal.")
    assert (studies["CXR1"].study.patient, studies["CXR1"].study.source) == ("1", "Open-i")
    assert len(studies["CXR1"].files) == 2 and not gone


def test_r2gen_mimic_has_an_entry_an_image(tmp_path):
    entries = [
        {
            "id": f"d{n}",
            "study_id": int(STUDIES[0]),
            "subject_id": int(PATIENTS[0]),
            "report": CLEAR,
            "image_path": [f"p/{n}.jpg"],
        }
        for n in range(2)
    ]
    for n in range(2):
        made.picture(tmp_path / "images" / "p" / f"{n}.jpg", n)
    made.dump(tmp_path / "annotation.json", {"train": entries, "val": [{"id": "d9", "report": 7}, "no"]})
    studies, gone = read("r2gen", tmp_path)
    found = studies[STUDIES[0]]
    assert (len(found.files), found.study.patient, found.study.source) == (2, PATIENTS[0], "MIMIC-CXR")
    assert reasons(gone) == ["an entry without a report"] * 2


# ---- MIMIC-CXR -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_mimic_jpg(tmp_path, gz, packed):
    studies, gone = read("mimic-cxr-jpg", made.mimic(tmp_path, gz=gz, packed=packed))
    one, two, three = (studies[key] for key in STUDIES[:3])
    assert one.study.report == Report("The lungs are clear. No pneumothorax.", "Normal chest.")
    assert one.study.indication == "___ year old with cough // pneumonia?"
    assert one.study.comparison == ""
    assert views(one) == [("aaaa0002.jpg", "PA"), ("aaaa0001.jpg", "lateral")]
    assert one.study.date == "2150-01-03T09:04:55"
    assert two.study.report == Report("Small left pleural effusion, new from ___.")
    assert (two.study.indication, two.study.comparison, two.study.date) == ("Fever.", "", "2150-01-01T21:30:14")
    assert views(two) == [("aaaa0003.jpg", "AP")]
    assert two.study.meta["chexpert"]["Pleural Effusion"] == 1.0
    assert two.study.meta["chexpert"]["Pneumonia"] == -1.0 and two.study.meta["chexpert"]["Edema"] is None
    assert one.study.meta["sections_by"] == "headers"
    assert three.study.report == Report("The heart is large. No fracture.")
    assert (three.study.meta["sections_by"], three.study.indication, three.study.split) == (
        "last paragraph",
        "Fall.",
        "val",
    )
    assert views(three) == [("aaaa0004.jpg", "unknown")]
    assert reasons(gone) == [NO_TEXT]


def test_mimic_dicom_takes_views_and_dates_from_the_headers(tmp_path):
    root = made.mimic(tmp_path, suffix=".dcm")
    for path in root.glob("*.csv.gz"):
        path.unlink()
    rows = [{"subject_id": row[1], "study_id": row[2], "dicom_id": row[0], "path": "x"} for row in made.MIMIC_IMAGES]
    made.table(root / "cxr-record-list.csv.gz", rows)
    studies, _ = read("mimic-cxr", root)
    assert views(studies[STUDIES[0]]) == [("aaaa0002.jpg", "PA"), ("aaaa0001.jpg", "lateral")]
    assert studies[STUDIES[0]].study.date == "2150-01-03T12:00:00"
    assert studies[STUDIES[0]].study.split == ""


def test_mimic_reports_elsewhere_and_studies_without_one(tmp_path):
    root = made.mimic(tmp_path / "jpg", packed=True)
    (tmp_path / "texts").mkdir()
    (root / "mimic-cxr-reports.zip").rename(tmp_path / "texts" / "mimic-cxr-reports.zip")
    with pytest.raises(StudyError, match="--reports"):
        datasets.get("mimic-cxr-jpg").open(Place(root))
    studies, _ = read("mimic-cxr-jpg", root, reports=tmp_path / "texts")
    assert set(studies) == set(STUDIES[:3])


def test_mimic_bad_rows_are_counted(tmp_path):
    root = made.mimic(tmp_path, gz=False)
    (root / f"{made.mimic_path(PATIENTS[0], STUDIES[0])}.txt").unlink()
    (root / f"{made.mimic_path(PATIENTS[1], STUDIES[2])}.txt").write_bytes(b"\xff\xfe broken")
    with (root / "mimic-cxr-2.0.0-metadata.csv").open("a") as file:
        file.write("only,three,fields\n,,,,,,\n")
    studies, gone = read("mimic-cxr-jpg", root)
    assert set(studies) == {STUDIES[1]}
    assert reasons(gone) == [
        "a row with other fields than the header", "a row without its ids", NO_TEXT, "no report file",
        "the report file cannot be read",
    ]  # fmt: skip


# ---- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_chexpert_plus(tmp_path, suffix):
    studies, gone = read("chexpert-plus", made.chexpert_plus(tmp_path, suffix))
    assert set(studies) == {"patient00001/study7", "patient00001/study2", "patient00003/study1"}
    found = studies["patient00001/study7"]
    assert found.study.report == Report("", "1. SMALL EFFUSION. 2. NO PNEUMOTHORAX.")  # the first of two anonymisations
    assert views(found) == [("view1_frontal.jpg", "AP"), ("view2_lateral.jpg", "lateral")]
    assert [file.suffix for file in found.files] == [suffix, suffix]
    assert (found.study.indication, found.study.comparison) == ("61 years, cough", "8/8/2005.")
    assert (found.study.age, found.study.sex, found.study.date, found.study.meta["encounter"]) == (61, "female", "", 2)
    assert studies["patient00003/study1"].study.split == "val"
    assert reasons(gone) == [NO_TEXT]


def test_rexgradient(tmp_path):
    studies, gone = read("rexgradient", made.rexgradient(tmp_path))
    assert set(studies) == {"9.2", "9.9", "9.4"}
    one = studies["9.2"]
    assert views(one) == [("x2.png", "PA"), ("x1.png", "lateral")]
    assert (one.study.date, one.study.split, one.study.age, one.study.sex) == ("2011-03-05", "train", 54, "female")
    assert (one.study.comparison, studies["9.9"].study.comparison) == ("", "Last week.")
    assert studies["9.4"].study.split == "val" and studies["9.4"].study.report == Report("", CLEAR)
    assert reasons(gone) == [NO_TEXT]


def test_rexgradient_a_path_that_leads_out_is_refused(tmp_path):
    root = made.rexgradient(tmp_path)
    path = root / "metadata" / "valid_metadata_view_position.json"
    made.dump(path, {"a": {"ImagePath": ["../deid_png/../../etc/x.png"], "Findings": "x"}, "b": 7})
    _, gone = read("rexgradient", root)
    assert reasons(gone) == ["an entry that is no object", "an image path that leads out of the folder", NO_TEXT]


@pytest.mark.parametrize("master", ["master_table.csv", "master_table.csv.zip"])
def test_padchest_gr(tmp_path, master):
    studies, gone = read("padchest-gr", made.padchest_gr(tmp_path, master))
    one, three = studies["251"], studies["253"]
    assert one.study.report == Report("Small left effusion. Clear right lung.")
    assert (one.study.split, one.study.date, one.study.sex, one.study.age) == ("train", "2014-02-01", "male", 70)
    assert (one.study.prior.study, [file.name for file in one.prior_files]) == ("240", ["i240.png"])
    assert three.study.prior.study == "251" and studies["252"].study.prior is None
    assert (one.study.meta["abnormal"], studies["252"].study.meta["abnormal"]) == (True, False)
    assert reasons(gone) == ["a study that is not in the master table"]


def test_padchest_gr_in_spanish(tmp_path):
    studies, _ = read("padchest-gr", made.padchest_gr(tmp_path), language="es")
    assert studies["251"].study.report == Report("Pequeño derrame izquierdo. Derecho libre.")
    with pytest.raises(UsageError, match="en and es"):
        datasets.get("padchest-gr").check(Place(tmp_path, language="zh"))
    with pytest.raises(UsageError, match="--reports"):
        datasets.get("padchest-gr").check(Place(tmp_path, reports=tmp_path))


def test_cov_ctr_is_no_radiograph_and_drops_images_with_two_reports(tmp_path):
    studies, gone = read("cov-ctr", made.cov_ctr(tmp_path))
    assert {key: found.study.report.findings for key, found in studies.items()} == {
        "20.jpg": "Clear lungs.", "83%2.jpg": "Ground glass.",
    }  # fmt: skip
    assert all(found.study.modality == "chest_ct" for found in studies.values())
    assert [(one.reason, one.study) for one in gone] == [(TWO_REPORTS, "9%1.png")]
    chinese, _ = read("cov-ctr", tmp_path, language="zh")
    assert chinese["20.jpg"].study.report == Report("双肺纹理清晰", "印象")


def test_rexrank(tmp_path):
    studies, gone = read("rexrank", made.rexrank(tmp_path))
    one, two = studies["s1"].study, studies["s2"].study
    assert one.report == Report(CLEAR) and two.report == Report("Clear.", "Normal.")
    assert (one.indication, one.comparison, one.sex, one.age, one.split) == ("Cough", "", "male", None, "test")
    assert (two.indication, two.age) == ("", 54)
    assert views(studies["s1"]) == [("2.png", "unknown"), ("1.png", "lateral")]
    assert reasons(gone) == [NO_TEXT]


def test_llava(tmp_path):
    studies, gone = read("llava", made.llava(tmp_path))
    one = studies["q1"].study
    assert (one.report, one.indication, one.split, one.patient) == (Report(CLEAR), "Cough", "train", "7")
    assert views(studies["q1"]) == [("a.png", "PA")]
    assert studies["q2"].study.report == Report("Large heart.", "Cardiomegaly.") and len(studies["q2"].files) == 2
    assert reasons(gone) == ["several answers where one must be the report"]


def test_ms_swift(tmp_path):
    studies, gone = read("llava", made.llava(tmp_path, "swift"))
    assert {key: found.study.report.findings for key, found in studies.items()} == {"q1": CLEAR, "q2": EFFUSION}
    assert reasons(gone) == ["an entry that is no object"] and "not JSON" in gone[0].detail


def test_table_with_images_called_like_the_id(tmp_path):
    studies, gone = read("table", made.plain(tmp_path))
    assert [file.name for file in studies["b"].files] == ["b-1.png", "b-2.png"]
    assert (studies["a"].study.date, studies["a"].study.patient, studies["a"].study.split) == (
        "2020-01-02",
        "p1",
        "train",
    )
    assert studies["a"].study.meta == {"scanner": "X"}
    assert reasons(gone) == [NO_TEXT] and studies["d"].files == ()


def test_table_with_a_column_of_images(tmp_path):
    studies, gone = read("table", made.plain(tmp_path, "jsonl"))
    assert [file.name for file in studies["b"].files] == ["b-1.png", "b-2.png"]
    assert reasons(gone) == ["an image path that leads out of the folder", NO_TEXT]


def test_table_cut_in_a_quoted_text(tmp_path):
    path = made.plain(tmp_path)
    path.write_bytes(path.read_bytes() + b'e,"never closed')
    studies, gone = read("table", path)
    assert set(studies) >= {"a", "b"}
    assert "a file cannot be read on: damaged or cut short" in reasons(gone)


def test_a_cut_gzip_gives_what_is_before_the_cut(tmp_path):
    root = made.chexpert_plus(tmp_path)
    path = root / "df_chexpert_plus_240401.csv"
    text = path.read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    path.unlink()
    many = [
        {**rows[1], "section_findings": f"{CLEAR} {csv_noise(n)}", "path_to_image": f"train/p{n}/study1/v.jpg"}
        for n in range(200)
    ]
    packed = made.table(root / "df_chexpert_plus_240401.csv.gz", many)
    packed.write_bytes(packed.read_bytes()[:-2000])
    studies, gone = read("chexpert-plus", root, look=False)
    assert 0 < len(studies) < 200
    assert [one.reason for one in gone] == ["a file cannot be read on: damaged or cut short"]


# ---- wrong layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(datasets.SETS))
def test_a_wrong_layout_says_what_was_looked_for_and_what_is_there(name, tmp_path):
    made.picture(tmp_path / "patient12345678.png")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(StudyError) as told:
        datasets.get(name).open(Place(tmp_path))
    assert "looked for" in str(told.value) and "found" in str(told.value) and "notes.txt" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", sorted(datasets.SETS))
def test_a_place_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(MissingError, match="nowhere"):
        datasets.get(name).open(Place(tmp_path / "nowhere"))


def test_names_of_folders_are_told_as_patterns(tmp_path):
    for number in range(20):
        (tmp_path / f"p{10000000 + number}").mkdir()
    with pytest.raises(StudyError) as told:
        datasets.get("mimic-cxr-jpg").open(Place(tmp_path))
    assert "10000001" not in str(told.value) and "(20)" in str(told.value)


def test_missing_columns_are_named(tmp_path):
    made.table(tmp_path / "df_chexpert_plus_240401.csv", [{"path_to_image": "x", "report": "y"}])
    with pytest.raises(StudyError, match=r"'section_findings'.*there are: path_to_image, report"):
        datasets.get("chexpert-plus").open(Place(tmp_path))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("chexpert-plus", made.chexpert_plus), ("rexgradient", made.rexgradient), ("mimic-cxr-jpg", made.mimic),
        ("r2gen", made.r2gen), ("cov-ctr", made.cov_ctr),
    ],
)  # fmt: skip
def test_no_image_at_all_is_told_before_everything_is_read(name, make, tmp_path):
    root = make(tmp_path)
    for path in [*root.rglob("*.png"), *root.rglob("*.jpg")]:
        path.unlink()
    rows = datasets.get(name).open(Place(root)).rows()
    with pytest.raises(StudyError, match=r"no image was found: looked for .*--images.*--no-images"):
        list(rows)


def test_json_that_is_none_is_refused(tmp_path):
    (tmp_path / "annotation.json").write_text('{"train": [', "utf-8")
    with pytest.raises(StudyError, match="not JSON"):
        datasets.get("r2gen").open(Place(tmp_path))
    made.dump(tmp_path / "annotation.json", {"images": []})
    with pytest.raises(StudyError, match="lists train, val, test"):
        datasets.get("r2gen").open(Place(tmp_path))


# ---- damaged files ---------------------------------------------------------------------------------------------------

LISTINGS = {
    "openi": (made.openi, "ecgen-radiology/1.xml"), "openi csv": (made.kaggle, "indiana_reports.csv"),
    "openi views": (made.kaggle, "indiana_projections.csv"), "r2gen": (made.r2gen, "annotation.json"),
    "mimic-cxr-jpg": (partial(made.mimic, packed=True), "mimic-cxr-reports.zip"),
    "mimic-cxr-jpg metadata": (made.mimic, "mimic-cxr-2.0.0-metadata.csv.gz"),
    "mimic-cxr-jpg split": (partial(made.mimic, gz=False), "mimic-cxr-2.0.0-split.csv"),
    "mimic-cxr-jpg text": (made.mimic, f"{made.mimic_path(PATIENTS[0], STUDIES[0])}.txt"),
    "chexpert-plus": (made.chexpert_plus, "df_chexpert_plus_240401.csv"),
    "rexgradient": (made.rexgradient, "metadata/train_metadata_view_position.json"),
    "padchest-gr": (made.padchest_gr, "grounded_reports_20240819.json"),
    "padchest-gr table": (partial(made.padchest_gr, master="master_table.csv.zip"), "master_table.csv.zip"),
    "cov-ctr": (made.cov_ctr, "COV-CTR/reports_ZH_EN.csv"), "rexrank": (made.rexrank, "iu_test.json"),
    "llava": (made.llava, "train.json"), "llava swift": (partial(made.llava, form="swift"), "train.jsonl"),
    "table": (made.plain, "reports.csv"), "table jsonl": (partial(made.plain, form="jsonl"), "reports.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LISTINGS))
def test_a_damaged_listing_ends_in_one_line_or_in_fewer_studies(name, tmp_path):
    """Bytes changed, cut off and put in, anywhere: an error of ours, or rows with their reasons; never anything else."""
    make, file = LISTINGS[name]
    made_at = make(tmp_path / "set")
    root = made_at if made_at.is_dir() or name == "table jsonl" else made_at.parent
    path = tmp_path / "set" / file
    whole = path.read_bytes()
    every, _ = read(name.split()[0], root)

    @given(damaged([whole]))
    def run(data):
        path.write_bytes(data)
        try:
            studies, gone = read(name.split()[0], root, there=False)
        except WetreadError as error:
            assert "\n" not in str(error)
            return
        assert all(row.reason and row.where for row in gone)
        for found in studies.values():
            assert found.study.to_json() and len(found.files) == len(found.study.images)

    run()
    path.write_bytes(whole)
    assert read(name.split()[0], root)[0] == every


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4) | st.just("../../x.png"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["report", "id", "image", "findings"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
JSONS = {
    "r2gen": ("annotation.json", made.r2gen), "rexgradient": ("metadata/train_metadata_view_position.json", made.rexgradient),
    "padchest-gr": ("grounded_reports_20240819.json", made.padchest_gr), "rexrank": ("iu_test.json", made.rexrank),
    "llava": ("train.json", made.llava),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(JSONS))
def test_values_of_any_kind_anywhere_in_json_never_end_an_import(name, tmp_path):
    file, make = JSONS[name]
    make(tmp_path)
    path = tmp_path / file
    whole = json.loads(path.read_text("utf-8"))

    @given(st.data())
    def run(data):
        spoilt = json.loads(json.dumps(whole))
        holder, key = data.draw(st.sampled_from(sorted(places(spoilt), key=lambda one: str(one[1]))))
        holder[key] = data.draw(JUNK)
        made.dump(path, spoilt)
        try:
            read(name, tmp_path, there=False)
        except WetreadError as error:
            assert "\n" not in str(error)

    run()


def places(value):
    """Every place in nested JSON: its holder and key."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(inner):
        yield value, key
        yield from places(one)


# ---- the real Open-i files -------------------------------------------------------------------------------------------


@needs("openi")
def test_the_real_openi_files(wetread_data):
    studies, gone = read("openi", wetread_data / "openi", look=False)
    assert (len(studies), gone) == (2365, [])
    by_split = [found.study.split for found in studies.values()]
    assert (by_split.count("train"), by_split.count("val")) == (2069, 296)
    sections = [found.study.report.sections for found in studies.values()]
    assert (sections.count(("findings", "impression")), sections.count(("findings",))) == (2359, 6)
    images = [len(found.study.images) for found in studies.values()]
    assert [images.count(number) for number in (1, 2, 3, 4, 5)] == [0, 2240, 113, 11, 1]
    assert sum("XXXX" in found.study.report.findings for found in studies.values()) == 1015
    assert sum(bool(found.study.indication) for found in studies.values()) == 2204
    assert sum(bool(found.study.comparison) for found in studies.values()) == 548


@needs("openi")
def test_the_real_openi_files_in_r2gens_form(wetread_data, tmp_path):
    """R2Gen's findings are the collection's: made from the XML in its form, they read as the same findings."""
    root = wetread_data / "openi"
    xml, _ = read("openi", root, look=False)
    data = {"train": [], "val": []}
    with (root / "splits.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            text = xml[row["study_id"]].study.report.findings
            data[row["split"]].append({"id": row["r2gen_id"], "report": text, "image_path": [], "split": row["split"]})
    studies, gone = read("r2gen", made.dump(tmp_path / "annotation.json", data), look=False)
    assert (len(studies), gone) == (2365, [])
    for key, found in studies.items():
        assert found.study.report.findings == xml[key].study.report.findings
        assert (found.study.split, found.study.patient) == (xml[key].study.split, xml[key].study.patient)


@needs("openi")
def test_every_study_of_openi_is_a_patient_by_its_dicom_headers(wetread_data):
    import gzip

    with gzip.open(wetread_data / "openi" / "dicom_headers.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4867
    assert all(row["imageid"].startswith(f"CXR{row['Patient ID']}_") for row in rows)
