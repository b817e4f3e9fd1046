"""Drafts in passes: when they end, which one stands, what is kept; and the perception tree with its evidence."""

import json
from dataclasses import replace

import pytest

from wetread import prompts
from wetread.knowledge import extract
from wetread.knowledge.pruning import whole
from wetread.models import TemplateModel
from wetread.prompts import Guide
from wetread.records import Draft, Generation, Prompt, Report, Sampling
from wetread.runs import draft as drafting
from wetread.runs import evidence, passes, thinking
from wetread.runs.draft import DraftRecord
from wetread.runs.store import RunFolder
from wetread.studies import folder

STYLE = prompts.get("reflected", guide=Guide(whole()))
FIRST = "<think>\nPleura: left pneumothorax\n</think>\nFindings: Left pneumothorax."
FIXED = (
    "<reflect>\nfalse finding: left pneumothorax\n</reflect>\n<think>\nPleura: clear\n</think>\nFindings: Clear lungs."
)
FINE = f"<reflect>\nno error\n</reflect>\n{FIRST}"


class Spoken:
    """A model that says what it is told to, pass by pass."""

    name, style, guide = "spoken", "reflected", Guide(whole()).to_json()
    inputs = TemplateModel().inputs

    def __init__(self, *answers):
        self.answers = answers
        self.asked = []

    def generate(self, asked, sampling, progress=None):
        self.asked.append(asked)
        said = self.answers[len(self.asked) - 1]
        made = []
        for place, prompt in enumerate(asked):
            text = said[place] if isinstance(said, list) else said
            stop = "error" if text is None else "length" if text.endswith("…") else "end"
            made.append(
                Generation(prompt.study, text or "", stop, tokens=5, seconds=1.0, error="" if text else "it broke")
            )
        return made


def written(*answers, rounds=1, studies=1):
    model = Spoken(*answers)
    asked = [Prompt(str(n), "What is it?", ()) for n in range(studies)]
    return model, passes.generate(model, STYLE, asked, Sampling(), rounds)


def test_a_correction_stands_and_every_pass_is_kept():
    model, (one,) = written(FIRST, FIXED)
    draft = passes.read(STYLE, one)
    assert draft.report == Report("Clear lungs.") and [p.report.findings for p in draft.passes] == [
        "Left pneumothorax.",
        "Clear lungs.",
    ]
    assert draft.thought.critique[0].said.name == "pneumothorax" and draft.passes[0].thought.critique is None
    assert one.seconds == 2.0 and len(model.asked) == 2 and model.asked[1][0].turns[0].answer == FIRST
    assert Generation.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert Draft.from_json(json.loads(json.dumps(draft.to_json()))) == draft


def test_it_ends_where_nothing_is_wrong_or_nothing_changes_or_nothing_can_be_read():
    assert len(written(FIRST, FINE, FIXED, rounds=3)[0].asked) == 2
    assert len(written(FIRST, FIXED, FIXED, rounds=3)[0].asked) == 3, "the second correction changes nothing"
    for broken in ("<reflect>hm</reflect>", "<reflect>false finding: left pneumoth…", None, "", "Findings: Else."):
        model, (one,) = written(FIRST, broken, FIXED, rounds=3)
        draft = passes.read(STYLE, one)
        if broken != "Findings: Else.":
            assert draft.report == Report("Left pneumothorax."), broken
        assert len(model.asked) == 2 and len(draft.passes) == 2
    for unreadable in ("<think>…", None):
        model, (one,) = written(unreadable, FIXED)
        assert len(model.asked) == 1 and not passes.read(STYLE, one).readable and not one.earlier
    assert len(written(FIRST, FIXED, rounds=0)[0].asked) == 1


def test_what_finds_no_error_leaves_the_pass_before_as_it_was():
    changed = FINE.replace("Findings: Left pneumothorax.", "Findings: Clear lungs.")
    draft = passes.read(STYLE, written(FIRST, changed)[1][0])
    assert draft.report == Report("Left pneumothorax.") and draft.reason == "" and len(draft.passes) == 2


