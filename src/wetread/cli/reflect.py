"""``wetread reflect``: what a model gets wrong on training studies, as lessons that correct it."""

from __future__ import annotations

from pathlib import Path

import typer


def run(
    data: Path = typer.Argument(..., help="Folder with studies.jsonl.", metavar="DATA"),
    model: Path = typer.Option(..., "--model", help="Folder of the model that is to learn to correct itself."),
    traces: Path = typer.Option(..., "--traces", help="Folder that `wetread traces` wrote for the same studies."),
    out: Path = typer.Option(..., "--out", help="Folder for traces.jsonl (the lessons), samples.jsonl and yield.json."),
    split: str = typer.Option("train", "--split", help="Split that is drafted; never the one that is tested on."),
    limit: int = typer.Option(0, "--limit", min=0, help="The first so many studies; 0: all."),
    draws: int = typer.Option(2, "--draws", min=1, max=64, help="First passes sampled of each study."),
    temperature: float = typer.Option(0.8, "--temperature", min=0.01, max=5.0, help="Sampling temperature."),
    right: float = typer.Option(0.3, "--right", min=0.0, max=0.99, help="Share of lessons without an error."),
    slips: float = typer.Option(
        0.1, "--slips", min=0.0, max=1.0, help="Share of studies of which one is made wrong on purpose."
    ),
    batch: int = typer.Option(32, "--batch", min=1, max=4096, help="Studies drafted at once."),
    max_new_tokens: int = typer.Option(
        0, "--max-new-tokens", min=0, max=8192, help="Longest first pass, in tokens; 0: by the style."
    ),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of drawing and choosing."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N."),
) -> int:
    """Sample first passes, hold them against the reports, and write what is wrong and what they should have been."""
    from wetread import models, prompts
    from wetread.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
    from wetread.models import transformers
    from wetread.records import Sampling
    from wetread.runs.progress import bar
    from wetread.runs.store import RunFolder
    from wetread.studies import folder
    from wetread.traces import reflecting, writing

    studies = [study for study in folder.choose(folder.read(data), split, limit) if study.report]
    known = writing.accepted(traces)
    guide = writing.guide_in(traces)
    transformers.check(str(model))
    said = prompts.guide_of(str(model))
    if said is None or writing.guide_digest(said) != writing.guide_digest(guide):
        raise UsageError(
            f"{model} was not taught to think by the traces in {traces}; train it with style=reasoned and lessons={traces}, "
            "or give the traces that it was taught by."
        )
    mix = reflecting.Mix(draws, temperature, right, slips, seed)
    config = {
        **vars(mix), "data": str(data), "split": split, "limit": limit, "model": str(model), "traces": str(traces),
        "model_contents": models.fingerprint(str(model)), "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    folder_ = RunFolder.open(out, "reflect", config, alone=True)
    opened = models.open_model(str(model), device=device)
    style = prompts.of(opened, "reflected")
    sampling = Sampling(batch_size=batch, max_new_tokens=max_new_tokens or style.longest)
    with bar("first passes", len(studies) * draws) as line:
        samples = reflecting.sample(studies, opened, style, folder_, mix, sampling, line.advance)
    fits = reflecting.fitting(opened, style, studies)
    lessons, tally = reflecting.build(studies, known, samples, style, guide, mix, fits)
    reflecting.write(lessons, tally, guide, folder_)
    whole = tally.drawn - tally.unreadable
    typer.echo(f"{tally.drawn} first passes, {tally.unreadable} unreadable; {tally.right} of {whole} without an error")
    if tally.astray:
        typer.echo(f"  {tally.astray} of these left out: their thought does not say what the report says")
    if tally.long:
        typer.echo(f"  {tally.long} left out: prompt and target are longer than the model reads; see --max-new-tokens")
    if tally.without:
        typer.echo(f"  {tally.without} of {len(studies)} studies have no accepted trace in {traces}")
    if tally.failed:
        typer.echo(f"  {tally.failed} first passes failed; the same command tries them again")
    typer.echo(f"{len(lessons)} lessons: " + ", ".join(f"{count} {name}" for name, count in tally.kept.items()))
    for kind in sorted({*tally.kinds, *tally.slipped}, key=lambda kind: -tally.kinds[kind]):
        made = f" (and {tally.slipped[kind]} made on purpose)" if tally.slipped[kind] else ""
        typer.echo(f"  {kind.replace('_', ' ')}: {tally.kinds[kind]}{made}")
    return EXIT_OK if lessons and not tally.failed else EXIT_SOME_FAILED
