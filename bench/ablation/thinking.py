"""Traces, reflections, and the scoring of systems that think: what the second ablation's jobs do beside training.

A system is drafted once with all of its passes. Its first passes alone, and the better of two samples, are scored as systems
of their own. What a draft without a thought perceives is what its report claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation import measure
from wetread import prompts
from wetread.knowledge import extract, walk
from wetread.knowledge.pruning import shuffled
from wetread.knowledge.tree import Branch
from wetread.models import Model, open_model
from wetread.prompts import Guide
from wetread.prompts.reasoned import understand
from wetread.records import Draft, Report, Sampling, Study, Thought, Trace
from wetread.runs import evaluate
from wetread.runs.store import RunFolder, write_atomic
from wetread.studies import folder
from wetread.traces import check, reflecting, writing

FIRST, BEST = "first", "best"
"""Folders beside a system's own for its first passes, and for the better of two of them."""
LEAST = 5
"""Reports that must claim a finding for it to stay in the tree."""


def trace(task: Mapping[str, Any]) -> None:
    """Write the traces of the training studies of ``data`` into ``out``: by rules, from their reports."""
    studies = folder.choose(folder.read(Path(task["data"])), "train", task["limit"])
    tree = writing.tree_of(task["tree"], studies, LEAST)
    if tree is not None and task.get("shuffle") is not None:
        tree = shuffled(tree, task["shuffle"])
    how = writing.How(Guide(tree, task["knowledge"], task["negatives"]))
    writing.write(studies, how, RunFolder.open(Path(task["out"]), "traces", writing.config(how, task["data"], "train")))


def prime(task: Mapping[str, Any]) -> None:
    """Write into ``out`` what the base is to think before the training reports of ``data``, in no tree's order and with no knowledge.

    Half of the studies have a list of what is there, as the report goes; the others a checklist by the alphabet, of all that
    reports claim, with yes and no. So the base can name findings and answer for each, as a pretrained model can, and
    favours no walk.
    """
    run = RunFolder.open(Path(task["out"]), "prime", {"data": task["data"], "limit": task["limit"]})
    if run.done("primed"):
        return
    studies = folder.choose(folder.read(Path(task["data"])), "train", task["limit"])
    tree = writing.tree_of("pruned", studies, LEAST)
    assert tree is not None
    checklist = replace(tree, branches=(Branch("all", walk.SEEN, tuple(sorted(tree.asked))),))
    guide = Guide(None, knowledge=False, negatives="every")
    made = []
    for number, study in enumerate(study for study in studies if study.report):
        found = extract(study.report or Report())
        shown = found if study.prior else tuple(map(check.timeless, found))
        text = walk.write(shown, checklist, negatives="every") if number % 2 else walk.write(shown, None, negatives="none")
        report = writing.digest((study.report or Report()).text)
        made.append(Trace(study.id, report, writing.guide_digest(guide), "prime", understand(text, guide)))
    write_atomic(run.path / writing.GUIDE, json.dumps(guide.to_json()) + "\n")
    run.lines(writing.LINES).append(*(one.to_json() for one in made))
    run.event("primed", lessons=len(made))


def reflect(task: Mapping[str, Any]) -> None:
    """Sample first passes of ``model`` on the training studies, and write what is wrong with them into ``out``."""
    run = RunFolder.open(Path(task["out"]), "reflect", {key: task[key] for key in ("model", "traces", "mix")})
    if run.done("reflected"):
        return
    studies = folder.choose(folder.read(Path(task["data"])), "train", task["limit"])
    known, guide = writing.accepted(Path(task["traces"])), writing.guide_in(Path(task["traces"]))
    mix = reflecting.Mix(**task["mix"])
    model = open_model(task["model"], device="cpu")
    style = prompts.of(model, "reflected")
    sampling = Sampling(batch_size=64, max_new_tokens=measure.LONGEST_PASS)
    samples = reflecting.sample(studies, model, style, run, mix, sampling)
    lessons, tally = reflecting.build(
        studies, known, samples, style, guide, mix, reflecting.fitting(model, style, studies)
    )
    reflecting.write(lessons, tally, guide, run)
    run.event("reflected", **tally.to_json())


