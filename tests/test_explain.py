"""``wetread explain``: spans that fit the file, a view that reads without colour, one line for every mistake."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_helpers import wetread
from wetread import knowledge
from wetread.cli import main
from wetread.knowledge import Difference, extract, fill
from wetread.records import Finding
from wetread.review import terminal

REPORT = "Findings: Small left pleural effusion, unchanged. Possible nodule in the right upper lobe. No pneumothorax."
DRAFT = "Findings: Large right pleural effusion. Cardiomegaly. No pneumothorax."
KEYS = ["name", "presence", "side", "location", "severity", "change", "span"]
ERROR_KEYS = ["kind", "finding", "significant", "reference_span", "draft_span"]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def explain(capsys, monkeypatch):
    """The command in this process: exit code, standard output, standard error."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main(["explain", *map(str, arguments)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


@pytest.fixture
def files(tmp_path):
    (tmp_path / "report.txt").write_text(REPORT)
    (tmp_path / "draft.txt").write_text(DRAFT)
    return tmp_path / "report.txt", tmp_path / "draft.txt"


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_json_holds_the_findings_of_the_file(explain, files):
    code, out, err = explain(files[0], "--json")
    body = json.loads(out)
    assert (code, err, list(body), body["differences"]) == (0, "", ["findings", "differences"], [])
    assert all(list(one) == KEYS for one in body["findings"])
    said = {one["name"]: (one["presence"], one["side"], one["severity"], one["change"]) for one in body["findings"]}
    assert said["pleural effusion"] == ("present", "left", "mild", "unchanged")
    assert said["nodule"][:2] == ("uncertain", "right")
    assert said["pneumothorax"][0] == "absent"
    words = {REPORT[slice(*one["span"])] for one in body["findings"]}
    assert {"pleural effusion", "nodule", "pneumothorax"} <= words


def test_json_of_two_files_holds_findings_of_the_first_and_all_differences(explain, files):
    code, out, _ = explain(*files, "--json")
    body = json.loads(out)
    assert code == 0
    assert {one["name"] for one in body["findings"]} >= {"nodule"}
    assert all(list(one) == ERROR_KEYS for one in body["differences"])
    by_kind = {(one["kind"], one["finding"]): one for one in body["differences"]}
    assert by_kind["false_finding", "cardiomegaly"]["reference_span"] is None
    assert by_kind["omitted_finding", "nodule"]["draft_span"] is None
    moved = by_kind["wrong_location", "pleural effusion"]
    assert REPORT[slice(*moved["reference_span"])] == DRAFT[slice(*moved["draft_span"])] == "pleural effusion"
    assert moved["significant"] is True


def test_the_json_of_the_documentation_is_what_is_printed(explain, files):
    page = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    reference, draft = re.search(r"For the reference `([^`]+)` and the\s+draft `([^`]+)`", page).groups()
    shown = json.loads(re.search(r"```json\n(\{\n  \"findings\".*?)```", page, re.DOTALL)[1])
    files[0].write_text(reference)
    files[1].write_text(draft)
    assert json.loads(explain(*files, "--json")[1]) == shown


def test_the_same_report_twice_differs_in_nothing(explain, files):
    assert json.loads(explain(files[0], files[0], "--json")[1])["differences"] == []
    assert "No differences" in explain(files[0], files[0])[1]


@pytest.mark.parametrize(
    "before", ["", "\ufeff", "\ufeffIndication: pneumonia.\r\n\r\n", "Größe: 1 µm.\r\n\t", "\n\n\n"]
)
def test_spans_count_characters_of_the_file_as_it_is(explain, tmp_path, before):
    text = before + "Findings:\r\nSmall left effusion.\r\n"
    file = tmp_path / "report.txt"
    file.write_bytes(text.encode())
    findings = json.loads(explain(file, "--json")[1])["findings"]
    assert [text[slice(*one["span"])] for one in findings] == ["effusion"]


def test_standard_input_may_be_either_report(explain, files):
    report, draft = files
    both = explain(report, draft, "--json")[1]
    assert explain("-", draft, "--json", stdin=REPORT.encode())[1] == both
    assert explain(report, "-", "--json", stdin=DRAFT.encode())[1] == both
    code, _, err = explain("-", "-", stdin=b"x")
    assert (code, len(err.splitlines())) == (2, 1)


