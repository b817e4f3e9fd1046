"""``wetread train sft`` and ``wetread train rl``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    help="Train a model: sft (on reports), then rl (on clinical rewards).", rich_markup_mode=None, no_args_is_help=True
)

CONFIG = typer.Option(None, "--config", help="YAML file with config keys.")
SET = typer.Option([], "--set", help="key=value, with dotted keys; repeatable.", show_default=False)
OUT = typer.Option(
    ..., "--out", help="Run folder; the model is written to OUT/model. The same command continues a killed run."
)


@app.command("sft")
def sft(config: Path | None = CONFIG, set_: list[str] = SET, out: Path = OUT) -> int:
    """Supervised fine-tuning on reports."""
    from wetread.runs.config import build
    from wetread.training.config import SftConfig

    made = build(SftConfig, config, set_)
    from wetread.training import sft as training

    steps = made.optim.steps + (made.tiny.warmup_steps if made.model == "tiny" else 0)
    return _train("SFT", steps, lambda step: training.train(made, out, step))


@app.command("rl")
def rl(config: Path | None = CONFIG, set_: list[str] = SET, out: Path = OUT) -> int:
    """Reinforcement learning (GRPO) on clinical rewards."""
    from wetread.runs.config import build
    from wetread.training.config import RlConfig

    made = build(RlConfig, config, set_)
    from wetread.training import rl as training

    return _train("GRPO", made.optim.steps, lambda step: training.train(made, out, step))


def _train(title: str, steps: int, train: Callable[[Any], Path]) -> int:
    from wetread.runs.progress import bar, mover

    with bar(title, steps) as line:
        model = train(mover(line))
    typer.echo(f"model: {model}")
    return 0
