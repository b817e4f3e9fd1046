"""`wetread draft --export` and `--report-format`: files, faults, identifiers, kills. Patients and names are invented."""

import json
import resource
import shutil
import signal
import subprocess

import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st

from export_documents import SIGNATURE, document, header
from training_helpers import command, kill_when, wetread
from wetread.errors import StudyError, UsageError
from wetread.export import FORMATS
from wetread.records import Report, Study
from wetread.runs import exporting
from wetread.runs.draft import Context, DraftRecord
from wetread.studies import open_study, phantom

ALL = ",".join(FORMATS)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with three DICOM phantoms, one in a folder of its own, a picture and a file that is none."""
    home = tmp_path_factory.mktemp("films")
    phantom.write(home / "made", 4, seed=4, format="dicom", size=64)
    made = sorted((home / "made").rglob("*.dcm"))
    films = home / "films"
    (films / "ward").mkdir(parents=True)
    for name, path in zip(("ward/a.dcm", "b.dcm", "c.dcm"), made, strict=False):
        path.rename(films / name)
    phantom.write(home / "pictures", 1, seed=5, size=64)
    next((home / "pictures").rglob("*.png")).rename(films / "picture.png")
    (films / "bad.dcm").write_text("no dicom here")
    return films


def names(folder):
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return made - {"run.json", "run.lock", "config.yaml", "drafts.jsonl", "events.jsonl"}


def expected(*studies, formats=FORMATS):
    return {f"{study}.{suffix}" for study in studies for name in formats for suffix in FORMATS[name]}


@pytest.fixture(scope="module")
def exported(films, tmp_path_factory):
    """A run with everything exported."""
    out = tmp_path_factory.mktemp("run")
    done = wetread("draft", films, "--model", "template", "--out", out, "--export", ALL)
    assert done.returncode == 1, done.stderr  # the bad file
    return out


@pytest.mark.slow
def test_every_study_that_was_drafted_has_its_files(films, exported):
    assert names(exported) == expected("ward/a", "b", "c", "picture")
    for name in ("ward/a", "b", "c"):
        source = pydicom.dcmread(films / f"{name}.dcm", stop_before_pixels=True)
        for suffix in ("sr.dcm", "pdf.dcm"):
            made = pydicom.dcmread(exported / f"{name}.{suffix}")
            assert made.StudyInstanceUID == source.StudyInstanceUID
            assert made.PatientID == source.PatientID
            assert made.VerificationFlag == "UNVERIFIED"
        bundle = Bundle.model_validate_json((exported / f"{name}.fhir.json").read_text())
        assert bundle.entry[0].resource.subject.identifier.value == source.PatientID
        assert (exported / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
    assert "AI DRAFT, NOT VERIFIED" in (exported / "picture.txt").read_text()


@pytest.mark.slow
def test_the_same_command_writes_the_same_bytes_again(films, exported, tmp_path):
    before = {name: (exported / name).read_bytes() for name in names(exported)}
    (exported / "b.pdf").unlink()
    done = wetread("draft", films, "--model", "template", "--out", exported, "--export", ALL)
    assert done.returncode == 1
    assert {name: (exported / name).read_bytes() for name in names(exported)} == before


@pytest.mark.slow
def test_exports_may_be_asked_for_later(films, tmp_path):
    out = tmp_path / "run"
    assert wetread("draft", films / "b.dcm", "--model", "template", "--out", out).returncode == 0
    assert names(out) == set()
    assert wetread("draft", films / "b.dcm", "--model", "template", "--out", out, "--export", "pdf").returncode == 0
    assert names(out) == {"b.pdf", "b.pdf.dcm"}
    assert len((out / "drafts.jsonl").read_text().splitlines()) == 1


CANARIES = {
    "PatientName": "Canary^Invented", "PatientID": "CANARYID7", "PatientBirthDate": "19370519",
    "AccessionNumber": "CANARYACC", "ReferringPhysicianName": "Canary^Example", "StudyID": "CANARYSTUDY",
    "InstitutionName": "CANARYPLACE", "OperatorsName": "Canary^Test", "PatientComments": "CANARYCOMMENT",
    "ReasonForStudy": "CANARYREASON", "AdmittingDiagnosesDescription": "CANARYDIAGNOSIS", "StudyDate": "20310207",
    "StudyDescription": "CHEST CANARYTEXT", "OtherPatientIDs": "CANARYOTHER", "PatientAddress": "CANARYSTREET",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.77777", "RequestingPhysician": "Canary^Phantom",
}  # fmt: skip


@pytest.mark.slow
def test_identifiers_stay_in_the_formats_that_need_them(films, tmp_path):
    """Canaries in every tag that names somebody: only DICOM and FHIR hold some of them, the rest of what is written none."""
    (tmp_path / "in").mkdir()
    ds = pydicom.dcmread(films / "b.dcm")
    for keyword, value in CANARIES.items():
        setattr(ds, keyword, value)
    ds.save_as(tmp_path / "in" / "film.dcm")
    out = tmp_path / "run"
    done = wetread(
        "draft", tmp_path / "in", "--model", "template", "--out", out, "--export", ALL, "--json", tmp_path / "all.json"
    )
    assert done.returncode == 0, done.stderr
    secrets = [part for value in CANARIES.values() for part in value.replace("^", " ").split() if part != "CHEST"]
    secrets += ["1937-05-19", "2031-02-07"]

    def held(data):
        return sorted({secret for secret in secrets if secret.lower().encode() in data.lower()})

    allowed = {
        ".dcm": {"Canary", "Invented", "CANARYID7", "19370519", "CANARYACC", "Example", "CANARYSTUDY", "CANARYTEXT",
                 "20310207", "1.2.826.0.1.3680043.8.498.77777"},
        ".json": {"CANARYID7", "CANARYACC", "2031-02-07", "1.2.826.0.1.3680043.8.498.77777"},
    }  # fmt: skip
    for path in out.rglob("*"):
        if path.is_file():
            kind = path.suffix if path.suffix == ".dcm" or ".fhir" in path.name else ""
            may = allowed.get(kind, set()) | ({"Canary"} if kind == ".json" else set())
            assert set(held(path.read_bytes())) <= may, path.name
            assert held(path.name.encode()) == []
    assert held((tmp_path / "all.json").read_bytes()) == []
    assert held((done.stdout + done.stderr).encode()) == []


@pytest.mark.slow
def test_a_kill_loses_nothing_and_leaves_no_half_file(films, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(30):
        shutil.copy(films / "picture.png", many / f"film{number}.png")
    out = tmp_path / "run"
    arguments = [
        "draft",
        str(many),
        "--model",
        "template",
        "--out",
        str(out),
        "--batch",
        "1",
        "--export",
        "fhir,sr,pdf",
    ]
    kill_when(arguments, out / "drafts.jsonl", 5)
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    studies = [f"film{number}" for number in range(30)]
    assert names(out) - {name for name in names(out) if name.endswith(".part")} == expected(
        *studies, formats=("fhir", "sr", "pdf")
    )
    assert not [name for name in names(out) if name.endswith(".part")]
    for study in studies:
        json.loads((out / f"{study}.fhir.json").read_text())
        pydicom.dcmread(out / f"{study}.sr.dcm")


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_told_and_the_others_are_there(films, tmp_path):
    """A limit on the size of files stands for a disk that fills up: the PDFs do not fit, everything else does."""
    out = tmp_path / "run"
    arguments = ["draft", str(films), "--model", "template", "--out", str(out), "--export", "fhir,sr,pdf,text"]

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = subprocess.run(command(*arguments), capture_output=True, text=True, preexec_fn=small)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count(".pdf cannot be written (File too large)") == 4
    assert {name for name in names(out) if name.endswith((".sr.dcm", ".txt"))} == expected(
        "ward/a", "b", "c", "picture", formats=("sr", "text")
    )
    assert not [name for name in names(out) if name.endswith((".part", ".pdf"))]
    assert "4 drafted, 1 failed" in done.stderr


@pytest.mark.slow
def test_a_folder_in_the_way_stops_one_study_alone(films, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "ward").write_text("a file where a folder is needed")
    (out / "b.txt").mkdir()
    done = wetread("draft", films, "--model", "template", "--out", out, "--export", "text")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert [line.split(":")[1].strip() for line in said] == ["b", "ward/a"]
    assert {"c.txt", "picture.txt"} <= names(out)


@pytest.mark.slow
def test_a_header_without_a_study_uid_is_told_and_exported_by_itself(films, tmp_path):
    ds = pydicom.dcmread(films / "c.dcm")
    del ds.StudyInstanceUID
    (tmp_path / "in").mkdir()
    ds.save_as(tmp_path / "in" / "lost.dcm")
    shutil.copy(films / "b.dcm", tmp_path / "in" / "b.dcm")
    out = tmp_path / "run"
    done = wetread("draft", tmp_path / "in", "--model", "template", "--out", out, "--export", "sr")
    assert done.returncode == 0, done.stderr
    assert "wetread: lost: Study Instance UID (0020,000D) is absent or no UID" in done.stderr
    assert pydicom.dcmread(out / "lost.sr.dcm").StudyInstanceUID.startswith("2.25.")
    assert names(out) == {"lost.sr.dcm", "b.sr.dcm"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--export", "pdf"], "--out"),
        (["--export", "fhir,dicom", "--out", "o"], "Allowed: fhir"),
        (["--export", "pfd", "--out", "o"], "Did you mean 'pdf'"),
        (["--export", ",", "--out", "o"], "names no format"),
        (["--report-format", "markdwon"], "Did you mean 'markdown'"),
        (["--report-format", "html", "--json", "-"], "both print"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_2(films, tmp_path, arguments, said):
    done = wetread("draft", films, "--model", "template", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_reports_are_printed_in_each_form(films):
    given = ["draft", films / "picture.png", films / "bad.dcm", "--model", "template", "--report-format"]
    plain, markdown, html, data = (wetread(*given, form) for form in ("text", "markdown", "html", "json"))
    assert plain.stdout == wetread(*given[:-1]).stdout
    assert plain.stdout.startswith("picture  [template]\n  Findings: The heart size")
    assert "# Chest radiograph report" in markdown.stdout
    assert "bad.dcm" in markdown.stdout
    assert html.stdout.startswith("<!doctype html>")
    assert html.stdout.count("<article>") == 2
    assert sorted(record["status"] for record in json.loads(data.stdout)) == ["drafted", "failed"]


# ---- in the process ------------------------------------------------------------------------------------------------


def record(study="film", **fields):
    given = {"status": "drafted", "model": "demo", "report": Report("Clear lungs.", ""), "drafted": document().drafted}
    return DraftRecord(study, **(given | fields))


def test_what_a_header_says_in_free_text_is_not_repeated():
    told = Study("film", (), indication="from the header", comparison="from the header", age=40, sex="male")
    made = exporting.document_of(record(), told, "v1")
    assert (made.indication, made.comparison, made.age, made.sex) == ("", "", 40, "male")
    asked = exporting.document_of(record(), told, "v1", Context("Cough", "None.", 50, "female"))
    assert (asked.indication, asked.comparison, asked.age, asked.sex) == ("Cough", "None.", 50, "female")


def test_a_cut_draft_is_not_complete():
    assert exporting.document_of(record(), None, "v1").complete
    cut = record(reason="the draft is truncated: the length limit cut it")
    assert not exporting.document_of(cut, None, "v1").complete


def test_a_fault_of_one_form_keeps_the_others(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("wetread.export.dicom_sr.as_sr", broken)
    done = exporting.write(document(), header(), tmp_path, ("sr", "text"))
    assert [path.name for path in done.files] == ["film1.txt"]
    (problem,) = done.problems
    assert "ZeroDivisionError" in problem
    assert "secret" not in problem


def test_a_source_that_is_gone_is_told(tmp_path, films):
    shutil.copy(films / "b.dcm", tmp_path / "b.dcm")
    study = open_study(tmp_path / "b.dcm")
    made = exporting.document_of(record("b"), study, "v1")
    assert exporting.header_for(made, study).get("PatientID")
    (tmp_path / "b.dcm").unlink()
    with pytest.raises(StudyError, match="cannot be read"):
        exporting.header_for(made, study)
    exporter = exporting.Exporter(tmp_path / "out", ("text",), "v1")
    list(exporter.watch([study]))
    assert "nothing is exported" in exporter.export(record("b")).problems[0]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "M\u00fcller^Phantom"),
        ("ISO_IR 144", "\u0418\u0432\u0430\u043d\u043e\u0432^Phantom"),
        (["", "ISO 2022 IR 87"], "Phantom^Nobody=\u5c71\u7530^\u592a\u90ce"),
        ("ISO_IR 192", "\u738b^\u5c0f\u4e1c"),
    ],
)
def test_names_are_read_in_the_file_s_character_set_and_written_in_unicode(tmp_path, films, charset, name):
    ds = pydicom.dcmread(films / "b.dcm")
    ds.SpecificCharacterSet = charset
    ds.PatientName = name
    ds.save_as(tmp_path / "b.dcm")
    study = open_study(tmp_path / "b.dcm")
    made = exporting.document_of(record("b"), study, "v1")
    exporting.write(made, exporting.header_for(made, study), tmp_path, ("sr", "pdf"))
    for suffix in ("sr.dcm", "pdf.dcm"):
        found = pydicom.dcmread(tmp_path / f"b.{suffix}")
        assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 192", name)


def test_two_studies_of_one_name_get_files_of_their_own(tmp_path):
    exporter = exporting.Exporter(tmp_path, ("text",), "v1")
    list(exporter.watch([Study("film", (), age=30), Study("film", (), age=60)]))
    first, second = exporter.export(record()), exporter.export(record())
    assert [path.name for path in (*first.files, *second.files)] == ["film.txt", "film~2.txt"]
    assert "30 years" in (tmp_path / "film.txt").read_text()
    assert "60 years" in (tmp_path / "film~2.txt").read_text()
    assert exporter.export(record(status="failed")).files == ()


def test_a_signed_report_is_written_by_the_same_function(tmp_path):
    done = exporting.write(document().sign(SIGNATURE), header(), tmp_path, tuple(FORMATS))
    assert done.problems == ()
    assert pydicom.dcmread(tmp_path / "ward/film1.sr.dcm").VerificationFlag == "VERIFIED"
    assert json.loads((tmp_path / "ward/film1.fhir.json").read_text())["entry"][0]["resource"]["status"] == "final"


@given(st.lists(st.text(max_size=300), min_size=2, max_size=4, unique=True))
def test_names_of_files_stay_in_the_folder_and_apart(studies):
    stems = [exporting.stem_of(study) for study in studies]
    assert len(set(stems)) == len(stems)
    for stem in stems:
        parts = stem.split("/")
        assert not any(part in ("", ".", "..") or part.startswith(".") for part in parts)
        assert all(len(part.encode()) <= 220 for part in parts)
        assert stem.isprintable()


@pytest.mark.parametrize("elements", [{}, {"PatientID": None, "StudyInstanceUID": None, "PatientName": None}])
def test_nothing_of_a_header_is_in_what_stands_alone(tmp_path, elements):
    head = header(**elements)
    exporting.write(document(), head, tmp_path, ("pdf", "text", "markdown", "html"))
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert b"PHANTOM-1" not in path.read_bytes()
            assert b"Nobody" not in path.read_bytes()


def test_unknown_formats_are_named():
    with pytest.raises(UsageError, match="Did you mean 'sr'"):
        exporting.parse_formats("srr")
    assert exporting.parse_formats("text, fhir,text") == ("fhir", "text")
