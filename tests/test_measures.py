"""Measures of thoughts and passes: golden values, nothing scored where there is nothing, intervals, batch order."""

import pytest

from wetread import prompts
from wetread.knowledge import extract
from wetread.knowledge.pruning import whole
from wetread.prompts import Guide
from wetread.records import Draft, Generation, Report
from wetread.runs import compare, passes, thinking

STYLE = prompts.get("reflected", guide=Guide(whole()))
TRUTH = extract("Left pneumothorax. Cardiomegaly. No effusion.")


def said(perception, report, critique=""):
    reflect = f"<reflect>\n{critique}\n</reflect>\n" if critique else ""
    return Generation("s", f"{reflect}<think>\n{perception}\n</think>\n{report}", tokens=10)


def draft(*several):
    from dataclasses import replace

    return passes.read(STYLE, replace(several[-1], earlier=tuple(several[:-1])))


FIRST = said("Pleura: left pneumothorax; right pleural effusion", "Left pneumothorax. Scoliosis.")
BETTER = said("Pleura: left pneumothorax\nHeart and mediastinum: cardiomegaly", "Left pneumothorax. Cardiomegaly.",
              "omitted finding: cardiomegaly\nfalse finding: scoliosis")  # fmt: skip
WORSE = said("Pleura: clear", "The lungs are clear. Scoliosis.", "false finding: left pneumothorax")
SAME = said("Pleura: left pneumothorax", "Left pneumothorax. Scoliosis.", "no error")


def values(one, truth=TRUTH):
    found = thinking.score({"s": one}, {"s": truth})
    return {name: scores["s"].value for name, scores in found.items()}


def test_golden_values():
    one = values(draft(FIRST))
    assert one["perception_f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1)) and one["tokens"] == 10
    assert one["supported_share"] == 0.5 and one["reported_share"] == 0.5
    assert all(one[name] is None for name in ("fixed", "never_worse", "changed", "critique_f1", "inconsistent_share"))
    good = values(draft(FIRST, BETTER))
    assert (good["fixed"], good["broken"], good["untouched"]) == (2, 0, 0)
    assert (good["never_worse"], good["improved"], good["changed"], good["critique_f1"]) == (1, 1, 1, 1)
    assert good["perception_f1"] == good["supported_share"] == 1 and good["tokens"] == 20 and good["right_kept"] is None
    bad = values(draft(FIRST, WORSE))
    assert bad["never_worse"] == 0 and bad["broken"] == 1 and bad["fixed"] == 0 and bad["untouched"] == 2
    assert bad["supported_share"] == 0 and bad["reported_share"] is None, "nothing was perceived"
    same = values(draft(FIRST, SAME))
    assert (same["never_worse"], same["improved"], same["changed"], same["no_error_share"]) == (1, 0, 0, 1)
    assert values(draft(BETTER, WORSE))["right_kept"] == 0 and values(draft(BETTER, BETTER))["right_kept"] == 1


def test_a_more_general_word_is_supported_by_the_special_one():
    one = draft(said("Lungs by zone: left consolidation, lower zone", "Left lower lobe opacity."))
    assert values(one)["supported_share"] == 1


def test_labels_that_say_something_else_are_inconsistent():
    style = prompts.get("labelled")
    for answer, wanted in (("Cardiomegaly: present", 0.0), ("Edema: present", 1.0), ("Cardiomegaly: absent", 1.0)):
        one = style.parse(Generation("s", f"<think>Cardiomegaly.</think><answer>{answer}</answer>"))
        assert values(one)["inconsistent_share"] == wanted


def test_measures_have_intervals_and_signatures():
    drafts = {str(n): draft(FIRST, BETTER if n % 3 else WORSE) for n in range(30)}
    facts = dict.fromkeys(drafts, TRUTH)
    found = thinking.score(drafts, facts)
    for name in thinking.MEASURES:
        at = compare.estimate(name, found[name], resamples=200)
        assert compare.signature_of(name, n=at.n).startswith(f"{name}|v1|")
        if name == "never_worse":
            assert at.value == pytest.approx(2 / 3) and at.low < at.value < at.high
    assert not thinking.thought_of([Draft("a", Report("Clear.")), None]) and thinking.thought_of([*drafts.values()])
