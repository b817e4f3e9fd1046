"""What ``wetread score`` and ``wetread compare`` must not take for something else: a reference for a draft, a file that is
read for one to write, an indication for findings, a study's id for a patient.
"""

import json

import pytest

from wetread.cli import _run
from wetread.errors import MissingError, UsageError
from wetread.records import Report, Score
from wetread.runs import comparing, scoring, scoring_pool, scoring_table
from wetread.runs.sections import sectioned, without_others
from wetread.studies import matching, reports
from wetread.studies.tables import open_table
from wetread.studies.texts import read_text


def jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def run(capsys, *arguments):
    code = _run([*map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def body(path, references, drafts, *more):
    arguments = ("--references", references, "--drafts", drafts, "--json", path, "--metrics", "rouge_l", *more)
    assert _run(["score", "--resamples", "100", *map(str, arguments)]) == 0
    return json.loads(path.read_text("utf-8"))


# ---- drafts of ReXrank's JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["model_prediction", "section_findings", "context", "image_path"])
def test_a_reference_never_stands_in_for_a_draft(tmp_path, capsys, mark):
    held = {
        "1": {"report": "Clear.", mark: "Clear."},
        "2": {"report": "Right pneumothorax."},
        "3": "Left hip fracture.",
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(held), "utf-8")
    found = list(reports.open_entries(path, "drafts"))
    refused = [one.id for one in found if one.problem == "non_text"]
    assert refused == (["2", "3"] if mark == "model_prediction" else ["1", "2", "3"])
    assert "no 'model_prediction'" in found[-1].reason
    assert all(not one.report for one in found if one.problem)
    assert [one.problem for one in reports.open_entries(path, "references")] == ["", "", ""]
    code, _, err = run(capsys, "score", "--references", path, "--drafts", path, "--metrics", "rouge_l")
    assert code == 2
    assert "hold no text: " in err


def test_json_that_is_no_board_s_has_its_drafts_as_reports(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"study": "1", "report": {"findings": "Clear.", "impression": ""}}]), "utf-8")
    assert next(reports.open_entries(path, "drafts")).report == Report("Clear.")


def test_an_empty_context_is_no_metadata(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"1": {"report": "Clear.", "context": "", "model_prediction": "Clear."}}), "utf-8")
    (entry,) = reports.open_entries(path, "drafts")
    assert (entry.problem, entry.meta, entry.report.findings) == ("", {}, "Clear.")
    assert body(tmp_path / "o.json", path, path)["corpus"]["rouge_l"]["value"] == 1


# ---- files that are read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--json", "--markdown", "--latex"])
@pytest.mark.parametrize("which", ["r.jsonl", "d.jsonl"])
def test_no_output_goes_over_an_input(tmp_path, capsys, option, which):
    r, d = (jsonl(tmp_path / name, {"study": 1, "report": "Clear."}) for name in ("r.jsonl", "d.jsonl"))
    before = r.read_bytes()
    target = tmp_path / "x" / ".." / which
    (tmp_path / "x").mkdir()
    code, _, err = run(capsys, "score", "--references", r, "--drafts", d, "--metrics", "rouge_l", option, target)
    assert code == 2
    assert f"{option} {which} is the file that is read" in err
    assert r.read_bytes() == d.read_bytes() == before


