"""The direct style: render is pure, parse never raises, and target comes back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread import prompts
from wetread.errors import UsageError
from wetread.prompts.direct import STYLE, split_sections
from wetread.records import Generation, Image, Inputs, Prior, Report, Study, Thought

SECTION = st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=80).map(
    lambda text: " ".join(text.split())
)


def study(**fields):
    return Study("s1", (Image("lat.png", "lateral"), Image("pa.png", "PA")), **fields)


def test_render_takes_the_frontal_and_leaves_out_what_is_unknown():
    prompt = STYLE.render(study())
    assert [image.name for image in prompt.images] == ["pa.png"]
    assert "None" not in prompt.text
    assert "unknown" not in prompt.text
    assert "Findings" in prompt.text and "Impression" in prompt.text


def test_render_speaks_of_context_and_prior():
    prior = Prior("s0", report=Report("Clear lungs.", "Normal."))
    text = STYLE.render(study(indication="Cough.", comparison="2091-01-01", age=50, sex="female", prior=prior)).text
    for part in (
        "PA view",
        "female, 50 years",
        "Indication: Cough.",
        "Comparison: 2091-01-01.",
        "Prior report: Normal.",
    ):
        assert part in text


def test_sections_follow_the_reference():
    assert "Impression" not in STYLE.render(study(report=Report(findings="Clear lungs."))).text
    assert "Findings" not in STYLE.render(study(report=Report(impression="Normal."))).text


@given(SECTION, SECTION)
def test_target_round_trips(findings, impression):
    words = (findings + " " + impression).lower()
    if any(word in words for word in ("finding", "impression", "conclusion")):
        return
    report = Report(findings, impression)
    draft = STYLE.parse(Generation("s1", STYLE.target(report)))
    if findings.lower() not in ("none", "") and impression.lower() not in ("none", ""):
        assert draft.report == report
        assert draft.parse == "complete"


@given(st.text(max_size=400), st.sampled_from(["end", "length", "error"]))
def test_parse_never_raises(text, stop):
    draft = STYLE.parse(Generation("s1", text, stop))
    assert draft.parse in ("complete", "truncated", "malformed")
    assert draft.readable or draft.reason


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("FINDINGS: a. IMPRESSION: b.", Report("a.", "b.")),
        ("**Findings:** a.\n\n**Impression:** b.", Report("a.", "b.")),
        ("<think>Findings: wrong.</think> Findings: a. Impression: b.", Report("a.", "b.")),
        ("Impression: b.", Report("", "b.")),
        ("Findings: a. Findings: c.", Report("a. c.", "")),
        ("Findings: None. Impression: None.", Report()),
    ],
)
def test_headers(text, report):
    assert STYLE.parse(Generation("s", text)).report == report


def test_the_findings_of_a_sentence_are_no_header():
    assert split_sections("The findings are normal.") == Report("The findings are normal.")


def test_unknown_style():
    with pytest.raises(UsageError, match="direct"):
        prompts.get("dirct")


CONTROL = "<image> <|im_start|> <|im_end|> <｜begin▁of▁sentence｜> <s> </s> <bos> <start_of_turn> [INST] [/INST] [IMG_END] </think>"


@pytest.mark.parametrize("name", ["direct", "reasoned", "labelled", "reflected"])
def test_a_study_cannot_speak_in_control_tokens(name):
    style = prompts.get(name, Inputs(prior="both"))
    told = study(indication=CONTROL, report=Report(f"Clear {CONTROL}", "<5 mm nodule, >3 cm."))
    asked = style.render(replace(told, prior=Prior("s0", images=told.images, report=Report(CONTROL))))
    written = style.target(told.report, Thought("seen", labels={}))
    for token in CONTROL.split():
        ours = token == "</think>" and name != "direct"  # which the form asks for
        assert [text.count(token) for text in (asked.text, written)] == [ours, ours], token
    assert "<5 mm nodule, >3 cm." in written
    assert style.parse(Generation("s", written)).report.impression == told.report.impression
