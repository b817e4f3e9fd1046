"""The official code of the metrics with weights, in its own interpreter: one JSON line in, one JSON line out.

Started by ``bench/official/client.py`` in the folder that ``checkpoints.lay_out`` made. What comes in is ``{"do": NAME, …}``
with the texts; what goes out is what the official code returned, in plain numbers.

Three parts are not in any package that still installs, and are written here after what CXR-Report-Metric does: SembScore (a second
pass of its own copy of CheXbert, texts in order, 18 a batch, padded to the longest), RadGraph's combined F1 from annotations of
the ``radgraph`` package, and BLEU-2 of a sentence.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

warnings.filterwarnings("ignore")
SEMB_BATCH = 18
Texts = list[str]
_RADCLIQ = (  # radgraph_combined, bertscore, semb_score, bleu_2: mean, scale, coefficient
    (0.5379231241355762, 0.3028258411486429, -0.37708368261038905),
    (0.6175725628125001, 0.22430938459304575, -0.37030009974480316),
    (0.7647942121140658, 0.2539439110169773, -0.25261621789593225),
    (0.44738335396242174, 0.2989271671041838, 4.315048405024756e-12),
)
_INTERCEPT = 2.466552561323256e-10


@cache
def _radgraph(model: str) -> Any:
    from radgraph import F1RadGraph

    return F1RadGraph(reward_level="complete", model_type=model)


@cache
def _chexbert() -> Any:
    from f1chexbert import F1CheXbert

    return F1CheXbert()


@cache
def _semb_model() -> Any:
    from f1chexbert import F1CheXbert

    return F1CheXbert()  # a copy of its own, as CXR-Report-Metric loads one for SembScore


@cache
def _bertscorer() -> Any:
    from bert_score import BERTScorer

    return BERTScorer(model_type="distilroberta-base", num_layers=5, lang="en", rescale_with_baseline=True, idf=False)


def radgraph_complete(drafts: Texts, references: Texts) -> list[float]:
    """F1RadGraph of radgraph 0.1.18, level complete, radgraph-xl."""
    return [float(value) for value in _radgraph("radgraph-xl")(refs=references, hyps=drafts)[1]]


def chexbert_f1(drafts: Texts, references: Texts) -> dict[str, Any]:
    """F1CheXbert of f1chexbert 0.0.2: accuracy, per report, F1 by label and average of the 14 and of the 5."""
    accuracy, each, report, report_5 = _chexbert()(hyps=drafts, refs=references)
    tables = [{name: float(row["f1-score"]) for name, row in table.items()} for table in (report, report_5)]
    return {"accuracy": float(accuracy), "each": [float(one) for one in each], "14": tables[0], "5": tables[1]}


def semb_score(drafts: Texts, references: Texts) -> list[float]:
    """SembScore after CXR-Report-Metric: cosine of the [CLS] vectors of a second pass."""
    import torch

    sides = [_cls(texts) for texts in (drafts, references)]
    return [float(one) for one in torch.nn.functional.cosine_similarity(*sides, dim=1)]


def bertscore(drafts: Texts, references: Texts) -> list[float]:
    """bert_score 0.3.13 with ReXrank's settings: F1, rescaled."""
    return [float(one) for one in _bertscorer().score(_single_spaced(drafts), _single_spaced(references))[2]]


def radgraph_combined(drafts: Texts, references: Texts) -> list[float]:
    """Half entity F1, half relation F1, of annotations by the original checkpoint."""
    found = _radgraph("radgraph").radgraph([*drafts, *references])
    sets = [_facts(found[str(place)]) for place in range(2 * len(drafts))]
    pairs = zip(sets[: len(drafts)], sets[len(drafts) :], strict=True)
    return [sum(_f1(a, b) for a, b in zip(one, other, strict=True)) / 2 for one, other in pairs]


def bleu_2(drafts: Texts, references: Texts) -> list[float]:
    """Sentence BLEU-2 with ReXrank's tokens; a count of nothing becomes 0.1."""
    return [_bleu_2(_tokens(draft), _tokens(reference)) for draft, reference in zip(drafts, references, strict=True)]


