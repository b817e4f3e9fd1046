"""Lessons: a policy learns to think from traces, keeps its guide, and drafts with a perception."""

import json
from dataclasses import replace

import pytest

from wetread import prompts, rewards
from wetread.errors import ConfigError, MissingError, UsageError
from wetread.knowledge.pruning import whole
from wetread.models import open_model
from wetread.models.transformers import encode, messages
from wetread.prompts import Guide
from wetread.records import Generation, Report, Sampling
from wetread.runs.config import build
from wetread.runs.store import JsonLines, RunFolder
from wetread.studies import folder
from wetread.traces import writing
from wetread.training import lessons, preflight, rewarding, rl, sft
from wetread.training.config import RlConfig, SftConfig
from wetread.training.data import as_dataset, select

SMALL = (
    "tiny.image_size=64", "tiny.vision_width=40", "tiny.text_width=64", "tiny.text_layers=1", "tiny.vocabulary=600",
    "optim.batch=8", "optim.rate=3e-3",
)  # fmt: skip


@pytest.fixture(scope="module")
def traces(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("traces") / "traces"
    studies = [study for study in folder.read(data) if study.split == "train"]
    how = writing.How(Guide(writing.tree_of("pruned", studies, 2), knowledge=False))
    writing.write(studies, how, RunFolder.open(out, "traces", writing.config(how, "phantom", "train")))
    return out


def config(data, traces, *more):
    return build(
        SftConfig, None, [f"data.path={data}", f"lessons={traces}", "style=reasoned", "optim.steps=6", *SMALL, *more]
    )


def test_every_sample_gets_its_thought_and_loss_is_on_the_last_turn(data, traces):
    studies = select(config(data, traces).data)
    learned, guide, told = lessons.of(studies, [str(traces)], "reasoned")
    assert len(learned) == len(studies) == told["lessons"] and told["without"] == told["second_turns"] == 0
    style = prompts.get("reflected", guide=guide)
    second = [
        lessons.Lesson(one.study, one.thought, "<think>Seen: clear</think>Findings: Clear.") for one in learned[:2]
    ]
    rows = as_dataset([*learned[:1], *second], style, with_target=True)
    assert [turn["role"] for turn in rows[0]["prompt"]] == ["user"]
    assert [turn["role"] for turn in rows[1]["prompt"]] == ["user", "assistant", "user"]
    assert rows[0]["completion"][0]["content"].startswith("<think>\n") and len(rows[1]["completion"]) == 1
    assert style.parse(Generation("s", rows[0]["completion"][0]["content"])).report


def test_lessons_that_do_not_fit_are_refused(data, traces, tmp_path):
    with pytest.raises(ConfigError, match="learned from lessons"):
        sft.train(build(SftConfig, None, [f"data.path={data}", "style=reasoned", *SMALL]), tmp_path / "a")
    with pytest.raises(ConfigError, match="no place for a thought"):
        sft.train(config(data, traces, "style=direct"), tmp_path / "b")
    with pytest.raises(MissingError, match="no lessons in"):
        sft.train(config(data, tmp_path), tmp_path / "c")
    other = tmp_path / "other"
    how = writing.How(Guide(None))
    studies = folder.read(data)[:3]
    writing.write(studies, how, RunFolder.open(other, "traces", {}))
    with pytest.raises(ConfigError, match="guides that differ"):
        lessons.read([str(traces), str(other)])
    changed = [s for s in folder.read(data) if s.split == "train"]
    with pytest.raises(UsageError, match="none of the"):
        lessons.of([replace(one, report=Report("Another report.")) for one in changed], [str(traces)], "reasoned")


@pytest.mark.slow
def test_a_policy_that_thinks_is_trained_kept_and_drafts(data, traces, tmp_path):
    given = config(data, traces)
    said = preflight.look(given)
    assert said.rows["lessons"].endswith("0 studies without one") and not said.problems, said.problems
    model = sft.train(given, tmp_path / "sft")
    (event,) = [one for one in JsonLines(tmp_path / "sft" / "events.jsonl").read() if one["event"] == "sft.data"]
    assert event["lessons"] == event["samples"] and event["without"] == 0
    manifest = json.loads((model / "wetread.json").read_text())
    assert manifest["style"] == "reasoned" and Guide.from_json(manifest["guide"]).tree.reports
    policy = open_model(str(model))
    style = prompts.of(policy)
    assert style.guide == Guide.from_json(manifest["guide"])
    study = folder.read(data)[0]
    prompt = style.render(study)
    (written,) = policy.generate([prompt], Sampling(max_new_tokens=40))
    assert style.parse(written).parse in ("complete", "truncated", "malformed")
    # A second turn is written after the first, with the images of both.
    policy.inputs = replace(policy.inputs, closer="again")
    again = prompts.of(policy, "reflected").again(prompt, written.text)
    assert [turn["role"] for turn in messages(again)] == ["user", "assistant", "user"]
    assert encode(policy.processor, [again])["pixel_values"].shape[0] == len(prompt.images) + 4
    assert policy.generate([again], Sampling(max_new_tokens=8))[0].stop in ("end", "length")
    # RL goes on with style and guide; its reward sees the report alone.
    more = [
        "optim.batch=8",
        "optim.steps=1",
        "group.rollouts=4",
        "group.max_new_tokens=24",
        "guard.every=0",
        "style=reasoned",
    ]
    made = rl.train(build(RlConfig, None, [f"data.path={data}", f"model={model}", *more]), tmp_path / "rl")
    assert json.loads((made / "wetread.json").read_text())["guide"] == manifest["guide"]


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [(), ("inputs.closer=again", "inputs.prior=both")], ids=["plain", "closer"])
def test_rl_corrects_drafts_in_the_second_turn(data, traces, tmp_path, inputs):
    from wetread.traces import reflecting

    given = config(data, traces, "optim.steps=2", "tiny.max_positions=1536", *inputs)
    first = sft.train(given, tmp_path / "sft")
    studies = [study for study in folder.read(data) if study.split == "train"]
    guide = writing.guide_in(traces)
    style = prompts.get("reflected", guide=guide)
    samples = {
        (study.id, 0): Generation(study.id, "<think>\nPleura: clear\n</think>\nFindings: The lungs are clear.")
        for study in studies
    }
    made, tally = reflecting.build(studies, writing.accepted(traces), samples, style, guide, reflecting.Mix(draws=1))
    reflecting.write(made, tally, guide, RunFolder.open(tmp_path / "wrong", "reflect", {}))
    more = ["style=reflected", "optim.batch=8", "optim.steps=2", "group.rollouts=4", "group.max_new_tokens=24",
            "guard.every=2", "guard.studies=4", "guard.act=warn", f"lessons={tmp_path / 'wrong'}"]  # fmt: skip
    given = build(RlConfig, None, [f"data.path={data}", f"model={first}", *more])
    assert not preflight.look(given).problems
    rl.train(given, tmp_path / "rl")
    (event,) = [one for one in JsonLines(tmp_path / "rl" / "events.jsonl").read() if one["event"] == "rl.data"]
    assert event["second_turns"] == len(made)
    with pytest.raises(ConfigError, match="corrects no draft"):
        rl.train(
            build(RlConfig, None, [f"data.path={data}", f"model={first}", *more, "style=reasoned"]), tmp_path / "a"
        )
    with pytest.raises(UsageError, match="no draft to be corrected"):
        again = build(RlConfig, None, [f"data.path={data}", f"model={first}", *more, f"lessons={traces}"])
        rl.train(again, tmp_path / "b")


