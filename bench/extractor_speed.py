"""How fast reports are read: reports a second on one core, beside medspaCy with the same terms, and a GRPO batch of differences.

    python bench/extractor_speed.py DATA                          # ours, and the GRPO batch
    python bench/extractor_speed.py DATA --medspacy FOLDER        # beside medspaCy, in turn, in one run

Seconds are processor seconds of one core (one thread), so that other work on the machine counts less. DATA is the Open-i folder of `bench/extractor.py`. medspaCy clashes with wetread's own dependencies, so it gets an
environment of its own: FOLDER is made and filled by pip when it is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import extractor

_WORKER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import medspacy
from medspacy.ner import TargetRule
given = json.load(sys.stdin)
nlp = medspacy.load(medspacy_enable=["medspacy_pyrush", "medspacy_target_matcher", "medspacy_context"])
nlp.get_pipe("medspacy_target_matcher").add([TargetRule(term, name.upper()) for name, term in given["terms"]])
for text in given["texts"][:20]:
    nlp(text)
start = time.process_time()
count = sum(len(doc.ents) for doc in nlp.pipe(given["texts"]))
print(json.dumps([time.process_time() - start, count, medspacy.__version__ if hasattr(medspacy, "__version__") else "?"]))
"""
_OURS = """
import json, sys, time
from wetread.knowledge import extract
given = json.load(sys.stdin)
extract("Left effusion.")
start = time.process_time()
count = sum(len(extract(text)) for text in given["texts"])
print(json.dumps([time.process_time() - start, count]))
"""


def timed(python: Path | str, code: str, given: dict[str, object]) -> list[float]:
    """Run a worker in a fresh process on one core and return what it prints: seconds, findings."""
    env = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    done = subprocess.run(
        [str(python), "-c", code], input=json.dumps(given), capture_output=True, text=True, check=True, env=env
    )
    return list(json.loads(done.stdout.strip().splitlines()[-1]))


def environment(folder: Path) -> Path:
    """Return the interpreter of medspaCy's own environment; made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run([str(python), "-c", "import medspacy"], capture_output=True, check=False).returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "medspacy"], check=True)
    return python


def grpo_batch(texts: list[str]) -> float:
    """Return the milliseconds that the differences of 256 fresh drafts from 16 references take."""
    from wetread.knowledge import differences, extract

    references, drafts = texts[:16], texts[16:272]
    extract("Left effusion.")
    start = time.process_time()
    truths = [extract(text) for text in references]
    for place, text in enumerate(drafts):
        differences(truths[place // 16], extract(text))
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--medspacy", type=Path, metavar="FOLDER", help="environment of medspaCy; made when absent")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    from wetread.knowledge import load
    from wetread.knowledge.text import expand

    texts = [report.text for report in extractor.read(given.data)[0].values()]
    terms = [
        (spec.name, " ".join(words))
        for spec in load().findings.values()
        for term in spec.terms
        for words in expand(term)
        if "~" not in words
    ]
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    python = environment(given.medspacy) if given.medspacy else None
    sample = texts[:: max(1, len(texts) // 300)]
    rates, others, batches = [], [], []
    for number in range(given.rounds):
        rates.append(len(texts) / timed(sys.executable, _OURS, {"texts": texts})[0])
        if python is not None:
            others.append(len(sample) / timed(python, _WORKER, {"texts": sample, "terms": terms})[0])
        batches.append(grpo_batch(texts[272 * number :]))
    print(
        f"reading: {statistics.median(rates):.0f} reports/s on one core (median of {given.rounds}, least {min(rates):.0f})"
    )
    if others:
        ratios = [ours / theirs for ours, theirs in zip(rates, others, strict=True)]
        print(
            f"medspaCy with the same {len(terms)} terms: {statistics.median(others):.0f} reports/s on {len(sample)} of them; "
            f"ours is {statistics.median(ratios):.0f} times as fast (pairs: {', '.join(f'{one:.0f}' for one in ratios)})"
        )
    print(f"GRPO batch (256 drafts, 16 references): {statistics.median(batches):.0f} ms (most {max(batches):.0f})")


if __name__ == "__main__":
    main()
