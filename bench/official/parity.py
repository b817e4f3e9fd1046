"""Parity beyond stored outputs: the official code, run beside ours on random checkpoints of many shapes and on odd texts.

    python bench/official/parity.py --official FOLDER/bin/python --rounds 6 --seed 100

Each round draws another checkpoint of every metric: sizes, heads, vocabularies, prefixes of the names, spans, segments. The texts
are phantom reports and whatever breaks readers: nothing but punctuation, over 512 tokens, other scripts, controls, NUL, names of
special tokens, and random mixtures of these. Labels, entities and relations must be equal, scores within 1e-5. What differs is
printed with its text. Left out is what is settled otherwise and said so in the metrics: texts without a word, on which the
``radgraph`` package stops or which it reads as the word "None".
"""

from __future__ import annotations

import argparse
import math
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import checkpoints
import client
from metrics_speed import Supply

TOLERANCE = 1e-5
ODD = (
    "", " ", "\n\t ", ".", "...", "?!,;:", "a", "No.", "None", "nan", "EDEMA AND EFFUSION.", "no effusion no effusion no effusion",
    "Left\x00 effusion\x00.", "\x00", "\x7f\x01\x02 edema", "Zero\u200bwidth \u00adsoft\ufeff hyphen", "e\u0301panchement pleural droit.",
    "épanchement à droite, cœur normal", "İSTANBUL ẞ ﬁbrosis ΑΣ", "胸部X线片未见异常。", "Лёгкие без очаговых изменений.", "قلب طبيعي ١٢٣",
    "심장 크기 정상", "5 µm ± 0.3 × 2–3 cm — “mild” ‘old’ …", "🫁 clear 👍🏽", "𝐇𝐞𝐚𝐫𝐭 size", "[CLS] heart [SEP] size [MASK] [PAD] [UNK]",
    "<s> heart </s> <mask> <pad> <unk>", "[sep] ##ing ##e", "x" * 99, "x" * 101 + " effusion", "a/b (3.5cm) 50%. 'ok'. 12:30,", "/. /? . / ?",
    "line one.\\nline two \\f \\u2122 \\\"quoted\\\"", "tab\tnew\nline\r\nform\x0cfeed\x1csep\x85nel\u2028ls\u3000wide", "word" * 60,
    "No pneumothorax.\u00a0No effusion.", "ö" * 40, "---- ____ ====", "1 2 3 4 5 6 7 8 9 10", "(((left))) [lung] {x}", "ﷺ ½ ² Ⅳ",
)  # fmt: skip
"""Texts that break readers."""


def texts(seed: int) -> list[str]:
    """Return the texts of a round."""
    rng = random.Random(seed)
    plain = [report.text for report in Supply(seed).take(20)]
    long = [" ".join(rng.sample(plain, 14)), "no effusion " * 300, "pneumothorax" * 50 + " seen. " * 250]
    pieces = [piece for text in (*ODD, *plain[:6]) for piece in re.findall(r"\s+|\S{1,12}", text)]
    mixed = ["".join(rng.choice(pieces) for _ in range(rng.randint(2, 25))) for _ in range(40)]
    return [*plain, *ODD, *long, *mixed]