def test_a_run_folder_does_not_write_over_its_input(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    r = jsonl(tmp_path / "run" / "scores.jsonl", {"study": 1, "report": "Clear."})
    before = r.read_bytes()
    code, _, err = run(capsys, "score", "--references", r, "--drafts", r, "--metrics", "rouge_l", "--out", r.parent)
    assert (code, r.read_bytes()) == (2, before)
    assert "--out" in err


def test_two_outputs_into_one_file_are_refused(tmp_path, capsys):
    r = jsonl(tmp_path / "r.jsonl", {"study": 1, "report": "Clear."})
    both = ("--json", tmp_path / "o", "--markdown", tmp_path / "o")
    code, _, err = run(capsys, "score", "--references", r, "--drafts", r, "--metrics", "rouge_l", *both)
    assert code == 2
    assert "--markdown and --json both write o" in err


def test_what_a_missing_file_may_be_instead_is_true_of_the_command(tmp_path):
    for read in (lambda path: list(reports.open_entries(path, "drafts")), open_table):
        with pytest.raises(MissingError) as error:
            read(tmp_path / "no.jsonl")
        assert "standard input" not in str(error.value)
    with pytest.raises(MissingError, match="or - for standard input"):
        read_text(tmp_path / "no.txt")


# ---- names that are taken --------------------------------------------------------------------------------------------


def test_columns_called_like_built_in_strata_are_kept_apart(tmp_path):
    texts = ("The lungs are clear.", "Large left pleural effusion.", "Large right pneumothorax.")
    rows = [
        {"study": i, "report": texts[i], "reference": ("abnormal", "x")[i % 2], "Finding": f"f{i % 2}"}
        for i in range(3)
    ]
    path = jsonl(tmp_path / "r.jsonl", *rows)
    strata = body(tmp_path / "o.json", path, path, "--by", "Reference")["strata"]
    assert strata["reference=abnormal"]["rouge_l"]["n"] == 2
    assert strata["reference=normal"]["rouge_l"]["n"] == 1
    assert strata["column:reference=abnormal"]["rouge_l"]["n"] == 2
    assert {"column:reference=x", "column:finding=f0", "column:finding=f1"} <= set(strata)


def test_an_id_is_not_another_study_s_patient(tmp_path):
    rows = [
        {"study": i, "report": f"Heart number {i} is big.", **({"patient": "2"} if i != 2 else {})} for i in (1, 2, 3)
    ]
    path = jsonl(tmp_path / "r.jsonl", *rows)
    matched = matching.match(path, path)
    assert matched.count_patients() == 2
    assert [pair.patient for pair in next(matched.chunks(9))] == ["patient 2", "study 2", "patient 2"]


@pytest.mark.parametrize("header", ["study,report,report", "study,Report,report", "study,report,site,site"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{','.join('abcd'[: header.count(',') + 1])}\n", "utf-8")
    with pytest.raises(UsageError, match=r"more than once: (report|site)"):
        list(reports.open_entries(path, "drafts"))
    path.write_text("study,report,,\n1,Clear.,,\n", "utf-8")
    assert next(reports.open_entries(path, "drafts")).report.findings == "Clear."


@pytest.mark.parametrize(
    "line", ['{"study":"1","report":"a","report":"b"}', '{"study":"1","report":{"findings":"a","findings":"b"}}']
)
def test_a_key_that_is_there_twice_makes_the_entry_unreadable(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(line + '\n{"study":"2","report":"c"}\n', "utf-8")
    first, second = reports.open_entries(path, "drafts")
    assert (first.problem, second.problem) == ("unreadable", "")
    assert "more than once" in first.reason
    listed = tmp_path / "a.json"
    listed.write_text(f"[{line}]", "utf-8")
    assert next(reports.open_entries(listed, "drafts")).problem == "unreadable"
    entry = tmp_path / "b.json"
    entry.write_text('{"1": ' + line.replace('"study":"1",', "") + "}", "utf-8")
    assert next(reports.open_entries(entry, "references")).problem == "unreadable"


# ---- sections --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "findings", "impression"),
    [
        ("INDICATION: Evaluate for pneumothorax. FINDINGS: Clear. IMPRESSION: Normal.", "Clear.", "Normal."),
        ("EXAMINATION: CHEST. INDICATION: Large effusion? FINDINGS: Clear.", "Clear.", ""),
        (
            "FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  Cough\n\n FINDINGS:\n\n Clear.",
            "Clear.",
            "",
        ),
        ("REASON FOR EXAM: Edema.\nIMPRESSION: Normal.", "", "Normal."),
        ("Findings: Clear. Comparison: Edema in 2010. Impression: Normal.", "Clear.", "Normal."),
        ("FINDINGS: Clear. IMPRESSION: Normal. RECOMMENDATION(S): CT for mass.", "Clear.", "Normal."),
        ("FINDINGS: Clear. IMPRESSION: Nodule. RECOMMENDATION: CT for mass.", "Clear.", "Nodule."),
        ("Clear. FINDINGS: No effusion.", "Clear. No effusion.", ""),
        ("The lungs are clear. COMPARISON: Edema. IMPRESSION: Normal.", "The lungs are clear.", "Normal."),
        ("FINDINGS: LUNGS CLEAR COMPARISON: EDEMA", "LUNGS CLEAR", ""),
        ("FINDINGS: Comparison: Chest 2010. Clear.", "Comparison: Chest 2010. Clear.", ""),
        ("FINDINGS: In this study: clear; the history: long.", "In this study: clear; the history: long.", ""),
    ],
)
def test_other_sections_are_no_findings(text, findings, impression):
    assert sectioned(text) == Report(findings, impression)


def test_a_text_without_either_header_stands_as_it_is():
    for text in ("Clear.\n\nNo effusion.", "INDICATION: cough. The lungs are clear."):
        assert without_others(text) == text
        assert sectioned(text) == Report(text)


def test_sections_that_one_side_alone_has_are_said(tmp_path):
    r = jsonl(
        tmp_path / "r.jsonl",
        {"study": 1, "findings": "Clear."},
        {"study": 2, "findings": "Edema.", "impression": " \n"},
    )
    d = jsonl(
        tmp_path / "d.jsonl",
        {"study": 1, "findings": "Clear.", "impression": "Normal."},
        {"study": 2, "findings": "", "impression": "Edema."},
    )
    for pair, told in (((r, d), ("drafts", "references")), ((d, r), ("references", "drafts"))):
        coverage = body(tmp_path / "o.json", *pair)["coverage"]
        assert coverage["one_sided_sections"] == [
            {"section": "findings", "file": told[1], "count": 1}, {"section": "impression", "file": told[0], "count": 2},
        ]  # fmt: skip
    matched = scoring.read(r, d)
    with scoring_pool.opened(scoring.scorer(matched, ["rouge_l"]), 2, 1, "") as pool:
        notes = scoring_table.notes(scoring.score(matched, pool, resamples=100))
    assert any(note.startswith("2 drafts have an impression where the reference has none") for note in notes)
    assert body(tmp_path / "o.json", r, r)["coverage"]["one_sided_sections"] == []


# ---- comparing -------------------------------------------------------------------------------------------------------


def test_an_undefined_difference_has_no_ties():
    def system(name, counts):
        one = {f"s{i}": Score("findings_precision", 1.0, counts=counts) for i in range(3)}
        same = {study: study for study in one}
        return comparing.Stored(name, {"findings_precision": "x"}, same, same, {"findings_precision": one})

    found = comparing.run([system("a", {}), system("b", {"tp": 1.0})], resamples=100)
    (one,) = found.pairs
    assert (one.n, one.difference, one.p) == (3, None, None)
    assert (one.wins, one.ties, one.losses, one.effect) == (None,) * 4
    assert found.apart == ()
    assert len(comparing.tables(found)) == 1


def test_identical_systems_list_no_studies_and_stored_scores_are_not_overwritten(tmp_path, capsys):
    path = jsonl(tmp_path / "r.jsonl", *({"study": i, "report": f"Heart {i} is big."} for i in range(4)))
    for name in "ab":
        body(tmp_path / "o.json", path, path, "--out", tmp_path / name)
    folders = (tmp_path / "a", tmp_path / "b")
    code, out, _ = run(capsys, "compare", *folders, "--resamples", 100)
    assert code == 0
    assert "differ most" not in out
    stored = folders[0] / "scores.jsonl"
    before = stored.read_bytes()
    code, _, err = run(capsys, "compare", *folders, "--resamples", 100, "--json", stored)
    assert (code, stored.read_bytes()) == (2, before)
    assert "--json scores.jsonl is the file that is read" in err
