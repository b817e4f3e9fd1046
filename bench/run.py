"""`make bench`: speed on this machine, printed as ratios. Nothing here asserts; `--only NAME` runs one part.

startup     wetread --help
phantom     studies made a second, one core, 128 x 128
sft, grpo   the trainings against plain TRL scripts with the same model, batch and steps; GRPO at two image sizes
draft       drafting in batches against one study at a time
score       `wetread score` on 10,000 pairs and `wetread compare`, as whole processes
import      `wetread data import` and `check`, studies a second, as whole processes
metrics     the metrics with weights against the official code; small and alone unless its environment is named
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def startup(rounds: int) -> None:
    """Time `wetread --help` as a whole process and check that it brings in no torch."""
    command = [str(Path(sys.executable).with_name("wetread")), "--help"]
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    code = "import sys, wetread.cli; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(
        f"startup: wetread --help {statistics.median(times[1:]):.3f} s (median of {rounds}); heavy modules loaded: {loaded}"
    )


def phantom_speed(rounds: int) -> None:
    """Studies a second on one core, images and reports written as PNG and JSONL."""
    count = 300
    code = (
        "import sys, time, tempfile, pathlib; from wetread.studies import phantom\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    phantom.write(pathlib.Path(d) / 'w', 20, seed=1)\n"
        f"    start = time.perf_counter(); phantom.write(pathlib.Path(d) / 'x', {count}, seed=1)\n"
        f"    print({count} / (time.perf_counter() - start))\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    rates = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout)
        for _ in range(rounds)
    ]
    print(
        f"phantom: {statistics.median(rates):.0f} studies/s on one core at 128 x 128, written (median of {rounds}, least {min(rates):.0f})"
    )


def sft_speed(folder: Path, rounds: int) -> None:
    """SFT tokens a second, ours against the plain script."""
    import training_speed

    training_speed.sft(folder, rounds)


def grpo_speed(folder: Path, rounds: int) -> None:
    """GRPO rollouts a second, ours against the plain script, at several image sizes."""
    import training_speed

    training_speed.grpo(folder, rounds)


def draft_speed(folder: Path, rounds: int) -> None:
    """Studies drafted a second, batched against one at a time."""
    import timing
    import training_speed

    from wetread.records import Sampling
    from wetread.runs.draft import draft

    opened, _, every = training_speed.policy(folder)
    chosen = every[:48]

    def run(batch: int) -> int:
        return len(list(draft(chosen, opened, sampling=Sampling(batch_size=batch, max_new_tokens=96))))

    print(
        _quietly(
            lambda: timing.paired("drafting", "studies", lambda: run(24), lambda: run(1), "one at a time", rounds)
        ).line()
    )


def score_speed(rounds: int) -> None:
    """Seconds of `wetread score` and `wetread compare`."""
    _run("score_speed.py", "--rounds", rounds)


def import_speed(rounds: int) -> None:
    """Studies a second of `wetread data import` and `wetread data check`."""
    _run("import_speed.py", "--rounds", rounds)


def metrics_speed(rounds: int, official: Path | None, made: Path | None) -> None:
    """Pairs a second of the metrics with weights, beside the official code when its environment is named."""
    if official or made:
        _run(
            "metrics_speed.py",
            "--rounds",
            rounds,
            *(("--official", official) if official else ("--make-official", made)),
        )
    else:
        _run("metrics_speed.py", "--quick")


def _run(script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)], check=True)


def _quietly(work: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


def main() -> None:
    """Run every part, or the one that `--only` names."""
    parts = {
        "startup": startup, "phantom": phantom_speed, "score": score_speed, "import": import_speed, "metrics": metrics_speed,
        "sft": sft_speed, "grpo": grpo_speed, "draft": draft_speed,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(parts), help="run one part")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each part (default 5)")
    parser.add_argument(
        "--official", type=Path, metavar="PYTHON", help="interpreter of the official metrics' environment"
    )
    parser.add_argument("--make-official", type=Path, metavar="FOLDER", help="make that environment here")
    given = parser.parse_args()
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}",
        flush=True,
    )
    for name, part in parts.items():
        if given.only not in (None, name):
            continue
        if name == "metrics":
            metrics_speed(given.rounds, given.official, given.make_official)
        elif name in ("startup", "phantom", "score", "import"):
            part(given.rounds)  # type: ignore[operator]
        else:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder), given.rounds)  # type: ignore[operator]


if __name__ == "__main__":
    main()