def make(folder: Path, seed: int) -> str:
    """Write one checkpoint of each metric, of a shape that the seed draws, and return what it is."""
    rng = random.Random(seed)
    weights = folder / "weights"
    for name in ("chexbert", "radgraph", "bertscore"):
        (weights / name).mkdir(parents=True)
    samples = [report.text for report in Supply(1).take(200)]

    def size(layers: tuple[int, int], positions: int = 512) -> checkpoints.Size:
        heads = rng.choice((1, 2, 3, 4, 8))
        return checkpoints.Size(
            heads * rng.choice((4, 8, 12)), rng.randint(*layers), heads, rng.choice((30, 64, 144)),
            rng.choice((900, 2500)), positions, rng.choice((0.5, 1.0, 3.0)), rng.choice((0.3, 0.8, 1.0)),
        )  # fmt: skip

    prefix, old, bert = rng.choice(("module.", "")), rng.random() < 0.5, size((1, 4))
    checkpoints.chexbert(weights / "chexbert", bert, samples, seed, prefix=prefix, position_ids=old)
    told = [f"chexbert {bert} prefix {prefix!r} position_ids {old}"]
    for place, name in enumerate(checkpoints.ENCODERS):
        bert = size((1, 3))
        spans = checkpoints.Spans(
            rng.choice((1, 4, 8, 12)), rng.choice((6, 30, 70)), rng.choice((1, 2, 3)), rng.choice((1, 20)),
            rng.choice((0.1, 0.5, 1.0)), rng.choice((0.02, 0.06, 0.15)), rng.choice((0.05, 0.3)),
            rng.choice((512, 512, 128, 40)),
        )  # fmt: skip
        checkpoints.radgraph(weights / "radgraph", name, bert, samples, seed + place + 1, spans)
        told.append(f"{name} {bert} {spans}")
    roberta, prefix = size((5, 7), 514), rng.choice(("roberta.", ""))
    checkpoints.distilroberta(weights / "bertscore" / "distilroberta-base", roberta, samples, seed, prefix=prefix)
    return "\n  ".join([*told, f"bertscore {roberta} prefix {prefix!r}"])


class Tally:
    """What was compared and what differed."""

    def __init__(self) -> None:
        self.compared: dict[str, int] = {}
        self.differ: dict[str, list[str]] = {}
        self.largest: dict[str, float] = {}
        self.stops: dict[str, list[str]] = {}

    def exact(self, what: str, said: Sequence[str], ours: Iterable[Any], theirs: Iterable[Any]) -> None:
        """Compare values that must be equal."""
        for text, one, other in zip(said, ours, theirs, strict=True):
            self.compared[what] = self.compared.get(what, 0) + 1
            if one != other:
                self.differ.setdefault(what, []).append(f"{text[:160]!r}: ours {one}, official {other}"[:700])

    def near(self, what: str, said: Sequence[str], ours: Iterable[float], theirs: Iterable[float]) -> None:
        """Compare scores."""
        for text, one, other in zip(said, ours, theirs, strict=True):
            self.compared[what] = self.compared.get(what, 0) + 1
            if math.isnan(one) and math.isnan(other):
                continue
            self.largest[what] = max(self.largest.get(what, 0.0), abs(one - other))
            if not abs(one - other) <= TOLERANCE:
                self.differ.setdefault(what, []).append(f"{text[:300]!r}: ours {one}, official {other}")


def check_chexbert(weights: Path, official: Callable[..., Any], said: Sequence[str], tally: Tally) -> None:
    """Compare labels, their F1 and SembScore."""
    from wetread.metrics import semb
    from wetread.metrics.chexbert import F1_5_MICRO, F1_14_MICRO, LABELS, LABELS_5, accuracy, class_report, features

    others = [*said[7:], *said[:7]]
    pairs = [f"{one} | {other}" for one, other in zip(said, others, strict=True)]
    ours = (found["classes"].tolist() for found in features(said, weights))
    tally.exact("chexbert labels", said, ours, official("labels", texts=said))
    theirs = official("semb_score", drafts=said, references=others)
    tally.near("semb_score", pairs, semb.cosines(said, others, weights), theirs)
    told = official("chexbert_f1", drafts=said, references=others)
    for entry, labels, key in ((F1_14_MICRO, LABELS, "14"), (F1_5_MICRO, LABELS_5, "5")):
        scores = entry.function.texts(said, others, weights)  # type: ignore[attr-defined]
        report = {name: row["f1"] or 0.0 for name, row in class_report(scores, labels).items()}
        tally.near(f"chexbert F1 {key}", list(report), report.values(), [told[key][name] for name in report])
    tally.near("chexbert accuracy", ["all"], [accuracy(scores) or 0.0], [told["accuracy"]])


