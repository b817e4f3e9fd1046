"""Speed of the metrics with weights, paired with the official code in an environment of its own.

    python bench/metrics_speed.py --make-official FOLDER      # make that environment (pip), then measure
    python bench/metrics_speed.py --official FOLDER/bin/python --rounds 5
    python bench/metrics_speed.py --quick                     # seconds: small weights, without the official code unless named

Both sides read the same random checkpoints at the sizes of the real ones (``official/checkpoints.py``) and the same texts of
phantom reports, 38 to 52 tokens long: 256 drafts, 16 references, each used 16 times.

    distinct   all drafts differ and nothing has been seen before
    policy     64 distinct drafts among the 256; the references were scored in an earlier step

Texts are new in every round, so that no memory and no cache can know them but for what a case allows; ours writes its cache to an
empty file. One way after the other, in turns, after a round that does not count. The official RadGraph and CheXbert take every
pair on its own, whatever is repeated, so they are given ``--pairs`` of the 256 and quoted by the pair; bert_score, which encodes
distinct texts once, is given all. Every score of every shared pair is compared. Rates by the clock on the wall say what a user
waits for on a quiet machine; those by processor seconds (``--threads 1``: nothing spins) hold on a busy one too.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "official"))
sys.path.insert(0, str(Path(__file__).parent))
import client
import operations
import timing

TOKEN = re.compile(r"\w+|[^\w\s]")
DRAFTS, REFERENCES, DISTINCT = 256, 16, 64
TOLERANCE = 1e-5
CASES = ("distinct", "policy")


@dataclass(frozen=True)
class Part:
    """One comparison: our metrics, and what of the official code does the same."""

    ours: tuple[str, ...]
    """Metrics, scored in one call."""
    alone: tuple[str, ...]
    """What the official code does pair by pair; it gets some of the pairs."""
    together: tuple[str, ...]
    """What it does in one batch; it gets all."""
    encoders: tuple[str, ...]
    """The networks that our side has to run, for the count of operations."""


PARTS = {
    "radgraph": Part(("radgraph_complete",), ("radgraph_complete",), (), ("radgraph",)),
    "chexbert": Part(("chexbert_f1_14_micro", "chexbert_f1_5_micro"), ("chexbert_f1",), (), ("chexbert",)),
    "chexbert_semb": Part(
        ("chexbert_f1_14_micro", "chexbert_f1_5_micro", "semb_score"), ("chexbert_f1", "semb_score"), (), ("chexbert",)
    ),
    "bertscore": Part(("bertscore",), (), ("bertscore",), ("bertscore",)),
    "radcliq": Part(
        ("radcliq_v1",), ("radgraph_combined", "semb_score", "bleu_2"), ("bertscore",), ("radgraph", "chexbert", "bertscore")
    ),
}  # fmt: skip


class Supply:
    """Reports that were never given out before, made of phantom reports."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._studies = self._stream(seed)
        self._given: set[str] = set()

    @staticmethod
    def _stream(seed: int) -> Iterator[Any]:
        from wetread.studies.phantom import make_study

        number = 0
        while True:
            yield make_study(seed, number).report
            number += 1

    def take(self, count: int) -> list[Any]:
        """Return ``count`` new reports: a phantom's, with sentences of others until it is as long as a real one."""
        from wetread.records import Report

        found: list[Any] = []
        while len(found) < count:
            report = next(self._studies)
            findings, wanted = report.findings, self._random.randint(38, 52)
            while len(TOKEN.findall(f"{findings} {report.impression}")) + 6 < wanted:
                findings += " " + self._random.choice(re.split(r"(?<=\.) ", next(self._studies).findings))
            report = Report(findings, report.impression)
            if report.text not in self._given and len(TOKEN.findall(report.text)) < 60:
                self._given.add(report.text)
                found.append(report)
        return found


@dataclass
class Side:
    """Our side: the metrics on one folder of weights."""

    weights: Path
    """Folder of the weights."""
    precision: str = "fp32"
    """What the networks compute in."""

    def scores(self, names: Sequence[str], drafts: Sequence[Any], references: Sequence[Any]) -> dict[str, list[Any]]:
        """Score all pairs by some metrics."""
        from wetread import metrics

        return metrics.score(names, drafts, references, weights=self.weights, precision=self.precision)


