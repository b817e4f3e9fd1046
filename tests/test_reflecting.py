"""Reflections: slips, sampled first passes, what is wrong with them, which become lessons."""

import json
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from wetread import prompts
from wetread.cli import main
from wetread.knowledge import differences, extract
from wetread.knowledge.pruning import whole
from wetread.models import tiny
from wetread.models.transformers import encode
from wetread.prompts import Guide
from wetread.prompts.reasoned import understand
from wetread.records import Generation, Report, Sampling
from wetread.runs import passes
from wetread.runs.store import JsonLines, RunFolder
from wetread.studies import folder, phantom
from wetread.traces import reflecting, rules, slips, writing
from wetread.training import lessons

GUIDE = Guide(whole(), knowledge=False)
STYLE = prompts.get("reflected", guide=GUIDE)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    path = tmp_path_factory.mktemp("reflect") / "phantom"
    phantom.write(path, 120, seed=4, size=64)
    return [study for study in folder.read(path) if study.split == "train"]


@pytest.fixture(scope="module")
def traces(studies, tmp_path_factory):
    out = tmp_path_factory.mktemp("reflect") / "traces"
    how = writing.How(GUIDE)
    writing.write(studies, how, RunFolder.open(out, "traces", writing.config(how, "phantom", "train")))
    return out


def written(study, report, stop="end"):
    found = extract(report)
    return Generation(study.id, STYLE.target(report, understand(rules.write(study.id, found, GUIDE), GUIDE)), stop)


def test_a_slip_is_one_error_of_one_finding(studies):
    made = []
    for study in studies:
        told = extract(study.report)
        for seed in range(3):
            slip = slips.slip(study.report, told, random.Random(seed))
            if slip is None:
                continue
            report, found = slip
            errors = differences(told, found)
            assert errors and len({one.finding for one in errors}) == 1, (study.report.text, report.text)
            assert found == extract(report) and report != study.report
            made += [one.kind for one in errors]
    assert set(slips.KINDS) <= set(made) and "false_finding" not in made
    assert slips.slip(Report("The lungs are clear."), extract("The lungs are clear."), random.Random(0)) is None


def test_first_passes_become_lessons_by_what_is_wrong_with_them(studies, traces):
    known = writing.accepted(traces)
    samples = {}
    for place, study in enumerate(studies):
        report = study.report if place % 3 else Report("The lungs are clear. No pneumothorax.")
        samples[study.id, 0] = written(study, report)
        samples[study.id, 1] = Generation(study.id, "<think>…", "length")
    mix = reflecting.Mix(draws=2, right=0.25, slips=0.2, seed=1)
    made, tally = reflecting.build(studies, known, samples, STYLE, GUIDE, mix)
    assert tally.drawn == 2 * len(studies) and tally.unreadable == len(studies) and not tally.without
    wrong, right, slip = (tally.kept[name] for name in ("wrong", "right", "slip"))
    assert wrong > 5 and right == round((wrong + slip) / 3) and 0 < slip <= round(len(studies) * 0.2)
    assert right / (wrong + right + slip) == pytest.approx(0.25, abs=0.03), "the share is one of all lessons"
    assert tally.right >= 2 * len(studies) // 3 and tally.kinds["omitted_finding"] > 3
    reports = {study.id: study.report for study in studies}
    for one in made:
        (lesson,) = [lessons.Lesson(s, one.thought, one.first, one.target) for s in studies if s.id == one.study]
        draft = STYLE.parse(Generation("s", lesson.target(STYLE)), 1)
        assert draft.parse == "complete" and draft.thought.critique == one.thought.critique
        stood = passes.read(STYLE, Generation("s", lesson.target(STYLE), earlier=(Generation("s", one.first),)))
        if one.thought.critique:
            assert stood.report == draft.report == reports[one.study]
        else:
            assert stood.report == STYLE.parse(Generation("s", one.first)).report, "what is right stays as it is"
        assert one.origin in ("sampled", "slip")
    assert (made, tally) == reflecting.build(studies, known, samples, STYLE, GUIDE, mix)
    alone = [study for study in studies if study.prior is None]
    assert all(
        item.kind not in reflecting.TIMELESS
        for one in made
        for item in one.thought.critique
        if one.study in {s.id for s in alone}
    )


