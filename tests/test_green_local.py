"""The local GREEN judge on a tiny random language model: what it does with texts, weights and prompts, not what it says."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from wetread import metrics
from wetread.errors import MissingError
from wetread.metrics.encoder import opened
from wetread.metrics.judges import Unreadable, client
from wetread.metrics.neural import green as local
from wetread.records import Report

REFERENCE = Report("Small left pleural effusion. No pneumothorax.")
GOOD = """[Explanation]:
One is missing.

[Clinically Significant Errors]:
(a) x: 0.
(b) x: 1. effusion
(c) x: 0.
(d) x: 0.
(e) x: 0.
(f) x: 0.

[Clinically Insignificant Errors]:
None.

[Matched Findings]:
3. a; b; c"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A weights folder with a model of one layer that reads bytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "green"
    words = {"</s>": 0, "?": 1} | {chr(33 + n): n + 2 for n in range(94)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="?").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=96, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=4000, eos_token_id=0, bos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder.parent


@pytest.fixture
def weights(made, tmp_path, monkeypatch):
    """A copy of it that a test may spoil."""
    for name in (client.URL, client.MODEL, "WETREAD_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WETREAD_CACHE", "off")
    monkeypatch.setattr(local, "NEW_TOKENS", 8)
    (tmp_path / "green").mkdir()
    for file in (made / "green").iterdir():
        (tmp_path / "green" / file.name).write_bytes(file.read_bytes())
    opened.cache_clear()
    return tmp_path


def test_what_a_random_model_says_is_not_scored(weights):
    entry = pickle.loads(pickle.dumps(metrics.get("green", weights=weights)))
    drafts = [Report("Clear."), Report(), Report("word " * 10_000), Report("a \0 b"), Report("Clear.")]
    scores = entry(drafts, [REFERENCE, REFERENCE, REFERENCE, Report(), REFERENCE])
    assert [score.value for score in scores] == [None, 0.0, None, None, None]
    assert "cut off" in scores[0].reason or "missing" in scores[0].reason
    assert "tokens long" in scores[2].reason and "reference" in scores[3].reason
    assert scores[4] == scores[0] == entry([Report("Clear.")], [REFERENCE])[0]


def test_what_it_says_is_read_once_for_each_pair(weights, monkeypatch):
    asked = []

    def answer(self, text):
        asked.append(text)
        if "Bad" in text:
            raise Unreadable("bad")
        return GOOD

    monkeypatch.setattr(local.LocalJudge, "_answer", answer)
    monkeypatch.setenv("WETREAD_CACHE", str(weights / "cache.sqlite"))
    monkeypatch.setenv("WETREAD_WEIGHTS", str(weights))
    drafts = [Report("Fine."), Report("Bad."), Report("Fine.")]
    scores = metrics.get("green")(drafts, [REFERENCE] * 3)
    assert [score.value for score in scores] == [0.75, None, 0.75] and scores[1].reason == "bad"
    assert scores[0].counts["significant:omitted_finding"] == 1.0
    assert scores[0].counts is not scores[2].counts
    opened.cache_clear()
    assert metrics.get("green")(drafts, [REFERENCE] * 3) == scores
    assert len(asked) == 2


def test_the_question_is_in_the_models_own_form(weights):
    judge = local.build(weights / "green")
    text = judge.tokenizer.decode(judge._ids('["Draft.", "Reference."]')).replace(" ", "")
    assert text.startswith("<|user|>") and "Draft." in text and "Reference." in text
    assert text.rstrip("?").endswith("</s>?<|assistant|>")


def test_another_prompt_may_lie_beside_the_weights(weights):
    ours = local.build(weights / "green").signature
    (weights / "green" / "prompt.txt").write_text("Compare {reference} with {draft}!")
    theirs = local.build(weights / "green")
    assert theirs.signature != ours
    assert "ComparebwithaX" in theirs.tokenizer.decode(theirs._ids('["a", "b"]')).replace(" ", "").replace(
        "!", "X"
    ).replace("?", "")
    (weights / "green" / "prompt.txt").write_text("Compare {reference}!")
    with pytest.raises(MissingError, match="draft"):
        local.build(weights / "green")


@pytest.mark.parametrize("kind", ["missing", "extra", "cut off", "no config", "no weights"])
def test_weights_that_are_not_whole_are_refused_by_name(weights, kind):
    file = weights / "green" / "model.safetensors"
    state = load_file(file)
    if kind == "missing":
        state.pop("model.norm.weight")
        save_file(state, file, {"format": "pt"})
    elif kind == "extra":
        save_file(state | {"model.other.weight": torch.zeros(2)}, file, {"format": "pt"})
    elif kind == "cut off":
        file.write_bytes(file.read_bytes()[:500])
    elif kind == "no weights":
        file.unlink()
    else:
        (weights / "green" / "config.json").unlink()
    with pytest.raises(MissingError) as caught:
        metrics.get("green", weights=weights)([Report("Clear.")], [REFERENCE])
    message = str(caught.value)
    named = {"missing": "model.norm.weight", "extra": "model.other.weight", "no config": "config.json"}
    assert named.get(kind, "green") in message and "\n" not in message