def check_radgraph(weights: Path, official: Callable[..., Any], said: Sequence[str], tally: Tally, name: str) -> None:
    """Compare the annotations by one checkpoint, and the three levels of short texts."""
    from wetread.metrics import graphs
    from wetread.metrics.radgraph import annotate

    worded = [text for text in said if text.strip()]
    theirs = dict(zip(worded, official("annotations", texts=worded, model=name), strict=True))
    ours = dict(zip(worded, annotate(worded, name, weights=weights), strict=True))
    for text, one in theirs.items():
        if isinstance(one, str):
            tally.stops.setdefault(name, []).append(f"{text[:160]!r}: {one}")
    kept = [text for text, one in theirs.items() if not isinstance(one, str)]
    tally.exact(f"{name} annotations", kept, (ours[text] for text in kept), (theirs[text] for text in kept))
    rows = [theirs[text]["entities"].values() for text in kept]
    links = sum(len(row["relations"]) for some in rows for row in some)
    print(f"  {name}: {sum(map(len, rows)) / len(kept):.1f} entities and {links / len(kept):.1f} relations a text")
    short = [text for text in kept if len(text) < 400]
    others = [*short[3:], *short[:3]]
    known = {text: graphs.Graph.from_annotation(ours[text]) for text in short}
    levels = official("radgraph_levels", drafts=short, references=others, model=name)
    for place, facet in enumerate(graphs.LEVELS.values()):
        sets = {text: facet(graph, False) for text, graph in known.items()}
        own = [graphs.f1(graphs.overlap(sets[one], sets[other])) for one, other in zip(short, others, strict=True)]
        tally.near(f"{name} levels", short, own, [row[place] for row in levels])


def check_bertscore(weights: Path, official: Callable[..., Any], said: Sequence[str], tally: Tally) -> None:
    """Compare precision, recall and F before rescaling."""
    from wetread.metrics import bertscore
    from wetread.metrics.neural import bertscore as network

    worded = [text for text in said if text.strip()]
    pairs = list(zip(worded, [*worded[7:], *worded[:7]], strict=True))
    scorer = network.PairScorer(network.Distilroberta(bertscore.find_weights(weights)))
    ours, (drafts, references) = scorer(pairs), zip(*pairs, strict=True)
    theirs = official("bertscore_raw", drafts=drafts, references=references)
    for place, side in enumerate("PRF"):
        columns = ([row[place] for row in rows] for rows in (ours, theirs))
        tally.near(f"bertscore {side}", [f"{one} | {other}" for one, other in pairs], *columns)


def check(folder: Path, official: Callable[..., Any], seed: int, tally: Tally) -> None:
    """Compare everything on the checkpoints of ``folder``."""
    said = [text for text in texts(seed) if text.encode("utf-8", "ignore").decode() == text]
    check_chexbert(folder / "weights", official, said, tally)
    for name in checkpoints.ENCODERS:
        check_radgraph(folder / "weights", official, said, tally, name)
    check_bertscore(folder / "weights", official, said, tally)


def main() -> None:
    """Run the rounds and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=100)
    given = parser.parse_args()
    os.environ["WETREAD_CACHE"] = "off"
    import torch

    torch.set_num_threads(1)
    tally = Tally()
    for seed in range(given.seed, given.seed + given.rounds * 10, 10):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            print(f"seed {seed}\n  {make(folder, seed)}", flush=True)
            with client.Official(given.official, checkpoints.lay_out(folder), 1) as official:
                check(folder, official, seed, tally)
    for what, count in tally.compared.items():
        far = f", largest difference {tally.largest[what]:.1g}" if what in tally.largest else ""
        print(f"{what}: {count} compared, {len(tally.differ.get(what, []))} differ{far}")
    for what, rows in tally.differ.items():
        print(f"\n{what}: {len(rows)}", *rows[:12], sep="\n  ")
    for name, rows in tally.stops.items():
        print(f"\nthe official code stops ({name}): {len(rows)}", *sorted(set(rows))[:12], sep="\n  ")


if __name__ == "__main__":
    main()