def test_a_reflection_that_finds_nothing_is_paid_as_the_draft_that_stands():
    truth = Report("Left pneumothorax.")
    first = "<think>\nPleura: pneumothorax yes left\n</think>\nFindings: Left pneumothorax."
    wrong = first.replace("Left pneumothorax", "The lungs are clear")
    style = prompts.get("reflected", guide=Guide(whole()))
    reward = rewarding.ReportReward(rewards.get("findings_f1"), style, {"s": truth}, 100)
    said = ["<reflect>\nno error\n</reflect>", f"<reflect>\nno error\n</reflect>\n{wrong}", "no error", wrong]
    paid = reward(
        completions=[[{"role": "assistant", "content": text}] for text in said] * 2, completion_ids=[[1]] * 8,
        study=["s"] * 8, before=[first] * 4 + [wrong] * 4,
    )  # fmt: skip
    assert paid[:2] == [1.0, 1.0] and max(paid[2:]) < 1.0, "what stands is paid, and a turn without a reflection is none"
    assert paid[4] == paid[5] < 1.0, "finding nothing wrong with a wrong draft is not paid, whatever is written after it"


def test_a_share_of_the_samples_is_asked_for_the_report_alone(data, traces):
    studies = select(config(data, traces).data)
    style = prompts.get("reasoned")
    every, _, _ = lessons.of(studies, [str(traces)], "reasoned")
    made, guide, told = lessons.of(studies, [str(traces)], "reasoned", 0.25)
    plain = [one for one in made if one.plain]
    assert told["plain"] == len(plain) == round(len(every) / 3) and made[: len(every)] == every and guide is not None
    direct = prompts.get("direct")
    for one in plain:
        assert one.prompt(style).text == direct.render(one.study).text and one.target(style) == one.study.report.text
    assert made == lessons.of(studies, [str(traces)], "reasoned", 0.25)[0] and lessons.mark(made) != lessons.mark(every)
    with pytest.raises(ConfigError, match="is for styles that think"):
        lessons.of(studies, [], "direct", 0.5)