def test_a_true_report_after_a_thought_that_is_not_is_no_lesson(studies, traces):
    known = writing.accepted(traces)
    study = next(one for one in studies if "pneumothorax" not in {f.name for f in extract(one.report)})
    thought = understand("Pleura: severe right pneumothorax\nReasoning: The report says so.", GUIDE)
    samples = {
        (study.id, 0): Generation(study.id, STYLE.target(study.report, thought)),
        (study.id, 1): Generation(study.id, stop="error"),
    }
    made, tally = reflecting.build([study], known, samples, STYLE, GUIDE, reflecting.Mix(draws=2, slips=0))
    assert not made and (tally.right, tally.astray, tally.failed, tally.drawn) == (1, 1, 1, 1)


def test_a_first_pass_that_failed_is_tried_again(studies, tmp_path):
    mix, sampling = reflecting.Mix(draws=1), Sampling(batch_size=4)
    run = RunFolder.open(tmp_path, "reflect", {})
    run.lines(reflecting.SAMPLES).append({**Generation(studies[0].id, stop="error").to_json(), "draw": 0})
    model = Drawn(studies)
    found = reflecting.sample(studies[:1], model, STYLE, run, mix, sampling)
    assert model.calls == 1 and found[studies[0].id, 0].stop == "end"


class Drawn:
    """Draws a report by the seed."""

    name, style, guide = "drawn", "reasoned", GUIDE.to_json()

    def __init__(self, studies):
        self.reports = {study.id: study.report for study in studies}
        self.calls = 0

    def generate(self, asked, sampling, progress=None):
        self.calls += 1
        if progress:
            progress(len(asked))
        return [Generation(one.study, f"{sampling.seed} {sampling.temperature} {one.study}") for one in asked]


def test_sampling_goes_on_where_it_was_and_draws_what_it_would_have(studies, tmp_path):
    mix, sampling = reflecting.Mix(draws=2, seed=3), Sampling(batch_size=4)

    def sample(out, model):
        return reflecting.sample(studies, model, STYLE, RunFolder.open(out, "reflect", {}), mix, sampling)

    model = Drawn(studies)
    whole_ = sample(tmp_path / "a", model)
    assert len(whole_) == 2 * len(studies) and len({one.text.split()[0] for one in whole_.values()}) == model.calls
    file = tmp_path / "a" / "samples.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: len(lines) // 3]) + b'{"study": "cut')
    again = Drawn(studies)
    assert sample(tmp_path / "a", again) == whole_ and 0 < again.calls < model.calls
    assert sample(tmp_path / "a", Drawn([])) == whole_


def test_a_lesson_that_the_model_cannot_read_is_left_out_and_counted(studies, traces, tmp_path):
    config = tiny.TinyConfig(image_size=64, vocabulary=600)
    tokenizer = tiny.build_tokenizer([study.report.text for study in studies], config)
    processor = tiny.build_processor(tokenizer, config)
    samples = {(study.id, 0): written(study, Report("The lungs are clear.")) for study in studies}
    known, mix = writing.accepted(traces), reflecting.Mix(1, slips=0.0)
    every, _ = reflecting.build(studies, known, samples, STYLE, GUIDE, mix)

    def tokens(study, lesson):
        asked = STYLE.again(STYLE.render(study), lesson.first)
        target = STYLE.target(lesson.target or study.report, lesson.thought)
        ids = encode(processor, [asked])["input_ids"].shape[1]
        return ids + len(tokenizer(target, add_special_tokens=False)["input_ids"]) + 1

    by_id = {study.id: study for study in studies}
    taken = sorted(tokens(by_id[one.study], one) for one in every)
    room = taken[len(taken) // 2]
    text = SimpleNamespace(max_position_embeddings=room)
    model = SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text)), processor=processor, tokenizer=tokenizer
    )  # fmt: skip
    fits = reflecting.fitting(model, STYLE, studies)
    some, tally = reflecting.build(studies, known, samples, STYLE, GUIDE, mix, fits)
    assert all(tokens(by_id[one.study], one) <= room for one in some) and 0 < len(some) < len(every)
    assert tally.long and tally.to_json()["too_long"] == tally.long


