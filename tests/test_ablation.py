"""What the ablations in bench/ are made of: the queue of processes, tables over seeds, and one whole run of the smallest size."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

from ablation import arms, chains, command, jobs, med_arms, tables

from wetread.records import Score
from wetread.runs.compare import Estimate

QUIET = {"tell": lambda text: None}


def python(code, *arguments):
    return (sys.executable, "-c", code, *map(str, arguments))


APPEND = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"


def test_jobs_run_after_what_they_need_and_only_once(tmp_path):
    said = tmp_path / "said"
    made = [
        jobs.Job("c", python(APPEND, said, "c"), ("b",)),
        jobs.Job("b", python(APPEND, said, "b"), ("a",)),
        jobs.Job("a", python(APPEND, said, "a")),
    ]
    took = jobs.run(made, tmp_path, 2, **QUIET)
    assert said.read_text() == "abc" and set(took) == {"a", "b", "c"}
    assert all(one.cpu > 0 and one.seconds > 0 for one in took.values())
    assert jobs.run(made, tmp_path, 2, **QUIET) == took and said.read_text() == "abc"


def test_the_wall_time_of_a_call_is_kept_though_it_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "TICK", 0.05)
    made = [jobs.Job("a", python("pass"))]
    assert jobs.left(made, tmp_path) and jobs.calls(tmp_path) == []
    with jobs.clocked(tmp_path):
        jobs.run(made, tmp_path, 1, **QUIET)
    (one,) = jobs.calls(tmp_path)
    assert one > 0 and not jobs.left(made, tmp_path)
    (tmp_path / jobs.CALLS / "1000000000").touch()  # another call, which was killed: what it last said stands
    assert len(jobs.calls(tmp_path)) == 2


def test_a_job_that_fails_takes_along_what_needs_it_and_nothing_else(tmp_path):
    said, there = tmp_path / "said", tmp_path / "there"
    needs = "import sys, pathlib; assert pathlib.Path(sys.argv[1]).exists(), 'it is not there'"
    made = [
        jobs.Job("broken", python(needs, there)),
        jobs.Job("behind", python(APPEND, said, "2"), ("broken",)),
        jobs.Job("far behind", python(APPEND, said, "3"), ("behind",)),
        jobs.Job("apart", python(APPEND, said, "1")),
    ]
    with pytest.raises(jobs.Failed, match="it is not there") as caught:
        jobs.run(made, tmp_path, 1, **QUIET)
    assert "far behind: it needs behind" in str(caught.value) and said.read_text() == "1"
    there.touch()
    took = jobs.run(made, tmp_path, 1, **QUIET)
    assert said.read_text() == "123" and took["broken"].seconds > 0
    with pytest.raises(jobs.Failed, match="not among the jobs"):
        jobs.run([jobs.Job("lost", python("pass"), ("nobody",))], tmp_path, 1, **QUIET)


@pytest.fixture
def few(monkeypatch):
    """Small groups and batches of RL: what is tested is that all of it runs."""
    monkeypatch.setitem(chains.RL, "group", {"rollouts": 4, "temperature": 1.0})
    monkeypatch.setitem(chains.RL, "optim", {**chains.RL["optim"], "batch": 16})


def drafted(name, *runs):
    return tables.Drafted(
        name,
        tuple({"errors_total": {f"s{n}": Score("errors_total", one) for n, one in enumerate(run)}} for run in runs),
    )


def test_tables_say_values_with_intervals_and_mark_differences():
    setting = tables.Setting({f"s{n}": f"p{n}" for n in range(40)}, 200)
    good, bad = drafted("good", [0.0, 1.0] * 20, [1.0, 0.0] * 20), drafted("bad", [2.0] * 40, [2.0] * 40)
    text = tables.values([good, bad], ["errors_total"], setting)
    assert text.splitlines()[0] == "| system | errors a report ↓ |" and "| bad | 2.00 (2.00–2.00) |" in text
    text = tables.differences([("good − bad", good, bad), ("bad − bad", bad, bad)], ["errors_total"], setting)
    assert "| good − bad | **−1.50 (−1." in text and "| bad − bad | +0.00 (+0.00 to +0.00) |" in text
    found = setting.paired(good, bad, "errors_total")
    assert tables.better("errors_total", found) is True and found.ratio == pytest.approx(-0.75)
    assert tables.better("errors_total", setting.paired(bad, bad, "errors_total")) is None
    assert tables.cell(Estimate(None, None, None, 0)) == tables.NOT_SCORED


def test_every_arm_has_its_trainings_and_the_paper_s_order():
    import unirg_ablation

    plan = unirg_ablation.QUICK
    made = {one.name: one for one in arms.trainings(plan)}
    assert set(arms.ARMS) == set(arms.PATHS) == set(arms.TRAINED)
    for path in arms.PATHS.values():
        assert [made[name].start for name in path] == ["", *path[:-1]]
    assert made["step1"].settings["group"]["kl"] == 0 < made["step2"].settings["group"]["kl"]
    assert {made[arms.ARMS[arm]].settings["reward"] for arm in arms.SINGLE} == set(arms.SINGLE.values())
    watched = [one.settings["guard"] for name, one in made.items() if name != "base"]
    assert all(one["act"] == "warn" and one["every"] and one["studies"] == plan.looks for one in watched)


@pytest.mark.slow
def test_the_smallest_ablation_trains_scores_and_writes_its_page(tmp_path, capsys, few):
    import unirg_ablation

    plan = replace(
        unirg_ablation.QUICK,
        pretrain=300,
        studies=420,
        seeds=(0,),
        warmup=8,
        sft=6,
        sft_more=8,
        rl=2,
        rl_more=2,
        test_limit=12,
        looks=12,
        hack=2,
    )
    page = command.ablate(unirg_ablation.ABLATION, plan, tmp_path / "run", 2, tmp_path / "page", ["--quick"])
    text = page.read_text(encoding="utf-8")
    for arm in arms.TRAINED:
        assert f"| {arm} |" in text
    pictures = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert "`python bench/unirg_ablation.py --out runs/unirg_phantom --quick`" in text and " minutes (" in text
    assert len(pictures) == 4 and all((page.parent / one).stat().st_size > 5_000 for one in pictures)
    for heading in (
        "same compute",
        "What each reward does",
        "Longitudinal",
        "By finding",
        "Sex and age",
        "Planted hacks",
    ):
        assert any(line.startswith("##") and heading in line for line in text.splitlines()), heading
    assert str(tmp_path) not in text
    capsys.readouterr()
    command.ablate(unirg_ablation.ABLATION, plan, tmp_path / "run", 2, tmp_path / "page", ["--quick"])
    assert "done" not in capsys.readouterr().out and page.read_text(encoding="utf-8") == text


def test_every_arm_that_thinks_has_what_it_learns_from():
    import med_r2_ablation

    plan = med_r2_ablation.QUICK
    made = {one.name: one for one in med_arms.trainings(plan)}
    written = {*med_arms.TRACES, "base-lessons", "reflections", "again"}
    assert set(med_arms.PATHS) == {*med_arms.ROWS, *med_arms.JOINED, *med_arms.ANSWERS}
    for path in med_arms.PATHS.values():
        trained = [name for name in path if name in made]
        assert set(path) - set(made) <= written
        assert [made[name].start for name in trained] == ["base", *trained[:-1]]
        assert all(set(made[name].lessons) <= {*path, "base-lessons"} for name in trained)
    assert made["closer"].settings["inputs"] == {"closer": "always"} and plan.inputs["closer"] == "again"
    assert all(made[name].settings["style"] == "reasoned" for name in med_arms.THINKS)
    rewards = [made[med_arms.PATHS[arm][-1]].settings["reward"] for arm in (*med_arms.JOINED, med_arms.CONSISTENT)]
    assert rewards == ["unirg_step2"] * 3 + ["self_consistent"]


@pytest.mark.slow
def test_the_smallest_ablation_of_thinking_trains_scores_and_writes_its_page(tmp_path, capsys, few):
    import med_r2_ablation

    small = dict.fromkeys(med_r2_ablation.QUICK.steps, 3)
    plan = replace(
        med_r2_ablation.QUICK, pretrain=200, studies=300, train=60, seeds=(0,), warmup=6, base=3, steps=small, test_limit=4, looks=4,
        rl={arm: (1, 1 if number[1] else 0) for arm, number in med_r2_ablation.QUICK.rl.items()},
    )  # fmt: skip
    page = command.ablate(med_r2_ablation.ABLATION, plan, tmp_path / "run", 2, tmp_path / "page", ["--quick"])
    text = page.read_text(encoding="utf-8")
    for arm in (*med_arms.ROWS, *med_arms.JOINED, *med_arms.ANSWERS):
        assert f"| {arm} |" in text, arm
    for heading in ("What each part adds", "The second look", "RL", "Labels and narrative", "learned from", "Compute"):
        assert any(line.startswith("##") and heading in line for line in text.splitlines()), heading
    pictures = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(pictures) == 2 and all((page.parent / one).stat().st_size > 5_000 for one in pictures)
    assert str(tmp_path) not in text
    capsys.readouterr()
    command.ablate(med_r2_ablation.ABLATION, plan, tmp_path / "run", 2, tmp_path / "page", ["--quick"])
    assert "done" not in capsys.readouterr().out and page.read_text(encoding="utf-8") == text


def test_all_that_was_spent_on_an_arm_is_found_in_the_ledgers(tmp_path):
    import med_r2_ablation
    from ablation import work

    from wetread.runs.store import JsonLines

    plan = med_r2_ablation.QUICK
    made = med_arms.jobs(plan, tmp_path)
    for one in made:
        tasks = json.loads((tmp_path / "tasks" / f"{one.name}.json").read_text())
        ledger = JsonLines(tmp_path / "work" / f"{one.name}.jsonl")
        for task in tasks:
            if task["do"] not in work.SCORING:  # a call that was killed, and one that went on
                ledger.append(
                    {"out": task["out"], "call": "a", "cpu": 20.0}, {"out": task["out"], "call": "a", "cpu": 40.0}
                )
                ledger.append({"out": task["out"], "call": "b", "cpu": 20.0})
    spent = chains.minutes(med_arms.PATHS, plan.seeds, tmp_path, med_arms.shared(tmp_path))
    assert {arm: set(each) for arm, each in spent.items()} == {
        arm: {float(len(path))} for arm, path in med_arms.PATHS.items()
    }
