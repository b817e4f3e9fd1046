"""Models: one protocol, and one clear line for what is not a model."""

import json

import pytest

from wetread.errors import MissingError, UsageError
from wetread.models import NORMAL, TemplateModel, open_model
from wetread.models.tiny import TinyConfig, build_model, build_processor, build_tokenizer
from wetread.models.transformers import TransformersModel, encode, pick_device
from wetread.prompts.direct import STYLE
from wetread.records import Image, Report, Sampling, Study
from wetread.studies import phantom

SHAPE = TinyConfig(64, 40, 0, 64, 1, 600, 512)


@pytest.fixture(scope="module")
def tiny():
    tokenizer = build_tokenizer(["Findings: The lungs are clear. Impression: Normal chest."] * 3, SHAPE)
    return TransformersModel(build_model(tokenizer, SHAPE, seed=1).eval(), build_processor(tokenizer, SHAPE), "tiny")


@pytest.fixture(scope="module")
def prompts():
    return [STYLE.render(study) for study in phantom.generate(5, seed=2, size=64)]


def test_template_answers_everything():
    study = Study("s", (Image("a.png"),))
    (one,) = open_model("template").generate([STYLE.render(study)], Sampling())
    assert STYLE.parse(one).report == NORMAL
    report = Report("Clear.", "")
    assert STYLE.parse(TemplateModel(report).generate([STYLE.render(study)], Sampling())[0]).report == report


def test_any_text_can_be_encoded(tiny):
    text = "Zürich 1.5 cm, ½ 肺 \u0007"
    assert tiny.tokenizer.decode(tiny.tokenizer.encode(text, add_special_tokens=False)) == text


def test_what_the_model_sees_does_not_depend_on_the_batch(tiny, prompts):
    import torch

    with torch.inference_mode():
        together = tiny.model(**encode(tiny.processor, prompts)).logits[:, -1]
        for row, prompt in zip(together, prompts, strict=True):
            alone = tiny.model(**encode(tiny.processor, [prompt])).logits[0, -1]
            assert torch.allclose(row, alone, atol=1e-4)


def test_every_prompt_gets_its_answer_in_order(tiny, prompts):
    made = tiny.generate(prompts, Sampling(batch_size=2, max_new_tokens=12))
    assert [one.study for one in made] == [prompt.study for prompt in prompts]
    assert all(one.tokens <= 12 for one in made)


def test_sampling_follows_its_seed(tiny, prompts):
    first = tiny.generate(prompts, Sampling(temperature=1.0, seed=1, max_new_tokens=12))
    assert [o.text for o in first] == [
        o.text for o in tiny.generate(prompts, Sampling(temperature=1.0, seed=1, max_new_tokens=12))
    ]
    assert [o.text for o in first] != [
        o.text for o in tiny.generate(prompts, Sampling(temperature=1.0, seed=2, max_new_tokens=12))
    ]


def test_one_bad_image_costs_only_its_own_draft(tiny, prompts):
    bad = STYLE.render(Study("bad", (Image("gone.png"),)))
    made = tiny.generate([prompts[0], bad, prompts[1]], Sampling(batch_size=3, max_new_tokens=4))
    assert [one.stop for one in made] == ["length", "error", "length"]
    assert "gone.png" in made[1].error


def test_same_seed_same_weights():
    tokenizer = build_tokenizer(["a b c"], SHAPE)
    import torch

    first, second = (build_model(tokenizer, SHAPE, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nowhere", MissingError, "no model at 'nowhere'"),
        ("owner/name", MissingError, "cannot be fetched from the Hugging Face hub"),
    ],
)
def test_missing_models(name, error, said):
    with pytest.raises(error) as caught:
        open_model(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(MissingError, match=r"config\.json"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(MissingError):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="not image-text-to-text"):
        open_model(str(tmp_path))


def test_weights_that_are_missing_are_named(tmp_path, tiny):
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="safetensors"):
        open_model(str(tmp_path))


def test_devices():
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="allowed are"):
        pick_device("gpu")
