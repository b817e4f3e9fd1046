"""``wetread score``: files in, corpus values beside baselines out; what does not match is refused and never guessed."""

import csv
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from training_helpers import command
from wetread import metrics
from wetread.cli import _run
from wetread.errors import StudyError, UsageError
from wetread.records import Report
from wetread.rewards import guards
from wetread.runs import compare, scoring, scoring_pool, scoring_result, scoring_sums
from wetread.runs.store import JsonLines
from wetread.studies import matching, reports

TEXTS = (
    "Small left pleural effusion. No pneumothorax.", "The lungs are clear.", "Cardiomegaly. Mild pulmonary edema.",
    "Right lower lobe consolidation.", "No acute cardiopulmonary abnormality.", "Large right pneumothorax.",
    "Stable cardiomegaly. No effusion.", "Bibasilar atelectasis.",
)  # fmt: skip
NAMES = "bleu_4,rouge_l,cider_d,findings_f1,findings_f1_macro,labels14_f1_micro,errors_total"


def entries(n=24, shift=0):
    return [
        {
            "study": f"s{i:03d}",
            "findings": TEXTS[(i + shift * (i % 3)) % len(TEXTS)],
            "impression": TEXTS[(i * 3) % len(TEXTS)],
            "patient": f"p{i // 2}",
            "site": "AB"[i % 2],
            "age": 20 + 3 * i,
        }
        for i in range(n)
    ]


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    return write_jsonl(tmp_path / "r.jsonl", entries()), write_jsonl(tmp_path / "d.jsonl", entries(shift=1))


