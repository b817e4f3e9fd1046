"""``wetread label``: the labeler's format, every form of input, rows that stay in order, faults that spoil nothing."""

import csv
import io
import json
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies_files import SHARED, needs
from training_helpers import kill_when, wetread
from wetread import knowledge
from wetread.cli import main
from wetread.errors import StudyError, UsageError
from wetread.knowledge import CHEXPERT14, NIH14, extract, label_set
from wetread.runs.label import CHEXPERT_LABELER, KEPT_PROBLEMS, write
from wetread.studies.tables import ReportText, open_table

EFFUSION = "Small left pleural effusion."
NOT = "No pneumothorax."
JOINED = f"Findings: {EFFUSION} Impression: {NOT}"


@pytest.fixture
def label(capsys, tmp_path, monkeypatch):
    """Label a table given as text or bytes: exit code, rows of the output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(name, content, *options, which="chexpert14"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        out = tmp_path / "labels.csv"
        with pytest.raises(SystemExit) as left:
            main(["label", str(file), "--set", which, "--out", str(out), *options])
        return left.value.code, rows_of(out) if out.exists() else None, capsys.readouterr().err

    return run


def rows_of(path):
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))


def lines_of(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


# ---- the labeler's format --------------------------------------------------------------------------------------------


@needs("chexpert_labeler")
def test_the_sample_reports_give_what_the_labeler_writes(tmp_path):
    folder, out = SHARED / "chexpert_labeler", tmp_path / "labels.csv"
    tally = write(open_table(folder / "sample_reports.csv"), "chexpert14", out)
    assert (tally.labelled, tally.left_out) == (4, 0)
    assert out.read_text() == (folder / "labeled_reports.csv").read_text()


def test_the_columns_are_those_of_the_labeler(label):
    code, rows, _ = label("reports.csv", "Clear lungs.\n")
    assert code == 0
    assert rows[0] == ["Reports", *CHEXPERT_LABELER]
    assert set(CHEXPERT_LABELER) == set(CHEXPERT14)
    assert CHEXPERT_LABELER[:5] == (
        "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity",
    )  # fmt: skip
    assert label("reports.csv", "Clear lungs.\n", which="nih14")[1][0] == ["Reports", *NIH14]


@pytest.mark.parametrize("which", ["chexpert14", "nih14"])
def test_the_values_are_those_of_label_set(label, which):
    text = "Small left pleural effusion. Possible pneumonia. No pneumothorax."
    head, row = label("reports.csv", f'"{text}"\n', which=which)[1]
    written = {"1.0": 1, "0.0": 0, "-1.0": -1, "": None}
    assert {name: written[value] for name, value in zip(head[1:], row[1:], strict=True)} == label_set(
        which, extract(text)
    )
    assert {"1.0", "0.0", "-1.0", ""} == set(row[1:])


def test_empty_reports_have_empty_labels(label):
    code, rows, _ = label("reports.csv", 'id,Reports\na,\nb,""\nc,  \n')
    assert code == 0
    assert [row[0] for row in rows] == ["id", "a", "b", "c"]
    assert {value for row in rows[1:] for value in row[2:]} == {""}


# ---- forms of input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "options", "ids", "texts"),
    [
        ("a.csv", f"{EFFUSION}\n{NOT}\n", [], None, [EFFUSION, NOT]),
        ("a.CSV", f'"{EFFUSION}\n\n{NOT}"\n\n{NOT}', [], None, [f"{EFFUSION}\n\n{NOT}", NOT]),
        ("a.csv", f"\ufeff{EFFUSION}\r\n{NOT}\r\n", [], None, [EFFUSION, NOT]),
        ("a.csv", f"\ufeffReports\n{NOT}\n", [], None, [NOT]),
        ("a.csv", f'\ufeff"Report",study\n{NOT},s1\n', [], "s1", [NOT]),
        ("a.csv", f"filename, TEXT \nx,{NOT}\n", [], "x", [NOT]),
        ("a.csv", f"text,report\nother,{NOT}\n", [], None, [NOT]),
        ("a.csv", f"text,report\n{NOT},other\n", ["--text", "text"], None, [NOT]),
        ("a.csv", f"Wording\n{NOT}\n", ["--text", "wording"], None, [NOT]),
        ("a.csv", f"study_id,findings,impression\n7,{EFFUSION},{NOT}\n", [], "7", [JOINED]),
        ("a.csv", f"impression\n{NOT}\n", [], None, [f"Impression: {NOT}"]),
        ("a.csv", f"id,id,report\n1,2,{NOT}\n", [], "1", [NOT]),
        ("a.jsonl", lines_of({"Reports": NOT, "id": 3}), [], "3", [NOT]),
        ("a.jsonl", "\ufeff" + lines_of({"text": NOT}) + "\n \n", [], None, [NOT]),
        ("a.jsonl", lines_of({"report": {"findings": EFFUSION, "impression": NOT}, "study": "s"}), [], "s", [JOINED]),
        ("a.jsonl", lines_of({"findings": EFFUSION, "impression": NOT}), [], None, [JOINED]),
        ("a.jsonl", lines_of({"findings": None, "impression": NOT}), [], None, [f"Impression: {NOT}"]),
        ("a.jsonl", lines_of({"report": {}}, {"report": None}, {"report": ""}), [], None, ["", "", ""]),
        ("a.jsonl", lines_of({"wording": {"impression": NOT}}), ["--text", "wording"], None, [f"Impression: {NOT}"]),
        ("a.jsonl", json.dumps({"text": NOT}), [], None, [NOT]),
    ],
)
def test_every_form_of_input(label, name, content, options, ids, texts):
    code, rows, err = label(name, content, *options)
    assert code == 0, err
    if ids is not None:
        assert rows[1].pop(0) == ids
        rows[0].pop(0)
    assert rows[0][0] == "Reports"
    assert [row[0] for row in rows[1:]] == texts
    assert rows[1][1:] == [{1: "1.0", 0: "0.0", -1: "-1.0", None: ""}[label_set("chexpert14", extract(texts[0]))[n]] for n in CHEXPERT_LABELER]  # fmt: skip


def test_a_table_without_header_is_named_as_such(label):
    assert "no header was recognised" in label("a.csv", f"{NOT}\n")[2]
    assert "no header" not in label("a.csv", f"text\n{NOT}\n")[2]


def test_the_output_is_a_table_that_can_be_labelled_again(label, tmp_path):
    first = label("a.csv", f"id,text\n1,{EFFUSION}\n2,\n")[1]
    assert label("b.csv", (tmp_path / "labels.csv").read_bytes())[1] == first


def test_a_header_alone_gives_a_header(label):
    code, rows, err = label("a.csv", "id,text\n")
    assert (code, len(rows)) == (0, 1)
    assert "0 reports" in err


def test_a_long_report_is_read(label):
    long = "Clear lungs." + " " * 300_000 + "No mass."
    assert label("a.csv", f'text\n"{long}"\n')[1][1][0] == long


def test_an_id_that_a_line_lacks_is_empty(label):
    rows = label("a.jsonl", lines_of({"id": "a", "text": NOT}, {"text": NOT}, {"id": None, "text": NOT}))[1]
    assert [row[0] for row in rows] == ["id", "a", "", ""]


def test_the_knowledge_file_is_passed_on(label, monkeypatch, tmp_path):
    packaged, given_paths = knowledge.load(), []
    monkeypatch.setattr(knowledge, "load", lambda path=None: given_paths.append(path) or packaged)
    assert label("a.csv", NOT, "--knowledge", str(tmp_path / "extra.yaml"))[0] == 0
    assert given_paths == [tmp_path / "extra.yaml"]


# ---- round trips -----------------------------------------------------------------------------------------------------

cells = st.text(
    st.one_of(
        st.sampled_from('\r\n",; \ufeff\x85\u2028'), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    ),
    max_size=30,
)
tables = st.lists(st.tuples(cells, cells), min_size=1, max_size=8)


def labelled(folder, name, content):
    file, out = folder / name, folder / "labels.csv"
    file.write_bytes(content.encode())
    tally = write(open_table(file), "chexpert14", out)
    return tally, rows_of(out)


@given(rows=tables)
def test_csv_keeps_ids_rows_and_line_breaks(rows, tmp_path_factory):
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([("study", "report"), *rows])
    tally, written = labelled(tmp_path_factory.getbasetemp(), "rows.csv", content.getvalue())
    assert tally.labelled == len(rows)
    assert [tuple(row[:2]) for row in written] == [("study", "Reports"), *rows]
    assert {len(row) for row in written} == {16}


@given(rows=tables)
def test_jsonl_keeps_ids_rows_and_line_breaks(rows, tmp_path_factory):
    content = lines_of(*({"id": name, "text": text} for name, text in rows))
    _, written = labelled(tmp_path_factory.getbasetemp(), "rows.jsonl", content)
    assert [tuple(row[:2]) for row in written] == [("id", "Reports"), *rows]


@given(data=st.binary(max_size=80), suffix=st.sampled_from([".csv", ".jsonl"]), head=st.sampled_from([b"", b"text\n"]))
def test_any_bytes_are_rows_or_one_line(data, suffix, head, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    file.write_bytes(head + data)
    try:
        rows = list(open_table(file))
    except (StudyError, UsageError) as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in row.problem for row in rows)
        assert [row.line for row in rows] == sorted({row.line for row in rows})


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_broken_lines_are_named_and_the_others_labelled(label):
    broken = ["{", "[1]", '{"text": 5}', '{"wording": "x"}', "7", '{"text": "\\ud800"}', '{"text": "x", "id": [1]}']
    good = json.dumps({"text": NOT, "id": "last"})
    code, rows, err = label("a.jsonl", "\n".join([json.dumps({"text": EFFUSION, "id": "first"}), *broken, good]))
    assert code == 1
    assert [row[0] for row in rows] == ["id", "first", "last"]
    for number in range(2, 9):
        assert f"a.jsonl, line {number}: " in err
    assert "2 reports labelled" in err
    assert "7 left out" in err
    assert len(err.splitlines()) == 8


def test_a_line_that_is_not_utf8_spoils_only_itself(label):
    content = lines_of({"text": NOT}).encode() + b'{"text": "Gr\xf6\xdfe"}\n' + lines_of({"text": NOT}).encode()
    code, rows, err = label("a.jsonl", content)
    assert (code, len(rows)) == (1, 3)
    assert "line 2: not UTF-8 (byte 0xf6)" in err


def test_deep_json_spoils_only_its_line(label):
    code, rows, err = label("a.jsonl", "[" * 100_000 + "\n" + lines_of({"text": NOT}))
    assert (code, len(rows)) == (1, 2)
    assert "line 1: not JSON" in err


def test_many_broken_lines_are_counted(label):
    code, _, err = label("a.jsonl", lines_of({"text": NOT}) + "{\n" * 100)
    assert code == 1
    assert len(err.splitlines()) == KEPT_PROBLEMS + 2
    assert f"{100 - KEPT_PROBLEMS} more" in err
    assert "100 left out" in err


def test_a_row_with_other_fields_is_named_and_left_out(label):
    code, rows, err = label("a.csv", f'id,text\n1,{NOT}\n2,No mass, no nodule.\n3\n"4","two\nlines"\n5\n')
    assert code == 1
    assert [row[0] for row in rows] == ["id", "1", "4"]
    assert "line 3: 3 fields where 2 must be" in err
    assert "line 4: 1 field where" in err
    assert "line 7: 1 field" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'text\n{NOT}\n"never closed\n{NOT}\n{NOT}\n', "line 3: not CSV"),
        (f'text\n{NOT}\n"closed" and more\n', "line 3: not CSV"),
        (b"text\n" + NOT.encode() * 2000 + b"\nGr\xf6\xdfe\n", "line 3: not UTF-8 (byte 0xf6)"),
        (b"text\n" + b'"' + b"x" * (2**24 + 1) + b'"\n', "line 2: not CSV"),
    ],
)
def test_a_table_that_breaks_off_leaves_the_old_output(label, tmp_path, content, said):
    (tmp_path / "labels.csv").write_text("old\n")
    code, rows, err = label("a.csv", content)
    assert (code, rows) == (1, [["old"]])
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "labels.csv"]


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "said"),
    [
        ("a.csv", "", [], 1, "a.csv is empty"),
        ("a.csv", "\n\n", [], 1, "a.csv is empty"),
        ("a.jsonl", "\n", [], 1, "a.jsonl is empty"),
        ("a.jsonl", "{\n[]\n", [], 1, "no line holds a report (line 1: not JSON"),
        ("a.csv", "PK\3\4\0\0", [], 1, "binary"),
        ("a.csv", "Report".encode("utf-16"), [], 1, "UTF-16"),
        ("a.csv", "id,wording\n1,x\n", [], 2, "Name it with --text"),
        ("a.csv", "No mass, no nodule.\n", [], 2, "double quotes"),
        ("a.csv", "id\n1\n", [], 2, "no column of text"),
        ("a.csv", "id;text\n1;x\n", [], 2, "';'"),
        ("a.csv", "id\ttext\n1\tx\n", [], 2, "save it with commas"),
        ("a.csv", "id,wording\n1,x\n", ["--text", "wordin"], 2, "Did you mean 'wording'"),
        ("a.jsonl", lines_of({"wording": "x"}), ["--text", "wordin"], 2, "Did you mean 'wording'"),
        ("a.jsonl", lines_of({"wording": "x"}), [], 2, "Name it with --text"),
        ("a.txt", "x", [], 2, ".csv or .jsonl"),
        ("a.csv", NOT, ["--out", "a.csv"], 2, "is the file that is read"),
        ("a.csv", NOT, ["--out", "."], 2, "folder"),
        ("a.csv", NOT, ["--out", "a.csv/b.csv"], 1, "cannot write b.csv"),
        ("a.csv", NOT, ["--set", "chexpert"], 2, "Did you mean 'chexpert14'? Allowed: chexpert14, nih14."),
        ("a.csv", NOT, ["--set", "zzz"], 2, "Allowed: chexpert14, nih14."),
        ("a.csv", NOT, ["--knowledge", "nowhere.yaml"], 3, "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line_with_their_exit_code(label, tmp_path, name, content, options, code, said):
    ended, rows, err = label(name, content, *options)
    assert (ended, rows) == (code, None), err
    assert said in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there_and_a_folder_are_one_line(capsys, tmp_path):
    (tmp_path / "reports.csv").write_text(NOT)
    for name, code, said in (("report.csv", 3, "Did you mean 'reports.csv'"), ("", 2, "a folder")):
        with pytest.raises(SystemExit) as left:
            main(["label", str(tmp_path / name), "--set", "nih14", "--out", str(tmp_path / "o.csv")])
        err = capsys.readouterr().err
        assert left.value.code == code
        assert said in err
        assert len(err.splitlines()) == 1


def test_a_full_disk_is_one_line(label, tmp_path):
    try:
        with open("/dev/full", "wb"):  # noqa: PTH123
            pass
    except OSError:
        pytest.skip("no /dev/full on this system")
    code, _, err = label("a.csv", f"{NOT}\n" * 2000, "--out", "/dev/full")
    assert code == 1
    assert "cannot write full" in err
    assert len(err.splitlines()) == 1


def test_standard_output_holds_the_table_alone(tmp_path, capsysbinary):
    file = tmp_path / "a.csv"
    file.write_text(f"text\nGröße 中.\r\n{NOT}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["label", str(file), "--set", "chexpert14", "--out", "-"])
    assert left.value.code == 0
    lines = capsysbinary.readouterr().out.decode().split("\n")
    assert [line.split(",")[0] for line in lines] == ["Reports", "Größe 中.", NOT, ""]


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_table(tmp_path):
    file, out = tmp_path / "a.csv", tmp_path / "labels.csv"
    file.write_text("id,text\n" + "".join(f"{i},Nodule of {i} mm. {EFFUSION}\n" for i in range(40_000)))
    arguments = ["label", str(file), "--set", "chexpert14", "--out", str(out)]
    kill_when(arguments, tmp_path / "labels.csv.part", 50)
    assert not out.exists()
    done = wetread(*arguments)
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows_of(out)] == ["id", *map(str, range(40_000))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "labels.csv"]
    assert "labelled, percent: 100/100" in done.stderr  # a table as large as this shows its progress


@pytest.mark.slow
def test_it_runs_without_torch(tmp_path):
    (tmp_path / "a.csv").write_text(NOT)
    code = f"""
import sys
from wetread.cli import main
try:
    main(["label", {str(tmp_path / "a.csv")!r}, "--set", "nih14", "--out", {str(tmp_path / "o.csv")!r}])
except SystemExit as left:
    assert left.code == 0
print("torch" in sys.modules, "transformers" in sys.modules, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False False False", done.stderr


@pytest.mark.parametrize("name", ["many.csv", "many.jsonl"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name):
    """What is held while reading: 30,000 rows, about 18 MB, must not need more than a buffer or two."""
    file = tmp_path / name
    text = "Clear lungs. " * 45
    with file.open("w") as out:
        out.write("id,text\n" if name.endswith("csv") else "")
        for i in range(30_000):
            out.write(f"{i},{text}\n" if name.endswith("csv") else json.dumps({"id": i, "text": text}) + "\n")
    tracemalloc.start()
    try:
        table = open_table(file)
        assert table.position < table.size / 10
        assert sum(1 for _ in table) == 30_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert table.position == table.size
    assert peak < 2_000_000


def test_a_table_can_be_read_twice(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(f"{EFFUSION}\n{NOT}\n")
    table = open_table(file)
    assert list(table) == list(table) == [ReportText(1, EFFUSION), ReportText(2, NOT)]
