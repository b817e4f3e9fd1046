"""What is read from a judge's answer: what is complete and clear, equal to the official readers, and nothing else."""

import json
import os
from pathlib import Path

import pytest

from wetread.knowledge import KINDS
from wetread.metrics.judges import Unreadable, Verdict
from wetread.metrics.judges import crimson as crimson_file
from wetread.metrics.judges import errors as errors_file
from wetread.metrics.judges import green as green_file
from wetread.metrics.judges.judging import read_answer, read_json

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).parents[2] / "shared" / "parity"))


def green_text(significant=(0, 0, 0, 0, 0, 0), insignificant=(0, 0, 0, 0, 0, 0), matched="2. a; b"):
    def lines(counts):
        return "\n".join(f"({letter}) some name: {n}. x" for letter, n in zip("abcdef", counts, strict=True))

    return (
        f"[Explanation]:\nText.\n\n[Clinically Significant Errors]:\n{lines(significant)}\n\n"
        f"[Clinically Insignificant Errors]:\n{lines(insignificant)}\n\n[Matched Findings]:\n{matched}"
    )


def test_green_reads_counts():
    verdict = green_file.read(green_text((0, 1, 0, 2, 0, 0), (3, 0, 0, 0, 0, 0), "6. many"))
    assert verdict.value == 6 / 9
    assert verdict.counts["significant:omitted_finding"] == 1 and verdict.counts["significant:wrong_severity"] == 2
    assert verdict.counts["insignificant:false_finding"] == verdict.counts["insignificant"] == 3
    assert green_file.read(green_text(matched="None.")).value == 0.0


@pytest.mark.parametrize(
    "text",
    [
        green_text(matched="many"), green_text(matched=""), green_text(matched="2 a; b"), green_text(matched="1.5 a"),
        green_text(matched="1. a\n2. b"), green_text((0, 0, 0, 0, 0, "few")), green_text((0, 0, 0, 0, 0, "-1")),
        green_text((0, 0, 0, 0, 0, "1.5")), green_text((0, 0, 0, 0, 0, 100000)),
        green_text().replace("(f)", "(e)"), green_text().replace("(f)", "(g)"), green_text().replace("(f)", "(6)"),
        green_text() + "\n\n" + green_text()[len("[Explanation]:") :], green_text()[:200], "",
        green_text().replace("\n\n[Matched", "\n[Matched"),
    ],
)  # fmt: skip
def test_green_does_not_guess(text):
    with pytest.raises(Unreadable):
        green_file.read(text)


def crimson_text(**changes):
    answer = {
        "reference_findings": [{"id": "R1", "clinical_significance": "urgent"}],
        "predicted_findings": [{"id": "P1", "clinical_significance": "urgent"}],
        "matched_findings": [{"ref_id": "R1", "pred_id": "P1"}],
        "errors": {"false_findings": [], "missing_findings": [], "attribute_errors": []},
    }
    for name, value in changes.items():
        (answer["errors"] if name in answer["errors"] else answer)[name] = value
    return json.dumps(answer)


def test_crimson_reads_and_weighs():
    assert crimson_file.read(crimson_text()).value == 1.0
    assert crimson_file.read(f"```json\n{crimson_text()}\n```").value == 1.0
    error = {"ref_id": "R1", "pred_id": "P1", "severity": "significant", "error_types": ["location"]}
    verdict = crimson_file.read(crimson_text(attribute_errors=[error]))
    assert verdict.value == 0.6667 and verdict.counts["location_errors"] == 1
    nothing = {"reference_findings": [], "matched_findings": []}
    assert crimson_file.read(crimson_text(**nothing, false_findings=["P1"])).value == -0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"errors": {}}, {"errors": None}, {"matched_findings": None}, {"reference_findings": [{"id": "R1"}]},
        {"reference_findings": [{"id": "R1", "clinical_significance": "urgent"}] * 2},
        {"matched_findings": [{"ref_id": "R2", "pred_id": "P1"}]}, {"matched_findings": [{"ref_id": "R1"}]},
        {"false_findings": ["P9"]}, {"false_findings": ["P1"]}, {"missing_findings": ["R1"]},
        {"matched_findings": [], "false_findings": ["P1", "P1"]}, {"missing_findings": [["R1"]]},
        {"attribute_errors": [{"severity": "significant"}]}, {"attribute_errors": ["R1"]},
        {"attribute_errors": [{"ref_id": "R1", "pred_id": "P1", "severity": 1, "error_types": []}]},
        {"matched_findings": []}, {"matched_findings": [], "false_findings": ["P1"]},
        {"matched_findings": [], "missing_findings": ["R1"]},
    ],
)  # fmt: skip
def test_crimson_does_not_guess(changes):
    with pytest.raises(Unreadable):
        crimson_file.read(crimson_text(**changes))


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "", "{} {}", "```\n{}", '{"a": 1, "a": 2}', "9" * 5000])
def test_json_that_is_none_is_not_repaired(text):
    with pytest.raises(Unreadable):
        crimson_file.read(text)
    with pytest.raises(Unreadable):
        errors_file.read(text)