def score(capsys, *arguments):
    code = _run(["score", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def scored(files, tmp_path, *more):
    out = tmp_path / "o.json"
    arguments = ["score", "--references", files[0], "--drafts", files[1], "--json", out, "--resamples", 200, *more]
    code = _run([str(one) for one in arguments])
    return code, json.loads(out.read_text("utf-8")) if out.exists() else None


# ---- the numbers -----------------------------------------------------------------------------------------------------


def test_json_has_the_promised_form_and_the_library_s_numbers(files, tmp_path):
    code, body = scored(files, tmp_path, "--metrics", NAMES)
    assert code == 0
    assert set(body) == {"coverage", "corpus", "reports", "baselines", "strata", "classes"}
    drafts = [Report(one["findings"], one["impression"]) for one in entries(shift=1)]
    references = [Report(one["findings"], one["impression"]) for one in entries()]
    found = metrics.score(NAMES.split(","), drafts, references)
    clusters = {one["study"]: one["patient"] for one in entries()}
    for name in NAMES.split(","):
        one = body["corpus"][name]
        assert set(one) == {"value", "low", "high", "n", "better", "signature"}
        by_study = {record["study"]: score for record, score in zip(entries(), found[name], strict=True)}
        at = compare.estimate(name, by_study, clusters=clusters, resamples=200, seed=0)
        assert (one["value"], one["low"], one["high"]) == pytest.approx((at.value, at.low, at.high), abs=1e-9)
        assert one["n"] == 24
        assert one["better"] == metrics.get(name).spec.better
        assert one["signature"].startswith(f"{name}|v")
        for study, score in by_study.items():
            assert body["reports"][study][name] == {"value": pytest.approx(score.value), "reason": ""}
    for name in guards.GUARDS:
        by_hand = guards.get(name).aggregation.aggregate(guards.get(name)(drafts, references))
        assert body["corpus"][name]["value"] == pytest.approx(by_hand)


def test_precision_and_recall_stand_beside_every_f1(files, tmp_path):
    body = scored(files, tmp_path, "--metrics", "findings_f1,findings_f1_macro,findings_precision,findings_recall")[1]
    corpus = body["corpus"]
    assert corpus["findings_f1_precision"]["value"] == pytest.approx(corpus["findings_precision"]["value"])
    assert corpus["findings_f1_recall"]["value"] == pytest.approx(corpus["findings_recall"]["value"])
    for what in ("precision", "recall"):
        one = corpus[f"findings_f1_macro_{what}"]
        assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1
    assert "bleu_4_precision" not in corpus
    assert "findings_precision_precision" not in corpus


def test_baselines_stand_beside_the_drafts_and_no_reference_meets_itself(files, tmp_path):
    body = scored(files, tmp_path, "--metrics", "rouge_l")[1]
    assert set(body["baselines"]) == set(scoring_result.BASELINES)
    assert body["baselines"][scoring_result.TEMPLATE]["duplicate_share"]["value"] == 1
    distinct = [{"study": str(i), "report": f"word{i} alone{i}"} for i in range(40)]
    same = write_jsonl(tmp_path / "same.jsonl", distinct)
    body = scored((same, same), tmp_path, "--metrics", "rouge_l")[1]
    assert body["corpus"]["rouge_l"]["value"] == 1
    assert body["baselines"][scoring_result.SHUFFLED]["rouge_l"]["value"] < 0.5
    assert body["coverage"]["distinct_drafts"] == 40


def test_strata_are_the_parts_of_the_corpus(files, tmp_path):
    body = scored(files, tmp_path, "--metrics", "rouge_l,findings_f1,findings_f1_macro", "--by", "patient")[1]
    strata = body["strata"]
    assert {"site=A", "site=B", "reference=normal", "reference=abnormal", "patient=p0"} <= set(strata)
    assert any(name.startswith("age_band=") for name in strata)
    assert "finding=pneumothorax" in strata
    for name in ("rouge_l", "findings_f1"):
        assert strata["site=A"][name]["n"] + strata["site=B"][name]["n"] == 24
    mean = sum(strata[f"site={one}"]["rouge_l"]["value"] for one in "AB") / 2
    assert mean == pytest.approx(body["corpus"]["rouge_l"]["value"])
    assert "findings_f1_macro" not in strata["finding=pneumothorax"]
    assert "findings_f1_macro" in strata["reference=abnormal"]


def test_order_of_the_files_processes_and_chunks_change_nothing(files, tmp_path, monkeypatch):
    whole = scored(files, tmp_path, "--metrics", NAMES)[1]
    turned = write_jsonl(tmp_path / "t.jsonl", entries(shift=1)[::-1])
    assert scored((files[0], turned), tmp_path, "--metrics", NAMES)[1] == whole
    monkeypatch.setattr(scoring, "CHUNK", 7)
    assert scored(files, tmp_path, "--metrics", NAMES)[1] == whole
    assert scored(files, tmp_path, "--metrics", NAMES, "--workers", 2)[1] == whole


def test_many_patients_are_resampled_in_groups(files, tmp_path, monkeypatch):
    exact = scored(files, tmp_path, "--metrics", "rouge_l")[1]["corpus"]["rouge_l"]
    monkeypatch.setattr(scoring_sums, "MOST", 3)
    pooled = scored(files, tmp_path, "--metrics", "rouge_l")[1]["corpus"]["rouge_l"]
    assert pooled["value"] == pytest.approx(exact["value"])
    assert pooled["high"] - pooled["low"] == pytest.approx(exact["high"] - exact["low"], rel=0.5)


def test_degenerate_drafts_are_plain_at_a_glance(tmp_path, capsys):
    references = [{"study": i, "findings": f"{TEXTS[i % 8]} Finding number {i}."} for i in range(60)]
    drafts = [{"study": str(i), "report": TEXTS[1 if i % 9 else 4]} for i in range(60)]
    pair = write_jsonl(tmp_path / "r.jsonl", references), write_jsonl(tmp_path / "d.jsonl", drafts)
    code, out, _ = score(capsys, "--references", pair[0], "--drafts", pair[1], "--metrics", "rouge_l,findings_f1")
    assert code == 0
    assert "2 distinct drafts" in out
    assert "ALARM: 2 distinct texts in 60 drafts; the references have 60" in out
    assert "% of the drafts are one text" in out
    assert "ALARM: no finding of any abnormal study was called" in out
    assert "No better than a baseline" in out


def test_a_real_degenerate_model_is_shown_as_one(wetread_data, tmp_path, capsys):
    (file,) = (wetread_data / "peer_predictions" / "cvt2distilgpt2_iu").glob("*.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = [{"study": row["dicom_id"], "report": rows[i]["report"]} for row, i in zip(rows, order, strict=True)]
    references = write_jsonl(tmp_path / "r.jsonl", shuffled)
    code, out, _ = score(capsys, "--references", references, "--drafts", file, "--metrics", "rouge_l,findings_f1")
    assert code == 0
    assert "590 of 590 studies scored (100.0%), 4 distinct drafts" in out


def test_markdown_and_latex_carry_the_signatures(files, tmp_path):
    made = {kind: tmp_path / f"o.{kind}" for kind in ("markdown", "latex")}
    scored(files, tmp_path, "--metrics", "rouge_l,findings_f1", *(x for k, v in made.items() for x in (f"--{k}", v)))
    for path in made.values():
        text = path.read_text("utf-8")
        assert "rouge_l|v1|no weights|findings+impression|as scored|n=24" in text
    assert r"\begin{tabular}" in made["latex"].read_text("utf-8")
    assert r"rouge\_l $\uparrow$" in made["latex"].read_text("utf-8")
    assert "| rouge_l ↑ |" in made["markdown"].read_text("utf-8")


def test_sets_of_metrics():
    offline = scoring.choose("offline")
    assert offline[-2:] == ["fkgl", "dcrs"]
    assert not any(metrics.get(name).spec.needs for name in offline)
    assert scoring.choose("rexrank") == list(scoring.REXRANK)
    assert set(scoring.choose("all")) == set(metrics.METRICS)
    with pytest.raises(UsageError, match="Did you mean 'rouge_l'"):
        scoring.choose("rouge_1")
    with pytest.raises(UsageError, match="no metric is named"):
        scoring.choose(" , ")


def test_missing_weights_end_the_command_with_one_line(files, tmp_path, capsys):
    code, out, err = score(
        capsys, "--references", files[0], "--drafts", files[1], "--metrics", "rouge_l,bertscore", "--weights", tmp_path
    )
    assert code == 3
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "--weights" in err


# ---- what does not match ---------------------------------------------------------------------------------------------


def broken(tmp_path):
    """Files with one of each mistake, and how many studies are left."""
    references = [*entries(8), {"study": "twice", "report": "a"}, {"study": "twice", "report": "b"}]
    references += [{"study": "blank", "report": " \n"}, {"study": "alone", "report": "Clear."}]
    drafts = [*entries(6, 1), {"study": "s006", "report": 5}, {"study": "s007", "report": ""}]
    drafts += [{"study": "twice", "report": "a"}, {"study": "blank", "report": "x"}, {"study": "more", "report": "x"}]
    return write_jsonl(tmp_path / "br.jsonl", references), write_jsonl(tmp_path / "bd.jsonl", drafts)


def test_what_does_not_match_is_listed_and_refused(tmp_path, capsys):
    pair = broken(tmp_path)
    code, out, err = score(capsys, "--references", pair[0], "--drafts", pair[1], "--metrics", "rouge_l")
    assert code == 2
    assert out == ""
    for said in (
        "1 references are there more than once: twice", "1 references are empty: blank",
        "1 drafts hold no text: s006 ('report' is a int)", "1 drafts are empty: s007",
        "1 references have no draft: alone", "1 drafts have no reference: more", "--allow-missing",
    ):  # fmt: skip
        assert said in err


def test_allow_missing_scores_the_rest_and_says_so(tmp_path, capsys):
    pair = broken(tmp_path)
    code, body = scored(pair, tmp_path, "--allow-missing", "--metrics", "rouge_l")
    out = capsys.readouterr().out
    assert code == 0
    coverage = body["coverage"]
    assert coverage["scored"] == 8  # s000 to s005, the empty draft s007, the empty reference
    assert coverage["empty_drafts"] == coverage["empty_references"] == 1
    assert {(one["file"], one["kind"], one["count"]) for one in coverage["problems"]} >= {
        ("references", "missing", 1), ("drafts", "extra", 1), ("drafts", "non_text", 1), ("references", "duplicate", 1)
    }  # fmt: skip
    assert body["reports"]["s007"]["rouge_l"] == {"value": 0.0, "reason": ""}
    assert body["reports"]["blank"]["rouge_l"] == {"value": None, "reason": "the reference report is empty"}
    assert body["corpus"]["rouge_l"]["n"] == 7
    assert "8 of 12 studies scored" in out
    assert "empty drafts: 1; each gets 0 (rouge_l)" in " ".join(out.split())


def test_only_the_first_ten_are_named(tmp_path):
    references = write_jsonl(tmp_path / "r.jsonl", entries(30))
    drafts = write_jsonl(tmp_path / "d.jsonl", entries(5))
    (problem,) = matching.match(references, drafts).coverage.problems
    assert (problem.count, len(problem.first)) == (25, 10)
    assert str(problem).endswith("s014 …")


def test_nothing_in_common_is_refused_even_so(tmp_path):
    pair = write_jsonl(tmp_path / "r.jsonl", entries(3)), write_jsonl(tmp_path / "d.jsonl", [{"id": 1, "text": "a"}])
    with pytest.raises(UsageError, match="no study is in both files"):
        scoring.read(*pair, allow_missing=True)


# ---- the kinds of files ----------------------------------------------------------------------------------------------


def read(path, role="references"):
    return list(reports.open_entries(path, role))


def test_a_half_written_last_line_is_named(tmp_path, capsys):
    path = tmp_path / "half.jsonl"
    path.write_text('{"study": 1, "report": "a"}\n{"study": 2, "repo', "utf-8")
    last = read(path)[-1]
    assert (last.line, last.problem) == (2, "unreadable")
    assert "half-written" in last.reason
    code, _, err = score(capsys, "--references", path, "--drafts", path)
    assert code == 2
    assert "line 2 (half-written" in err


def test_ids_are_compared_as_text(tmp_path):
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"study": 7, "report": "a"}, {"id": 8.0, "report": "b"}, {"study": " x "}]
    )
    assert [one.id for one in read(path)] == ["7", "8", "x"]
    bad = write_jsonl(
        tmp_path / "b.jsonl", [{"study": None, "report": "a"}, {"study": True, "report": "a"}, {"report": "a"}]
    )
    assert [one.problem for one in read(bad)] == ["no_id"] * 3


