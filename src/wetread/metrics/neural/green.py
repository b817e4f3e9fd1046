"""The published GREEN judge run on this machine: a causal language model in ``green/`` of the weights folder.

Each distinct pair is answered once, greedily and alone: a batch with padding could change a token, and then a count.
For many pairs serve the same folder with vLLM and name it as the endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wetread.errors import MissingError
from wetread.metrics.cache import Features
from wetread.metrics.encoder import opened
from wetread.metrics.entry import check_lengths
from wetread.metrics.judges.green import NOTHING, RUBRIC
from wetread.metrics.judges.judging import EMPTY_REFERENCE, Rubric, Unreadable, Verdict, read_answer
from wetread.metrics.neural.packed import check_finite
from wetread.metrics.weights import Precision, WeightsSpec, fingerprint, locate
from wetread.records import Report, Score

SPEC = WeightsSpec(
    "GREEN", "green", ("config.json",), "StanfordAIMI/GREEN-radllama2-7b", gate="Its licence is that of Llama 2"
)
PROMPT_FILE = "prompt.txt"
"""File beside the weights with another prompt than ours; ``{reference}`` and ``{draft}`` are where the texts go."""
NEW_TOKENS = 1024
"""Limit of an answer; the published form with a dozen findings takes about 400."""
_REASON = "reason"
_SMALL = (".json", ".txt", ".model", ".jinja")


def score(weights: Path, drafts: Sequence[Report], references: Sequence[Report]) -> list[Score]:
    """Judge drafts against references by the model in ``green/`` of ``weights``.

    The policy for empty reports is that of ``judge``. ``MissingError`` when there is no whole model.
    """
    check_lengths(drafts, references)
    where = locate(SPEC, weights)
    pairs = [(draft.text, reference.text) for draft, reference in zip(drafts, references, strict=True)]
    left = list(dict.fromkeys(pair for pair in pairs if all(pair)))
    found: dict[tuple[str, str], Score] = {}
    if left:
        encoder = opened(build, where, "bf16")
        for pair, features in zip(left, encoder([json.dumps(pair) for pair in left]), strict=True):
            found[pair] = _score(features)
    scores = []
    for pair in pairs:
        if pair in found:
            scores.append(replace(found[pair], counts=dict(found[pair].counts)))
        elif not pair[1]:
            scores.append(Score(RUBRIC.metric, None, EMPTY_REFERENCE))
        else:
            scores.append(Score(RUBRIC.metric, NOTHING.value, counts=dict(NOTHING.counts)))
    return scores


def files(weights: Path) -> list[Path]:
    """Return the files that the model in ``green/`` of ``weights`` is read from, a prompt of its own among them."""
    return _files(locate(SPEC, weights))


def _files(where: Path) -> list[Path]:
    kinds = (".safetensors",) if any(where.glob("*.safetensors")) else (".bin",)
    return [path for path in where.iterdir() if path.suffix in (*kinds, *_SMALL) and path.is_file()]


def build(where: Path, precision: Precision = "bf16") -> LocalJudge:
    """Return the judge in a folder, with our prompt or the one that lies beside the weights; always in bfloat16, as published."""
    file = where / PROMPT_FILE
    if not file.is_file():
        return LocalJudge(RUBRIC, where)
    text = file.read_text("utf-8")
    lacking = [blank for blank in ("{reference}", "{draft}") if blank not in text]
    if lacking:
        raise MissingError(f"GREEN: {file} has no {' and no '.join(lacking)}; put them where the texts go.")
    return LocalJudge(replace(RUBRIC, system="", user=text), where)


class LocalJudge:
    """The model as an encoder of pairs: a text is the JSON of (draft, reference), its features are what was read."""

    def __init__(self, rubric: Rubric, where: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.rubric = rubric
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(where)
            loaded: Any = AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16, output_loading_info=True)
        except Exception as error:  # absent, cut off or of another kind: the loaders raise a dozen kinds
            what = " ".join(str(error).split())[:200]
            raise MissingError(f"GREEN: {where} cannot be loaded ({type(error).__name__}: {what}).") from error
        model, info = loaded
        _refuse(where, info)
        check_finite(model.state_dict(), f"GREEN: {where}")
        self.model: Any = model.to(self.device).eval()
        self.signature = f"{rubric.signature}|{fingerprint(_files(where))}|bf16 on {self.device.type}|{NEW_TOKENS}"

    def length(self, text: str) -> int:
        """Return the tokens of the question."""
        return len(self._ids(text))

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return what was read from each answer."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Features:
        try:
            return _to_features(read_answer(self.rubric, self._answer(text)))
        except Unreadable as error:
            return {_REASON: np.frombuffer(str(error).encode(), dtype=np.uint8)}

    def _answer(self, text: str) -> str:
        ids = self._ids(text)
        room = int(getattr(self.model.config, "max_position_embeddings", 0) or len(ids) + NEW_TOKENS) - len(ids)
        if room < 1:
            raise Unreadable(f"the question is {len(ids)} tokens long, more than the judge can read")
        given = torch.tensor([ids], device=self.device)
        end = self.tokenizer.eos_token_id
        with torch.inference_mode():
            made = self.model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=min(room, NEW_TOKENS), do_sample=False,
                num_beams=1, eos_token_id=end, pad_token_id=end,
            )[0, len(ids) :].tolist()  # fmt: skip
        if end not in made:
            raise Unreadable("the answer was cut off at the limit of its length")
        return str(self.tokenizer.decode(made, skip_special_tokens=True))

    def _ids(self, text: str) -> list[int]:
        draft, reference = json.loads(text)
        question = "\n".join(turn["content"] for turn in self.rubric.messages(draft, reference))
        chat = f"<|user|>\n{question}{self.tokenizer.eos_token}\n<|assistant|>\n"
        return [int(token) for token in self.tokenizer(chat)["input_ids"]]


def _refuse(where: Path, info: Mapping[str, Any]) -> None:
    for what in ("missing_keys", "unexpected_keys"):
        names = sorted(str(name) for name in info.get(what) or ())
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise MissingError(f"GREEN: the weights in {where} have {what.replace('_', ' ')}: {shown}.")


def _to_features(verdict: Verdict) -> Features:
    return {
        "value": np.array([verdict.value]),
        **{f"count {name}": np.array([count], dtype=np.float64) for name, count in verdict.counts.items()},
    }


def _score(features: Features) -> Score:
    if _REASON in features:
        return Score(RUBRIC.metric, None, features[_REASON].tobytes().decode())
    counts = {name.removeprefix("count "): float(array[0]) for name, array in features.items() if name != "value"}
    return Score(RUBRIC.metric, float(features["value"][0]), counts=dict(sorted(counts.items())))