def radcliq_v1(drafts: Texts, references: Texts) -> list[float]:
    """RadCliQ-v1 as a whole, from all four parts."""
    parts = [part(drafts, references) for part in (radgraph_combined, bertscore, semb_score, bleu_2)]
    return [
        _INTERCEPT
        + sum(weight * (value - mean) / scale for value, (mean, scale, weight) in zip(row, _RADCLIQ, strict=True))
        for row in zip(*parts, strict=True)
    ]


def labels(texts: Texts) -> list[list[int]]:
    """The 14 classes of each text: 0 blank, 1 positive, 2 negative, 3 uncertain."""
    told = {"": 0, 1: 1, 0: 2, -1: 3}
    return [[told[one] for one in _chexbert().get_label(text.strip(), mode="classification")] for text in texts]


def radgraph_levels(drafts: Texts, references: Texts, model: str) -> list[list[float]]:
    """F1RadGraph's simple, partial and complete of each pair."""
    owner = _radgraph(model)
    owner.reward_level = "all"
    values = owner(refs=references, hyps=drafts)[1]
    owner.reward_level = "complete"
    return [[float(value) for value in row] for row in zip(*values, strict=True)]


def bertscore_raw(drafts: Texts, references: Texts) -> list[list[float]]:
    """bert_score's precision, recall and F before rescaling, each pair in a batch of its own."""
    scorer = _bertscorer()
    scorer._rescale_with_baseline = False
    pairs = zip(_single_spaced(drafts), _single_spaced(references), strict=True)
    rows = [[float(one) for one in scorer.score([draft], [reference])] for draft, reference in pairs]
    scorer._rescale_with_baseline = True
    return rows


def annotations(texts: Texts, model: str) -> list[Any]:
    """What the ``radgraph`` package says of each text; a text on which it stops gives the error's name."""
    found: list[Any] = []
    for text in texts:
        try:
            found.append(_radgraph(model).radgraph([text])["0"])
        except Exception as error:  # what the package raises on odd texts is what is asked for
            found.append(type(error).__name__)
    return found


def _single_spaced(texts: Texts) -> Texts:
    return [re.sub(" +", " ", text) for text in texts]


def _cls(texts: Sequence[str]) -> Any:
    import pandas as pd
    import torch
    from f1chexbert.f1chexbert import generate_attention_masks, tokenize

    owner = _semb_model()
    rows = tokenize(pd.Series(list(texts)), owner.tokenizer)
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), SEMB_BATCH):
            part = [torch.LongTensor(row) for row in rows[start : start + SEMB_BATCH]]
            batch = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=0)
            mask = generate_attention_masks(batch, [len(row) for row in part], owner.device)
            found.append(owner.model.bert(batch, attention_mask=mask)[0][:, 0])
    return torch.cat(found)


def _facts(annotation: Any) -> tuple[set[Any], set[Any]]:
    rows = annotation["entities"]
    named = {key: (row["tokens"], row["label"]) for key, row in rows.items()}
    links = {(named[key], named[to], kind) for key, row in rows.items() for kind, to in row["relations"]}
    return set(named.values()), links


def _f1(draft: set[Any], reference: set[Any]) -> float:
    total = len(draft) + len(reference)
    return 2 * len(draft & reference) / total if total else 0.0


def _tokens(text: str) -> Texts:
    return [one for one in text.lower().replace(".", " .").split(" ") if one]


def _bleu_2(draft: Texts, reference: Texts) -> float:
    product = 1.0
    for size in (1, 2):
        grams, others = (
            Counter(tuple(side[at : at + size]) for at in range(len(side) - size + 1)) for side in (draft, reference)
        )
        total = sum(grams.values())
        if not total:
            return 0.0
        product *= (sum((grams & others).values()) or 0.1) / total
    short = math.exp(1 - len(reference) / len(draft)) if len(draft) < len(reference) else 1.0
    return short * math.sqrt(product)


WORK: dict[str, Callable[..., Any]] = {
    work.__name__: work
    for work in (
        radgraph_complete, chexbert_f1, semb_score, bertscore, radgraph_combined, bleu_2, radcliq_v1, radgraph_levels, bertscore_raw,
        labels, annotations,
    )
}  # fmt: skip


def main() -> None:
    """Answer lines until there are no more."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the packages print; what they say is no answer
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.process_time()
        try:
            answer = {"answer": WORK[asked.pop("do")](**asked)}
        except Exception as error:  # told to the other side, which knows what to do with it
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps({**answer, "cpu": time.process_time() - start}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