def test_the_knowledge_file_is_passed_on(explain, files, monkeypatch, tmp_path):
    given_paths = []

    def load(path=None):
        given_paths.append(path)
        return packaged

    packaged = knowledge.load()
    monkeypatch.setattr(knowledge, "load", load)
    assert explain(*files, "--knowledge", tmp_path / "extra.yaml")[0] == 0
    assert explain(*files)[0] == 0
    assert given_paths == [tmp_path / "extra.yaml", None]


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "code", "said"),
    [
        ("repor.txt", None, 3, "Did you mean 'report.txt'"),
        ("no/where.txt", None, 3, "no file"),
        ("x" * 5000, None, 3, "File name too long"),
        (".", None, 2, "a folder"),
        ("empty.txt", b"", 1, "empty"),
        ("blank.txt", b"\xef\xbb\xbf \r\n\t\n", 1, "empty"),
        ("film.dcm", b"\0" * 128 + b"DICM", 1, "binary"),
        ("late.txt", b"effusion " * 2000 + b"\0", 1, "binary"),
        ("latin.txt", "Clear.\nGröße.".encode("latin-1"), 1, "line 2: not UTF-8 (byte 0xf6)"),
        ("wide.txt", "Clear.".encode("utf-16"), 1, "UTF-16"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_file_that_is_no_report_is_one_line(explain, files, name, data, code, said, place):
    file = files[0].parent / name
    if data is not None:
        file.write_bytes(data)
    ended, out, err = explain(*[[file, files[1]], [files[0], file]][place], "--json")
    assert (ended, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert len(err) < 400


def test_empty_standard_input_is_one_line(explain):
    code, _, err = explain("-")
    assert (code, err) == (1, "wetread: standard input is empty; a report must be in it.\n")


def test_a_missing_knowledge_file_is_one_line(explain, files):
    code, _, err = explain(files[0], "--knowledge", "nowhere.yaml")
    assert code == 3
    assert "nowhere.yaml" in err


@pytest.mark.slow
def test_it_runs_as_a_process_without_torch(files):
    done = wetread("explain", *files)
    assert done.returncode == 0, done.stderr
    assert "Differences: " in done.stdout
    code = f"""
import sys
from wetread.cli import main
try:
    main(["explain", {str(files[0])!r}, {str(files[1])!r}])
except SystemExit as left:
    assert left.code == 0
print("torch" in sys.modules, "transformers" in sys.modules, "pydicom" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False False False"


@pytest.mark.slow
def test_a_terminal_that_lacks_letters_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "report.txt").write_text("Größe 中文. Small effusion.", encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = wetread("explain", tmp_path / "report.txt")
    assert done.returncode == 0, done.stderr
    assert "Gr??e ??. Small [+ effusion]." in done.stdout


# ---- the view --------------------------------------------------------------------------------------------------------


def test_without_colour_signs_tell_the_presence(explain, files):
    code, out, _ = explain(files[0])
    assert code == 0
    assert "\x1b" not in out
    assert "[+ present] [? uncertain] [- absent]" in out
    flat = " ".join(out.split())
    assert "left [+ pleural effusion], unchanged. Possible [? nodule] in the right upper lobe. No [- pneumo" in flat
    assert 'pleural effusion (side left, severity mild, change unchanged) "pleural effusion"' in flat
    assert out.index("Pleura\n") < out.index("(side left")
    assert "nothing said of:" in out
    assert "Differences" not in out


def test_colour_replaces_the_signs_and_no_color_is_heeded(explain, files, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = explain(files[0])[1]
    assert "\x1b[" in coloured
    assert "[+" not in ESCAPES.sub("", coloured)
    assert " ".join(REPORT.split()) in " ".join(ESCAPES.sub("", coloured).split())
    assert len({coloured[: coloured.index(word)].rsplit("\x1b", 1)[-1] for word in ("present", "absent")}) == 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert "[+ pleural effusion]" in explain(files[0])[1]


def test_two_files_show_kind_significance_and_both_texts(explain, files):
    out = " ".join(explain(*files)[1].split())
    assert out.index("reference: report.txt") < out.index("draft: draft.txt") < out.index("Differences:")
    assert "false finding: cardiomegaly (not significant)" in out
    assert "wrong location: pleural effusion (significant)" in out
    assert "reference: says nothing of it" in out
    assert 'draft: present "Cardiomegaly"' in out
    assert 'reference: uncertain, side right, location upper zone "nodule"' in out


def test_a_text_cannot_steer_the_terminal_or_the_markup(explain, tmp_path):
    file = tmp_path / "report.txt"
    file.write_bytes("\x1b[31mSmall\x07 [bold]effusion[/bold]\x0c :smile: \u202eno mass\x9b2J.\r\nClear.".encode())
    out = explain(file)[1]
    assert not set(out) & set("\x1b\x07\x0c\r\x9b\u202e")
    assert "[bold][+ effusion][/bold]" in out
    assert ":smile:" in out


def test_findings_denied_by_one_phrase_share_a_line(explain, tmp_path):
    file = tmp_path / "report.txt"
    file.write_text("The lungs are clear.")
    lines = [line for line in explain(file)[1].splitlines() if "consolidation" in line]
    assert len(lines) == 1
    assert "atelectasis" in lines[0]


def test_a_text_without_findings_says_so(explain, tmp_path):
    file = tmp_path / "report.txt"
    file.write_text("Nothing to see here.")
    assert "No finding is named" in explain(file)[1]
    assert json.loads(explain(file, "--json")[1]) == {"findings": [], "differences": []}


def test_overlapping_evidence_is_marked_once_by_the_strongest():
    findings = [Finding("a", "absent", span=(0, 5)), Finding("b", "present", span=(3, 8)), Finding("c", "absent")]
    assert terminal.report_view("0123456789", findings, colour=False).plain == "[+ 01234567]89"
    findings = [Finding("a", "absent", span=(0, 5)), Finding("b", "uncertain", span=(5, 8))]
    assert terminal.report_view("0123456789", findings, colour=False).plain == "[- 01234][? 567]89"


def test_a_difference_without_evidence_can_be_shown():
    shown = terminal.differences_view([Difference("false_finding", "mass", True, None, Finding("mass"))], "", "")
    assert len(shown.children) == 1


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.sampled_from(["effusion", "no", "\r\n", " ", ".", "\x1b["])).map("".join)
    )
)
def test_any_text_can_be_shown_and_keeps_its_letters(text):
    findings = extract(text)
    assert all(0 <= one.span[0] < one.span[1] <= len(text) for one in findings)
    shown = terminal.report_view(text, findings, colour=True).plain
    letters = [letter for letter in text if letter.isalnum()]
    assert [letter for letter in shown if letter.isalnum()] == letters
    assert terminal.tree_view(fill(findings), text).children