def test_csv_with_quotes_and_line_breaks(tmp_path):
    path = tmp_path / "a.csv"
    rows = [["Study", "Report", "site"], ["1", 'He said "clear",\r\nthen left.', "A"], ["2", "b", "B"]]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    found = read(path)
    assert [one.report.findings for one in found] == [rows[1][1], "b"]
    assert found[0].meta == {"site": "A"}
    assert [one.line for one in found] == [2, 4]


def test_bad_files_are_one_line(tmp_path, capsys):
    good = write_jsonl(tmp_path / "g.jsonl", entries(3))
    cases = {
        "utf16.jsonl": ('{"study": 1}'.encode("utf-16"), 1, "UTF-16"),
        "nul.jsonl": (b'{"study": 1, "report": "a\0b"}\n', 1, "binary"),
        "latin.csv": ("study,report\n1,é\n".encode("latin-1"), 1, "line 2: not UTF-8"),
        "latin.jsonl": ('{"study": 1, "report": "é"}\n'.encode("latin-1"), 2, "line 1 (not UTF-8"),
        "quotes.csv": (b'study,report\n1,"a\n', 1, "line 2: not CSV"),
        "columns.csv": (b"a,b\n1,2\n", 2, "the header must name an id"),
        "list.json": (b"[1, 2]", 2, "a JSON int where an object must be"),
        "word.json": (b'"a"', 1, "a list of objects"),
        "cut.json": (b'{"a": {', 1, "not JSON"),
        "empty.jsonl": (b"", 1, "is empty"),
        "notes.txt": (b"a", 2, ".jsonl, .csv, .json"),
    }
    for name, (data, code, said) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        got, out, err = score(capsys, "--references", good, "--drafts", path, "--metrics", "rouge_l")
        assert (got, out) == (code, ""), (name, err)
        assert said in err, name
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1, name
    assert score(capsys, "--references", good, "--drafts", tmp_path / "no.jsonl")[0] == 3