def test_a_pass_that_does_not_stand_says_why_and_is_counted():
    told = extract("Left pneumothorax.")
    said = "Findings: Large right pneumothorax."
    for broken, why in (
        (None, "it broke"), ("<reflect>false finding: left pneumoth…", "cut at the limit"), (said, "no <reflect>"),
        (f"<reflct>no error</reflct><think>Pleura: clear</think>{said}", "no <reflect>"), ("I am sorry.", "no <reflect>"),
    ):  # fmt: skip
        draft = passes.read(STYLE, written(FIRST, broken)[1][0])
        assert draft.report == Report("Left pneumothorax.") and "does not stand" in draft.reason and why in draft.reason
        found = thinking.score({"0": draft}, {"0": told}, ["lost_share", "never_worse"])
        assert found["lost_share"]["0"].value == 1 and found["never_worse"]["0"].value == 1
        assert [one.tokens for one in draft.passes] == [5, 5] and draft.tokens == 10
    fine = passes.read(STYLE, written(FIRST, FIXED)[1][0])
    assert thinking.score({"0": fine}, {"0": told}, ["lost_share"])["lost_share"]["0"].value == 0


def test_a_second_error_of_the_same_finding_makes_a_draft_worse():
    twice = FIXED.replace("Pleura: clear", "Pleura: left pneumothorax").replace(
        "Clear lungs.", "Left pneumothorax. Right pneumothorax."
    )
    draft = passes.read(STYLE, written(FIRST, twice)[1][0])
    found = thinking.score({"0": draft}, {"0": extract("No pneumothorax.")})
    assert (
        found["never_worse"]["0"].value == 0 and found["broken"]["0"].value == 1 and found["untouched"]["0"].value == 1
    )


def test_support_is_by_side():
    text = "<think>\nPleura: left pleural effusion\n</think>\nFindings: {} pleural effusion."
    for said, share in (("Right", 0), ("Left", 1), ("", 1), ("Small left", 1), ("Bilateral", 1)):
        draft = STYLE.parse(Generation("0", text.format(said)))
        found = thinking.score({"0": draft}, {"0": ()}, ["supported_share", "reported_share"])
        assert [found[name]["0"].value for name in found] == [share, share], said


def test_a_pass_is_as_long_as_its_style_needs_where_nobody_says_it():
    model = Spoken(FIRST, FINE)
    given = []
    inner = model.generate
    model.generate = lambda asked, sampling, progress=None: (
        given.append(sampling.max_new_tokens) or inner(asked, sampling)
    )
    passes.generate(model, STYLE, [Prompt("0", "?", ())], Sampling(max_new_tokens=0))
    passes.generate(Spoken(FIRST), prompts.get("direct"), [Prompt("0", "?", ())], Sampling(max_new_tokens=0))
    assert given == [STYLE.longest] * 2 and prompts.get("direct").longest < STYLE.longest


def test_studies_go_on_by_themselves():
    model, made = written([FIRST, "<think>…", FIRST], [FIXED, FINE], studies=3)
    assert [len(one.earlier) for one in made] == [1, 0, 1] and [p.study for p in model.asked[1]] == ["0", "2"]


def test_a_style_of_one_pass_is_asked_once():
    model = Spoken(FIRST)
    (one,) = passes.generate(model, prompts.get("reasoned"), [Prompt("0", "?", ())], Sampling(), 4)
    assert len(model.asked) == 1 and not passes.read(prompts.get("reasoned"), one).passes


def test_the_tree_says_where_a_finding_was_seen_and_where_it_is_stated():
    text = "<think>\nPleura: mild left pleural effusion\nBones: scoliosis\n</think>\nFindings: Small left effusion. Cardiomegaly."
    draft = prompts.get("reasoned", guide=Guide(whole())).parse(Generation("s", text))
    made = evidence.tree(draft, extract(draft.report))
    found = {one["name"]: one for branch in made for one in branch["findings"]}
    assert found["pleural effusion"]["seen"] == "mild left pleural effusion"
    assert draft.report.text[slice(*found["pleural effusion"]["stated"])].lower() == "effusion"
    assert found["scoliosis"]["stated"] is None and found["cardiomegaly"]["seen"] is None
    assert [branch["region"] for branch in made] == ["pleura", "heart and mediastinum", "bones"]