def test_json_is_read_as_it_is():
    assert read_json(' {"a": [1, "“x”"]}\n') == {"a": [1, "“x”"]}


# ---- parity with the official readers --------------------------------------------------------------------------------

NOT_SCORED = {
    "green": {
        "missing_matched_section", "missing_significant_section", "count_without_period", "no_space_after_colon",
        "word_counts", "single_newline_between_sections", "uppercase_letters", "decimal_in_text",
        "duplicate_letter_lines", "empty", "free_text", "bold_headers", "matched_list_lines",
    },
    "chexprompt": {
        "missing_second_line", "missing_first_line", "missing_categories", "word_number", "empty", "free_text",
        "filtered", "trailing_text", "reversed_lines",
    },
    "crimson": {
        "match_unknown_ref", "false_unknown_id", "missing_keys", "empty_object", "not_json", "empty",
        "invalid_escape", "unescaped_quotes", "orphan_key", "missing_open_quote", "duplicate_keys", "truncated",
        "attr_without_ref", "list_top_level",
    },
}  # fmt: skip


def parity_cases(name, rubric):
    """Each official case with our verdict of it; None where ours is not scored, which only the listed ones may be."""
    path = PARITY / name / "expected.json"
    if not path.is_file():
        pytest.skip(f"no parity data: {path} is not there (WETREAD_PARITY)")
    for case in json.loads(path.read_text("utf-8"))["cases"]:
        try:
            yield case, read_answer(rubric, case["judge_text"])
        except Unreadable:
            assert case["name"] in NOT_SCORED[name], case["name"]


def by_kind(verdict: Verdict, side):
    return [verdict.counts[f"{side}:{kind}"] for kind in KINDS]


def test_parity_green():
    for case, verdict in parity_cases("green", green_file.RUBRIC):
        official = case["cleaned"]
        assert verdict.value == pytest.approx(official["green"], abs=1e-9), case["name"]
        assert verdict.counts["matched"] == official["matched"]
        assert by_kind(verdict, "significant") == official["significant"]
        assert by_kind(verdict, "insignificant") == official["insignificant"]


def test_parity_chexprompt():
    for case, verdict in parity_cases("chexprompt", errors_file.RUBRIC):
        for side in ("significant", "insignificant"):
            assert by_kind(verdict, side) == list(case[f"clinically_{side}"].values()), case["name"]
            assert verdict.counts[side] == case[f"total_{side}"]
        assert verdict.value == case["total_significant"] + case["total_insignificant"]


def test_parity_crimson():
    for case, verdict in parity_cases("crimson", crimson_file.RUBRIC):
        if "crimson_score" not in case:
            assert case["name"] == "code_fence", "whole JSON in a fence is read here"
            continue
        assert verdict.value == pytest.approx(case["crimson_score"], abs=1e-9), case["name"]
        assert {name: verdict.counts[name] for name in case["error_counts"]} == case["error_counts"]
        sums = {"N_G": "reference_weight", "E_penalty": "false_weight", "correct": "earned_weight"}
        for theirs, ours in sums.items():
            assert verdict.counts[ours] == pytest.approx(case["metrics"][theirs], abs=1e-9), case["name"]