def test_what_is_written_is_read_as_lessons(studies, traces, tmp_path):
    known = writing.accepted(traces)
    samples = {(study.id, 0): written(study, Report("The lungs are clear.")) for study in studies}
    mix = reflecting.Mix(draws=1)
    made, tally = reflecting.build(studies, known, samples, STYLE, GUIDE, mix)
    reflecting.write(made, tally, GUIDE, RunFolder.open(tmp_path / "out", "reflect", {}))
    learned, guide, told = lessons.of(studies, [str(traces), str(tmp_path / "out")], "reflected")
    assert told["lessons"] == len(studies) + len(made) and told["second_turns"] == len(made) and guide == GUIDE
    assert {one.prompt(STYLE).turns != () for one in learned} == {True, False}
    assert json.loads((tmp_path / "out" / "yield.json").read_text())["lessons"]["wrong"] > 0


@pytest.mark.slow
def test_the_commands_from_traces_to_a_policy_that_reflects(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    phantom.write(tmp_path / "data", 60, seed=5, size=64)

    def wetread(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(one) for one in arguments])
        return end.value.code, capsys.readouterr()

    small = ["tiny.image_size=64", "tiny.vision_width=40", "tiny.text_width=64", "tiny.text_layers=1", "tiny.vocabulary=600",
             "tiny.max_positions=2048", "optim.batch=8", "optim.rate=3e-3", "optim.steps=3", "data.path=data"]  # fmt: skip

    def train(out, *settings):
        return wetread("train", "sft", "--out", out, *(part for one in (*small, *settings) for part in ("--set", one)))

    assert wetread("traces", "data", "--out", "traces", "--no-knowledge")[0] == 0
    assert train("first", "style=reasoned", "lessons=traces")[0] == 0
    code, said = wetread(
        "reflect",
        "data",
        "--model",
        "first/model",
        "--traces",
        "traces",
        "--out",
        "wrong",
        "--draws",
        "1",
        "--max-new-tokens",
        "16",
    )
    assert code in (0, 1) and "first passes" in said.out, said.err
    # Three steps write nothing that can be read, so the second turns come from slips and the reports.
    studies = [study for study in folder.read(tmp_path / "data") if study.split == "train"]
    guide = writing.guide_in(tmp_path / "traces")
    style = prompts.get("reflected", guide=guide)
    samples = {
        (study.id, 0): replace(written(study, Report("The lungs are clear.")), study=study.id) for study in studies
    }
    made, tally = reflecting.build(
        studies, writing.accepted(tmp_path / "traces"), samples, style, guide, reflecting.Mix(1)
    )
    reflecting.write(made, tally, guide, RunFolder.open(tmp_path / "wrong2", "reflect", {}))
    assert train("second", "style=reflected", "lessons=[traces, wrong2]", "model=first/model")[0] == 0
    events = [one for one in JsonLines(tmp_path / "second" / "events.jsonl").read() if one["event"] == "sft.data"]
    assert events[0]["second_turns"] == len(made) > 0
    image = next((tmp_path / "data" / "images").iterdir())
    code, said = wetread(
        "draft", image, "--model", "second/model", "--style", "reflected", "--max-new-tokens", "8", "--json", "-"
    )
    assert code in (0, 1) and "Traceback" not in said.err
    code, said = wetread("reflect", "data", "--model", "nomodel", "--traces", "traces", "--out", "x")
    assert code == 3 and "no model at 'nomodel'" in said.err
    code, said = wetread(
        "draft", image, "--model", "first/model", "--style", "labelled", "--rounds", "4", "--max-new-tokens", "4"
    )
    assert "was taught the style reasoned" in said.err and "--rounds=4 has no effect" in said.err
    code, said = wetread("reflect", "data", "--model", "first/model", "--traces", "nowhere", "--out", "x")
    assert code == 3 and "no traces in nowhere" in said.err
    wetread("traces", "data", "--out", "others", "--tree", "none")
    code, said = wetread("reflect", "data", "--model", "first/model", "--traces", "others", "--out", "x")
    assert code == 2 and "was not taught to think by" in said.err
