"""Styles that think before they report: written, read back, cut off and malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_walk import bare, findings, slips
from wetread import prompts
from wetread.errors import ConfigError
from wetread.knowledge import extract, walk
from wetread.knowledge.pruning import whole
from wetread.prompts import Guide, labelled, tags
from wetread.prompts.reasoned import understand
from wetread.records import Draft, Generation, Report, Thought

TREE = whole()
GUIDE = Guide(TREE)
REPORT = Report("Small left effusion. The heart is normal.", "Effusion.")


def thought(said=(), reasoning="", critique=None):
    text = walk.write(said, TREE) + (f"\nReasoning: {reasoning}" if reasoning else "")
    made = understand(text, GUIDE)
    return Thought(**{**vars(made), "critique": critique})


def answered(text, stop="end"):
    return Generation("s", text, stop, tokens=7)


@given(st.lists(findings(), max_size=6), st.sampled_from(["", "Fluid lies low: it is an effusion.\nNothing else."]))
def test_reasoned_reads_back(said, reasoning):
    style = prompts.get("reasoned", guide=GUIDE)
    made = thought(said, reasoning)
    draft = style.parse(answered(style.target(REPORT, made)))
    assert draft == Draft("s", REPORT, thought=made)
    assert bare(draft.thought.perception) == bare(f for f in said) and draft.thought.reasoning == reasoning
    assert Draft.from_json(draft.to_json()) == draft


@given(st.lists(findings(), max_size=4), st.lists(slips(), max_size=4))
def test_reflected_reads_back(said, items):
    style = prompts.get("reflected", guide=GUIDE)
    made = thought(said, "So it is.", tuple(items))
    draft = style.parse(answered(style.target(REPORT, made)), 1)
    if items:
        assert draft == Draft("s", REPORT, thought=made)
    else:
        assert draft.parse == "complete" and draft.thought.critique == () and not draft.report, "the draft stands"
    first = style.parse(answered(style.target(REPORT, thought(said))))
    assert first.thought.critique is None and first.report == REPORT


def test_labelled_reads_back():
    style = prompts.get("labelled")
    draft = style.parse(answered(style.target(REPORT)))
    assert draft.report == REPORT and draft.parse == "complete"
    assert (
        draft.thought.labels == labelled.labels_of(REPORT) == {"Cardiomegaly": "absent", "Pleural Effusion": "present"}
    )
    assert bare(draft.thought.perception) == bare(extract(REPORT))
    given_labels = Thought(labels={"Edema": "uncertain"})
    assert style.parse(answered(style.target(REPORT, given_labels))).thought.labels == {"Edema": "uncertain"}


@pytest.mark.parametrize("name", ["reasoned", "reflected", "labelled", "direct"])
@given(text=st.text(max_size=120), stop=st.sampled_from(["end", "length", "error"]))
def test_no_completion_makes_a_style_raise(name, text, stop):
    style = prompts.get(name, guide=GUIDE)
    for form in (
        "{}",
        "<think>{}",
        "<think>{}</think>",
        "<reflect>{}",
        "<reflect>no error</reflect><think>{}</think>a",
    ):
        for turn in (0, 1):
            draft = style.parse(answered(form.replace("{}", text), stop), turn)
            assert draft.parse in ("complete", "truncated", "malformed") and Draft.from_json(draft.to_json()) == draft
            assert draft.parse == "complete" or draft.reason


def test_thinking_that_never_ends_has_a_perception_and_no_report():
    style = prompts.get("reasoned", guide=GUIDE)
    text = "<think>\nPleura: left pneumothorax\nHeart and mediastinum: cardio"
    for stop, status in (("length", "truncated"), ("end", "malformed")):
        draft = style.parse(answered(text, stop))
        assert draft.parse == status and not draft.readable and "inside <think>" in draft.reason
        assert bare(draft.thought.perception) == [("pneumothorax", "present", "left", "", "", "")]
        assert draft.thought.loose == ("cardio",) and not draft.thought.closed


def test_a_report_without_thinking_is_a_report_and_says_so():
    draft = prompts.get("reasoned", guide=GUIDE).parse(answered(REPORT.text))
    assert draft.report == REPORT and draft.parse == "complete" and "no <think>" in draft.reason and not draft.thought
    cut = prompts.get("reasoned", guide=GUIDE).parse(answered("<think>Pleura: clear</think>Findings: Cle", "length"))
    assert cut.parse == "truncated" and cut.report.findings == "Cle" and cut.thought.regions == ("pleura",)


def test_a_reflection_that_says_nothing_is_malformed():
    style = prompts.get("reflected", guide=GUIDE)
    draft = style.parse(answered(f"<reflect>hm</reflect><think>Pleura: clear</think>{REPORT.text}"), 1)
    assert draft.parse == "malformed" and draft.thought.critique is None and "neither" in draft.reason
    for stop, status in (("length", "truncated"), ("end", "malformed")):
        draft = style.parse(answered("<reflect>false finding: scoliosis\nomitted fin", stop), 1)
        assert draft.parse == status and draft.thought.critique[0].said.name == "scoliosis" and not draft.readable
    for text in (REPORT.text, f"<think>Pleura: clear</think>{REPORT.text}", f"<reflct>no error</reflct>{REPORT.text}"):
        draft = style.parse(answered(text), 1)
        assert draft.parse == "malformed" and draft.reason == "the model wrote no <reflect>"


def test_what_a_first_pass_reflects_on_is_no_part_of_it():
    style = prompts.get("reflected", guide=GUIDE)
    first = f"<think>Pleura: clear</think>{REPORT.text}"
    for text in (first, f"<reflect>hm</reflect>{first}", f"{first}<reflect>no error"):
        draft = style.parse(answered(text))
        assert (draft.parse, draft.report, draft.thought.critique) == ("complete", REPORT, None)


def test_labels_that_are_missing_or_strange():
    style = prompts.get("labelled")
    draft = style.parse(answered(f"<think>{REPORT.text}</think>"))
    assert draft.report == REPORT and draft.thought.labels is None and "no <answer>" in draft.reason
    odd = "Edema: present\nFlu: present\nCardiomegaly: perhaps\nEdema: absent"
    assert style.parse(answered(f"<think>{REPORT.text}</think><answer>{odd}")).thought.labels == {"Edema": "absent"}
    assert style.parse(answered("<answer>Edema: present</answer>")).parse == "malformed"


def test_an_answer_is_no_part_of_a_narrative_that_was_never_closed():
    style = prompts.get("labelled")
    text = "<think> Findings: The lungs are clear. <answer> Cardiomegaly: present </answer>"
    draft = style.parse(Generation("s", text))
    assert draft.report == Report("The lungs are clear.") and draft.parse == "malformed" and "<think>" in draft.reason
    cut = style.parse(Generation("s", "<think> Findings: Clear. </think> <answer> Edema: pres", "end"))
    assert cut.parse == "malformed" and "<answer>" in cut.reason and cut.report == Report("Clear.")
    assert style.parse(Generation("s", "<think> Findings: Cl", "length")).parse == "truncated"


def test_what_is_cut_right_after_its_thought_is_truncated():
    draft = prompts.get("reasoned", guide=GUIDE).parse(
        Generation("s", "<think>\nPleura: clear\n</think>\n", "length", 9)
    )
    assert draft.parse == "truncated" and "9 tokens" in draft.reason and draft.thought.regions


def test_tags_take_the_last_and_a_missing_opening_one():
    assert tags.part("<think>a</think>b<think>c</think>d", "think") == tags.Part("c", True, "d")
    assert tags.part("a</THINK>b", "think") == tags.Part("a", True, "b")
    assert tags.part("x<think>a</think>b<think>c", "think").text == "a"
    assert tags.without("<think>a</think>b<think>c", "think") == "b"


def test_the_tree_and_its_knowledge_can_be_shown(tmp_path):
    from wetread.studies import phantom
    from wetread.studies.folder import read

    phantom.write(tmp_path / "p", 2, seed=1, size=64)
    study = read(tmp_path / "p")[0]
    plain, shown = (
        prompts.get("reasoned", guide=Guide(TREE, asked=asked, words=600)).render(study).text for asked in (False, True)
    )
    for words in (1, 20, 200, 400):
        short = prompts.get("reasoned", guide=Guide(TREE, asked=True, words=words)).render(study).text
        least = prompts.get("reasoned", guide=Guide(TREE, knowledge=False, asked=True, words=1)).render(study).text
        assert len(short.split()) - len(plain.split()) <= max(words + 8, len(least.split()) - len(plain.split()))
    assert "Pleura: " in shown and "Keep in mind" in shown and "Pleura" not in plain
    assert "<think>" in plain and plain.splitlines()[-1].startswith("Write: <think>")
    first = prompts.get("reflected", guide=GUIDE)
    prompt = first.again(first.render(study), "an answer")
    assert prompt.turns[0].answer == "an answer" and prompt.all_images == prompt.images
    assert first.again(prompt, "another").turns[0].answer == "another" and len(first.again(prompt, "b").turns) == 1


def test_a_guide_is_kept_as_json_and_refuses_what_cannot_be():
    guide = Guide(TREE, knowledge=False, negatives="every", asked=True, words=20)
    assert Guide.from_json(guide.to_json()) == guide and Guide.from_json({}) == Guide()
    with pytest.raises(ConfigError, match="Allowed: none, said, every"):
        Guide(negatives="some")


def test_a_second_look_is_closer_where_inputs_say_so(tmp_path):
    from wetread.models.transformers import messages
    from wetread.prompts import closer
    from wetread.records import Inputs
    from wetread.studies import phantom
    from wetread.studies.folder import read

    phantom.write(tmp_path / "p", 6, seed=1, size=100)
    study = next(one for one in read(tmp_path / "p") if one.prior)
    plain, again, always = (
        prompts.get("reflected", Inputs(prior="both", closer=when), GUIDE) for when in ("none", "again", "always")
    )
    frontal, prior = plain.render(study).images
    assert again.render(study) == plain.render(study)
    names = [view.name for view in closer.views(frontal)]
    shown = again.again(again.render(study), "a draft")
    assert [image.name for image in shown.turns[0].images] == names and "closer" in shown.turns[0].question
    assert [sum(part["type"] == "image" for part in turn["content"]) for turn in messages(shown)] == [2, 0, 4]
    first = always.render(study)
    assert [image.name for image in first.images] == [frontal.name, *names, prior.name]
    assert "closer PA, closer PA" in first.text or "closer AP, closer AP" in first.text
    assert not always.again(first, "a draft").turns[0].images
    whole, parts = frontal.pixels(), [view.pixels() for view in closer.views(frontal)]
    assert {part.shape for part in parts} == {(60, 60)}
    assert (parts[0] == whole[:60, :60]).all() and (parts[3] == whole[40:, 40:]).all()
    assert closer.views(study.images[0].from_json(study.images[0].to_json()))[0].load is None


def test_what_is_shown_says_whether_it_is_closer():
    from wetread.errors import ConfigError
    from wetread.records import Inputs

    assert "closer" not in Inputs().words and "second look" in Inputs(closer="again").words
    assert Inputs.from_json(Inputs(closer="always").to_json()).closer == "always"
    with pytest.raises(ConfigError, match="closer='twice' is not allowed"):
        Inputs(closer="twice")


@pytest.mark.parametrize("run", ["*", "# ", " ", "<", "a ", "</think>", "findings ", "a:", "left effusion and "])
def test_what_a_model_repeats_without_end_is_read(run):
    """Sixty thousand characters, which took minutes where a pattern began anew at each of them."""
    for name in prompts.STYLES:
        style = prompts.get(name, guide=GUIDE)
        for form in ("{}", "<think>{}", "<answer>\n{}"):
            draft = style.parse(answered(form.replace("{}", run * (60_000 // len(run))), "length"))
            assert draft.parse in ("truncated", "malformed")