def test_nul_and_half_characters_inside_texts(tmp_path):
    lines = [
        '{"study": 1, "report": "a\\u0000b"}',
        '{"study": 2, "report": "\\ud800"}',
        '{"study": "\\ud800", "report": ""}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    found = read(path)
    assert [one.problem for one in found] == ["non_text"] * 3
    assert found[0].reason == "a NUL character in 'report'"


def test_rexrank_json_on_both_sides(tmp_path):
    made = {
        "7": {
            "report": "FINDINGS: Clear lungs. IMPRESSION: Normal.", "section_findings": "Clear lungs.",
            "context": "Age:50-60.Gender:M.Indication: Cough. Comparison: None.", "image_path": ["a.png"],
            "model_prediction": "Findings: Large effusion.",
        },
        "8": {"section_findings": "Clear.", "section_impression": "", "model_prediction": "Clear."},
    }  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps(made), "utf-8")
    references, drafts = read(path), read(path, "drafts")
    assert references[1].report == Report("Clear.", "")
    assert drafts[0].report.findings == "Findings: Large effusion."
    assert references[0].meta == {"age_band": "50-60", "sex": "male"}
    (pair, _) = next(scoring.read(path, path).chunks(10))
    assert pair.reference == Report("Clear lungs.", "Normal.")
    assert pair.draft.report == Report("Large effusion.", "")
    path.write_text('{"7": {"report": "a"}, "7": {"report": "b"}}', "utf-8")
    assert [one.id for one in read(path)] == ["7", "7"]