@dataclass(frozen=True)
class Spent:
    """What some work took."""

    wall: float = 0.0
    """Seconds on the clock."""
    cpu: float = 0.0
    """Processor seconds of all its threads, which other work on the machine lengthens less."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Spent:
        return Spent(self.wall * factor, self.cpu * factor)


@dataclass
class Outcome:
    """What a comparison gave, round by round."""

    name: str
    """Part, case and precision."""
    pairs: int
    """Pairs of a round."""
    ours: list[Spent] = field(default_factory=list)
    """What our side took."""
    theirs: list[Spent] = field(default_factory=list)
    """What the official code took, or would have taken for all pairs."""
    shares: list[float] = field(default_factory=list)
    """Our operations a processor second over those of the faster of the bare matrix products."""
    difference: float = 0.0
    """The largest difference of a score."""

    def pair(self, clock: str, other: str = "official code") -> timing.Pair:
        """Return the rates by one clock, ``wall`` or ``cpu``."""
        rates = [tuple(self.pairs / getattr(one, clock) for one in side) for side in (self.ours, self.theirs)]
        return timing.Pair(f"{self.name}, {clock}", "pairs", *rates, other)


def spend(do: Callable[[], Any]) -> tuple[Any, Spent]:
    """Return what ``do`` returns, and what it took."""
    start, cpu = time.perf_counter(), time.process_time()
    found = do()
    return found, Spent(time.perf_counter() - start, time.process_time() - cpu)


def work(supply: Supply, case: str, references: Sequence[Any], drafts: int) -> tuple[list[Any], list[Any]]:
    """Return drafts and references of one step, group by group; ``references`` are those seen before."""
    chosen = list(references) if case == "policy" else supply.take(len(references))
    group = drafts // len(chosen)
    new = group if case == "distinct" else max(1, group * DISTINCT // DRAFTS)
    made = [supply.take(new) * (group // new) for _ in chosen]
    return [draft for some in made for draft in some], [one for one in chosen for _ in range(group)]


def compare(
    name: str, case: str, ours: Side, official: client.Official | None, supply: Supply, given: argparse.Namespace
) -> Outcome:
    """Time one part in one case, in turns, and compare the scores."""
    part = PARTS[name]
    seen = supply.take(given.references)
    ours.scores(part.ours, supply.take(given.references), seen)  # the earlier step
    count = operations.counter(part.encoders, ours.weights)
    outcome = Outcome(f"{name}, {case}", given.drafts)
    for number in range(given.rounds + 1):
        drafts, references = work(supply, case, seen, given.drafts)
        bare = max(operations.matrix_rates().values())
        found, spent = spend(partial(ours.scores, part.ours, drafts, references))
        bare = max(bare, *operations.matrix_rates().values())
        if official is not None:
            told, other = _ask(official, part, drafts, references, given.pairs)
            outcome.difference = max(outcome.difference, *_differences(found, told, len(drafts), given.pairs))
        if number:
            outcome.ours.append(spent)
            if official is not None:
                outcome.theirs.append(other)
            new = {*drafts, *references} - ({*seen} if case == "policy" else set())
            outcome.shares.append(count([report.text for report in new]) / spent.cpu / bare)
    return outcome


def _ask(
    official: client.Official, part: Part, drafts: Sequence[Any], references: Sequence[Any], pairs: int
) -> tuple[dict[str, Any], Spent]:
    """Return the answers of the official code, and what it takes for all pairs."""
    texts = [report.text for report in drafts], [report.text for report in references]
    some = [side[:: max(1, len(drafts) // pairs)] for side in texts]
    told, spent = {}, Spent()
    for names, sides in ((part.alone, some), (part.together, texts)):
        for name in names:
            told[name], waited = spend(partial(official, name, drafts=sides[0], references=sides[1]))
            spent += Spent(waited.wall, official.cpu) * (len(drafts) / len(sides[0]))
    return told, spent


def _differences(found: dict[str, list[Any]], told: dict[str, Any], count: int, pairs: int) -> Iterable[float]:
    """Yield how far each of our scores is from the official one."""
    from wetread.metrics import radcliq
    from wetread.metrics.chexbert import LABELS, LABELS_5, accuracy, class_report

    step = max(1, count // pairs)
    if "chexbert_f1" in told:
        official = told["chexbert_f1"]
        for name, key, labels in (("14_micro", "14", LABELS), ("5_micro", "5", LABELS_5)):
            scores = found[f"chexbert_f1_{name}"][::step]
            report = class_report(scores, labels)
            yield from (abs((row["f1"] or 0.0) - official[key][label]) for label, row in report.items())
        yield abs((accuracy(scores) or 0.0) - official["accuracy"])
    for name in set(told) & set(found):
        own = found[name] if name == "bertscore" else found[name][::step]
        yield from (abs(score.value - value) for score, value in zip(own, told[name], strict=True))
    if "radcliq_v1" in found and told:
        named = dict(zip(radcliq.PARTS, ("radgraph_combined", "bertscore", "semb_score", "bleu_2"), strict=True))
        columns = [told[one] if one != "bertscore" else told[one][::step] for one in named.values()]
        for score, *row in zip(found["radcliq_v1"][::step], *columns, strict=True):
            yield abs(score.value - radcliq.V1.value(row))


def halved(name: str, fp32: Side, supply: Supply, given: argparse.Namespace) -> tuple[Outcome, list[str]]:
    """Time bfloat16 against float32 on distinct drafts, and say how far the scores move."""
    part, half = PARTS[name], Side(fp32.weights, "bf16")
    outcome = Outcome(f"{name}, distinct, bf16", given.drafts)
    moved: dict[str, list[float]] = {}
    flipped = labels = 0
    for number in range(given.rounds + 1):
        drafts, references = work(supply, "distinct", supply.take(given.references), given.drafts)
        found = {}
        for side, spent in ((fp32, outcome.theirs), (half, outcome.ours)):
            found[side.precision], took = spend(partial(side.scores, part.ours, drafts, references))
            if number:
                spent.append(took)
        for metric, scores in found["fp32"].items():
            moved.setdefault(metric, []).extend(
                abs(one.value - other.value) for one, other in zip(scores, found["bf16"][metric], strict=True)
            )
        if part.encoders == ("chexbert",):
            texts = [report.text for report in dict.fromkeys([*drafts, *references])]
            flips, all_of_them = _flips(texts, fp32.weights)
            flipped, labels = flipped + flips, labels + all_of_them
    lines = [
        f"  {metric}: max |difference| {max(values):.2g}, mean {statistics.fmean(values):.2g}, {len(values)} scores"
        for metric, values in moved.items()
    ]
    if labels:
        lines.append(f"  CheXbert classes that differ: {flipped} of {labels}")
    return outcome, lines


def _flips(texts: Sequence[str], weights: Path) -> tuple[int, int]:
    from wetread.metrics.chexbert import features

    sides = [features(texts, weights, precision) for precision in ("fp32", "bf16")]
    pairs = [(one["classes"], other["classes"]) for one, other in zip(*sides, strict=True)]
    return sum(int((one != other).sum()) for one, other in pairs), sum(one.size for one, _ in pairs)


def show(outcome: Outcome) -> None:
    """Print one comparison with the official code."""
    if outcome.theirs:
        verdict = "equal" if outcome.difference <= TOLERANCE else "NOT EQUAL"
        print(f"{outcome.pair('wall').line()}\n{outcome.pair('cpu').line()}")
        print(f"  scores {verdict}: largest difference {outcome.difference:.1g}")
    else:
        rate = statistics.median(outcome.pairs / one.wall for one in outcome.ours)
        print(f"{outcome.name}: {rate:.1f} pairs/s (official code left out)")
    low, middle, high = min(outcome.shares), statistics.median(outcome.shares), max(outcome.shares)
    print(
        f"  the metric as a whole runs at a share of the bare products' rate of: {middle:.0%} ({low:.0%} to {high:.0%})",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    given = _arguments()
    cache = tempfile.TemporaryDirectory()
    os.environ["WETREAD_CACHE"] = str(Path(cache.name) / "features.sqlite")
    import checkpoints
    import torch

    torch.set_num_threads(given.threads)
    supply = Supply(given.seed)
    checkpoints.base(given.work, [report.text for report in Supply(1).take(400)], given.seed, small=given.quick)
    place = checkpoints.lay_out(given.work)
    python = client.make(given.make_official) if given.make_official else given.official
    ours = Side(given.work / "weights")
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {given.threads} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, seed {given.seed}, {time.strftime('%Y-%m-%d')}; "
        f"{given.drafts} drafts, {given.references} references; random weights{', small' if given.quick else ''}"
    )
    for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in operations.matrix_rates(dtype).items())
        print(f"matrix products, GFLOP a processor second, {kind}: {rates}")
    asked: client.Official | None = None
    if python:
        asked = client.Official(python, place, given.threads).__enter__()
        print(f"official code: {python}; of its one-by-one metrics {given.pairs} of {given.drafts} pairs a round")
    else:
        print("official code: left out; name its interpreter with --official or make one with --make-official")
    for name in given.only:
        for case in CASES:
            if "speed" in given.what:
                show(compare(name, case, ours, asked, supply, given))
    for name in given.only:
        if "bf16" in given.what:
            outcome, lines = halved(name, ours, supply, given)
            print(
                outcome.pair("wall", "our fp32").line(),
                outcome.pair("cpu", "our fp32").line(),
                *lines,
                sep="\n",
                flush=True,
            )
    if asked is not None:
        asked.__exit__()
    cache.cleanup()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wetread" / "bench"
    path = partial(parser.add_argument, type=Path)
    path("--official", metavar="PYTHON", help="interpreter of an environment with bench/official/requirements.txt")
    path("--make-official", metavar="FOLDER", help="make that environment here, when it is not there")
    path("--work", metavar="FOLDER", help="where the random weights lie, 2.5 GB; made once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts only")
    parser.add_argument("--what", nargs="+", choices=("speed", "bf16"), default=["speed", "bf16"])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds")
    parser.add_argument(
        "--pairs", type=int, default=32, help="pairs a round for what the official code does one by one"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small weights, few pairs, one round: does it run?")
    given = parser.parse_args()
    given.drafts, given.references = (32, 4) if given.quick else (DRAFTS, REFERENCES)
    given.work = given.work or home / ("small" if given.quick else "base")
    if given.quick:
        given.rounds, given.pairs = 1, 8
    return given


if __name__ == "__main__":
    main()