def test_a_grade_that_differs_is_one_row_and_another_side_is_two():
    text = "<think>\nPleura: mild left pleural effusion; right pneumothorax\n</think>\nFindings: Left effusion. Left pneumothorax. Impression: Left effusion."
    draft = prompts.get("reasoned", guide=Guide(whole())).parse(Generation("s", text))
    rows = [one for branch in evidence.tree(draft, extract(draft.report)) for one in branch["findings"]]
    told = {(one["name"], one["side"]): (one["seen"], one["stated"] is not None) for one in rows}
    assert told == {
        ("pleural effusion", "left"): ("mild left pleural effusion", True),
        ("pneumothorax", "left"): (None, True),
        ("pneumothorax", "right"): ("right pneumothorax", False),
    }
    assert len(rows) == 3 and rows[0]["stated"][0] < draft.report.text.index("Impression")


def test_what_does_not_fit_a_model_is_told():
    model = Spoken()
    assert passes.unfit(model, "reflected", passes.Way("", 4)) == []
    assert passes.unfit(model, "reflected", passes.Way("reasoned", 1), asked=False) == []
    assert "one pass" in passes.unfit(model, "reflected", passes.Way("reasoned", 4))[0]
    assert "was taught the style reasoned" in passes.unfit(model, "reasoned", passes.Way("labelled", 0))[0]
    assert passes.unfit(model, "", passes.Way("labelled", 0)) == [], "nobody knows what it was taught"


def test_the_command_prints_the_draft_that_stands_and_writes_all_passes(data, tmp_path, monkeypatch, capsys):
    from wetread import models
    from wetread.cli import main

    image = next((data / "images").iterdir())
    for rounds, answers in ((2, [FIRST, FIXED, f"<reflect>\nno error\n</reflect>\n{FIRST}"]), (0, [FIRST])):
        model = Spoken(*answers)
        monkeypatch.setattr(models, "open_model", lambda name, device, model=model: model)
        with pytest.raises(SystemExit) as end:
            main(["draft", str(image), "--model", "spoken", "--style", "reflected", "--rounds", str(rounds),
                  "--json", str(tmp_path / "out.json"), "--out", str(tmp_path / f"run{rounds}")])  # fmt: skip
        said = capsys.readouterr()
        assert end.value.code == 0 and len(model.asked) == rounds + 1, said.err
        (made,) = json.loads((tmp_path / "out.json").read_text())
        assert made["report"]["findings"] == ("Clear lungs." if rounds else "Left pneumothorax.")
        assert made["report"]["findings"] in said.out
        kept = made["draft"].get("passes", [])
        assert [one["report"]["findings"] for one in kept] == (
            ["Left pneumothorax.", "Clear lungs.", ""] if rounds else []
        )
        seen = {one["name"]: one for branch in made["tree"] for one in branch["findings"]}
        assert ("pneumothorax" in seen) == (not rounds)


def test_drafting_writes_passes_and_tree_and_takes_them_up_again(data, tmp_path):
    studies = [replace(study, report=None) for study in folder.read(data)[:2]]
    model = Spoken([FIRST, FIRST], [FIXED, FINE])
    run = RunFolder.open(tmp_path / "run", "draft", {})
    made = list(drafting.draft(studies, model, sampling=Sampling(), run=run))
    assert [one.status for one in made] == ["drafted", "drafted"]
    first = made[0].to_json()
    assert first["report"]["findings"] == "Clear lungs." and len(first["draft"]["passes"]) == 2
    assert {branch["region"] for branch in first["tree"]} >= {"lungs"} and made[1].to_json()["draft"]["passes"][-1][
        "thought"
    ]["critique"] == []
    again = list(
        drafting.draft(studies, Spoken(), sampling=Sampling(), run=RunFolder.open(tmp_path / "run", "draft", {}))
    )
    assert [one.to_json() for one in again] == [one.to_json() for one in made]
    assert DraftRecord.from_json(json.loads(json.dumps(first))).to_json() == first
    direct = Spoken("Findings: Clear lungs.")
    (plain,) = drafting.draft(studies[:1], direct, sampling=Sampling(), way=passes.Way("direct"))
    assert "draft" not in plain.to_json()