def think(task: Mapping[str, Any]) -> None:
    """Draft and score ``model``, called ``name``, on every group of studies, in ``style``, with ``rounds`` reflections.

    ``first`` names its first passes as a system, ``best`` the better of two samples; empty: not scored.
    """
    data, out = Path(task["data"]), Path(task["out"])
    for group in measure.GROUPS:
        studies = measure.group(data, group, task["limit"], task["split"])
        if not studies:  # only the test split has studies of the unseen site
            continue
        run = RunFolder.open(
            measure.place(out, group), "think", {key: task[key] for key in ("model", "name", "style", "rounds")}
        )
        if run.done("measured"):
            continue
        model = open_model(task["model"], device="cpu")
        model.style = task["style"] or model.style
        sampling = Sampling(batch_size=64, max_new_tokens=measure.LONGEST_PASS)
        drafts = evaluate.answer(model, task["name"], studies, sampling, run, rounds=task["rounds"])
        _judge(task["name"], drafts, studies, run)
        if task["first"]:
            firsts = [draft and (draft.passes[0] if draft.passes else draft) for draft in drafts]
            _judge(task["first"], firsts, studies, RunFolder.open(measure.place(out, group, FIRST), "think", {}))
        if task["best"]:
            beside = RunFolder.open(measure.place(out, group, BEST), "think", {})
            _judge(task["best"], best_of_two(model, studies, beside), studies, beside)
        run.event("measured")


def _judge(name: str, drafts: Sequence[Draft | None], studies: Sequence[Study], run: RunFolder) -> None:
    seen = [
        replace(draft, thought=Thought(perception=tuple(extract(draft.report))))
        if draft is not None and draft.thought is None
        else draft
        for draft in drafts
    ]
    evaluate.judge(name, seen, studies, run, measure.offline())


def best_of_two(model: Model, studies: Sequence[Study], run: RunFolder, temperature: float = 0.7) -> list[Draft | None]:
    """Return, of two first passes sampled of each study, the one that the model itself finds likelier a token.

    The tokens of both count as the draft's. Nothing but the model chooses: what is spent is a reflection's, without one.
    """
    several = [
        evaluate.answer(
            model, f"sample {seed}", studies, Sampling(temperature, batch_size=64, max_new_tokens=measure.LONGEST_PASS, seed=seed), run, rounds=0
        )
        for seed in (1, 2)
    ]  # fmt: skip
    worth = [likelihoods(model, studies, run, f"sample {seed}") for seed in (1, 2)]
    made: list[Draft | None] = []
    for study, *pair in zip(studies, *several, strict=True):
        known = [(worth[place][study.id], place, one) for place, one in enumerate(pair) if one is not None]
        whole = [one for one in known if one[2].parse == "complete"] or known
        spent = sum(one.tokens for one in pair if one is not None)
        made.append(replace(max(whole, key=lambda one: one[:2])[2], tokens=spent) if whole else None)
    return made


def likelihoods(model: Any, studies: Sequence[Study], run: RunFolder, name: str) -> dict[str, float]:
    """Return study to the mean log-probability of the tokens that a system wrote for it, under the model that wrote them."""
    import torch

    from wetread.models.transformers import encode

    style = prompts.of(model)
    texts = {one["study"]: one["text"] for one in run.lines(f"generations-{evaluate.slug(name)}").read()}
    found: dict[str, float] = {}
    with torch.inference_mode():
        for study in studies:
            if not texts.get(study.id):
                found[study.id] = float("-inf")
                continue
            inputs = encode(model.processor, [style.render(study)])
            asked = inputs["input_ids"].shape[1]
            wrote = model.tokenizer(texts[study.id], add_special_tokens=False, return_tensors="pt")["input_ids"]
            ends = torch.tensor([[model.tokenizer.eos_token_id]])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], wrote, ends], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            logits = model.model(**inputs).logits[0, asked - 1 : -1]
            logs = torch.log_softmax(logits.float(), dim=-1)
            found[study.id] = float(logs.gather(1, inputs["input_ids"][0, asked:, None]).mean())
    return found
