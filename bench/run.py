"""`make bench`: speed on this machine, printed as ratios. Nothing here asserts; `--only NAME` runs one part.

startup     wetread --help
phantom     studies made a second, one core, 128 x 128
sft, grpo   the trainings against plain TRL scripts with the same model, batch and steps
draft       drafting in batches against one study at a time
"""

from __future__ import annotations

import argparse
import contextlib
import copy
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


def _policy(folder: Path) -> tuple[Any, Any, Any]:
    """Make phantom studies and a tiny policy trained just enough to write reports of a normal length."""
    from wetread import models
    from wetread.runs.config import build
    from wetread.studies import folder as studies_folder
    from wetread.studies import phantom
    from wetread.training import sft
    from wetread.training.config import SftConfig

    phantom.write(folder / "phantom", 800, seed=3)
    config = build(SftConfig, None, [f"data.path={folder / 'phantom'}", "optim.steps=60", "checkpoint_every=1000"])
    sft.train(config, folder / "sft")
    every = studies_folder.read(folder / "phantom")
    return models.open_model(str(folder / "sft" / "model")), [s for s in every if s.split == "train"], every


def sft_speed(folder: Path, rounds: int) -> None:
    """SFT samples a second, ours against the plain script."""
    import plain_trl

    from wetread.runs.config import build
    from wetread.training import sft
    from wetread.training.config import SftConfig

    def ours(sets: list[str], out: Path) -> None:
        sft.train(build(SftConfig, None, sets), out)

    def plain(opened: Any, studies: Any, batch: int, steps: int) -> int:
        policy = copy.deepcopy(opened.model)
        return plain_trl.sft(policy, opened.processor, studies, folder / "phantom", folder / "plain", batch, steps)

    _beside_plain(("SFT", "samples"), ours, plain, folder, rounds, batch=32)


def grpo_speed(folder: Path, rounds: int) -> None:
    """GRPO rollouts a second, ours against the plain script."""
    import plain_trl

    from wetread.runs.config import build
    from wetread.training import rl
    from wetread.training.config import RlConfig

    tokens = 96

    def ours(sets: list[str], out: Path) -> None:
        rl.train(build(RlConfig, None, [*sets, f"group.max_new_tokens={tokens}"]), out)

    def plain(opened: Any, studies: Any, batch: int, steps: int) -> int:
        policy = copy.deepcopy(opened.model)
        places = folder / "phantom", folder / "plain"
        return plain_trl.grpo(policy, opened.processor, studies, *places, batch, steps, tokens)

    _beside_plain(("GRPO", "rollouts"), ours, plain, folder, rounds, batch=64)


def _beside_plain(
    names: tuple[str, str],
    train: Callable[[list[str], Path], None],
    plain: Callable[[Any, Any, int, int], int],
    folder: Path,
    rounds: int,
    *,
    batch: int,
    steps: int = 12,
) -> None:
    """Time one of our trainings and its plain script in turn: the same policy, studies, batch and steps."""
    import timing

    opened, studies, _ = _policy(folder)
    made = iter(range(10_000))
    sets = [
        f"data.path={folder / 'phantom'}",
        f"optim.steps={steps}",
        f"optim.batch={batch}",
        f"model={folder / 'sft' / 'model'}",
        "checkpoint_every=1000",
    ]

    def ours() -> int:
        train(sets, folder / f"ours-{next(made)}")
        return batch * steps

    def theirs() -> int:
        return plain(opened, studies, batch, steps)

    print(_quietly(lambda: timing.paired(*names, ours, theirs, "plain TRL script", rounds)).line())


def draft_speed(folder: Path, rounds: int) -> None:
    """Studies drafted a second, batched against one at a time."""
    import timing

    from wetread.records import Sampling
    from wetread.runs.draft import draft

    opened, _, every = _policy(folder)
    chosen = every[:48]

    def run(batch: int) -> int:
        return len(list(draft(chosen, opened, sampling=Sampling(batch_size=batch, max_new_tokens=96))))

    print(
        _quietly(
            lambda: timing.paired("drafting", "studies", lambda: run(24), lambda: run(1), "one at a time", rounds)
        ).line()
    )


def _quietly(work: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


def main() -> None:
    """Run every part, or the one that `--only` names."""
    parts = {"startup": startup, "phantom": phantom_speed, "sft": sft_speed, "grpo": grpo_speed, "draft": draft_speed}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(parts), help="run one part")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each part (default 5)")
    given = parser.parse_args()
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    for name, part in parts.items():
        if given.only not in (None, name):
            continue
        if name in ("startup", "phantom"):
            part(given.rounds)  # type: ignore[operator]
        else:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder), given.rounds)  # type: ignore[operator]


if __name__ == "__main__":
    main()