def test_a_draft_without_prediction_is_empty(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"7": {"report": "a", "model_prediction": None}}), "utf-8")
    assert not read(path, "drafts")[0].report


def test_reading_stops_at_a_broken_quote(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('study,report\n1,a\n2,"b"c\n', "utf-8")
    with pytest.raises(StudyError, match="line 3"):
        read(path)


# ---- the run folder --------------------------------------------------------------------------------------------------


def test_a_run_folder_continues_and_refuses_other_drafts(files, tmp_path, capsys):
    arguments = ("--metrics", "rouge_l,findings_f1_macro", "--out", tmp_path / "run")
    whole = scored(files, tmp_path, *arguments)[1]
    stored = tmp_path / "run" / "scores.jsonl"
    lines = stored.read_text("utf-8").splitlines(keepends=True)
    stored.write_text("".join(lines[:10]) + lines[10][:30], "utf-8")
    assert scored(files, tmp_path, *arguments)[1] == whole
    assert stored.read_text("utf-8").splitlines(keepends=True) == lines
    capsys.readouterr()
    code, _, err = score(capsys, "--references", files[0], "--drafts", files[0], *arguments)
    assert code == 1
    assert "written by a different config" in err


@pytest.mark.slow
def test_a_killed_scoring_ends_with_the_same_result(tmp_path):
    pair = write_jsonl(tmp_path / "r.jsonl", entries(4000)), write_jsonl(tmp_path / "d.jsonl", entries(4000, 1))
    arguments = [
        *("score", "--references", str(pair[0]), "--drafts", str(pair[1]), "--workers", "1", "--resamples", "100"),
        *("--metrics", "rouge_l,findings_f1", "--out", str(tmp_path / "run"), "--json", str(tmp_path / "a.json")),
    ]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stored = tmp_path / "run" / "scores.jsonl"
    while process.poll() is None and not (stored.exists() and stored.stat().st_size):
        time.sleep(0.01)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert _run(arguments) == 0
    studies = [record["study"] for record in JsonLines(stored).read()]
    assert len(studies) == len(set(studies)) == 4000
    arguments[arguments.index(str(tmp_path / "run"))] = str(tmp_path / "fresh")
    arguments[-1] = str(tmp_path / "b.json")
    assert _run(arguments) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_scorer_pickles(files):
    import pickle

    matched = scoring.read(*files)
    scorer = scoring.scorer(matched, ["cider_d", "rouge_l"])
    (pairs,) = matched.chunks(100)
    drafts, references = [one.draft.report for one in pairs], [one.reference for one in pairs]
    flags = [(False, False)] * len(pairs)
    again = pickle.loads(pickle.dumps(scorer))
    assert again(drafts, references, flags) == scorer(drafts, references, flags)
    assert scoring_pool.workers_for(10, scorer) == 1