def test_rl_takes_up_the_style_of_its_policy_and_needs_what_its_reward_looks_at():

    assert (
        RlConfig().after("labelled").style == "labelled"
        and RlConfig(style="direct").after("labelled").style == "direct"
    )
    told = r"looks at the answer of a draft, and the style direct has none; start from a policy of the style labelled"
    with pytest.raises(UsageError, match=told):
        rewarding.rehearse(RlConfig().after("direct"), rewards.get("self_consistent"), [])


def test_a_tower_learns_to_read_closer_views_beside_whole_images(data, tmp_path):
    import torch

    from wetread.models import tiny
    from wetread.prompts import closer
    from wetread.training.warmup import Labelled, Labels

    told = ("Left nodule, upper zone.", "Right pleural effusion.", "Cardiomegaly.")
    studies = [replace(one, report=Report(text)) for one, text in zip(folder.read(data), told, strict=False)]
    config = tiny.TinyConfig(image_size=64)
    processor = tiny.build_processor(tiny.build_tokenizer(["a report"], config), config)
    labels = Labels.read(studies, rarest=1, near=True)
    plain, near = (Labelled(studies, processor, labels, near=given) for given in (False, True))
    assert len(plain) == 3 and len(near) == 3 * 2 * len(closer.VIEWS)
    each = len(closer.VIEWS)
    seen = {  # the film's left is the patient's right
        name: [view for view, row in zip(closer.VIEWS, labels.near[number], strict=True) if row[labels.names.index(("name", name))]]
        for number, name in enumerate(("nodule", "pleural effusion", "cardiomegaly"))
    }  # fmt: skip
    assert seen["nodule"] == ["upper right"] and seen["pleural effusion"] == ["upper left", "lower left"]
    assert seen["cardiomegaly"] == list(closer.VIEWS)
    for number in range(3):
        rows = [near[number * 2 * each + view] for view in range(2 * each)]
        assert all(torch.equal(row["labels"], labels.vectors[number]) for row in rows[:each])
        assert all(torch.equal(row["labels"], labels.near[number, view]) for view, row in enumerate(rows[each:]))
        whole = plain[number]["pixel_values"]
        assert all(torch.equal(row["pixel_values"], whole) for row in rows[:each])
        assert len({row["pixel_values"].sum().item() for row in rows[each:]} | {whole.sum().item()}) == each + 1
