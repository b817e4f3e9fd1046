"""The grouped trainer against TRL's own: the same rollouts, losses, gradients and steps; and what it says when it cannot share."""

import copy
from pathlib import Path

import pytest
import torch

from sharing_models import MODELS, inputs
from training_helpers import SMALL
from wetread import prompts
from wetread.models import transformers
from wetread.runs.config import build
from wetread.runs.store import JsonLines
from wetread.training import rl, sft
from wetread.training.config import RlConfig, SftConfig
from wetread.training.data import as_dataset, select
from wetread.training.preparing import Prepared, with_memory

pytestmark = pytest.mark.slow

NEAR = 1e-5


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def policy(data, tmp_path_factory) -> Path:
    config = build(SftConfig, None, [f"data.path={data}", "optim.steps=12", *SMALL])
    return sft.train(config, tmp_path_factory.mktemp("sft") / "run")


def reward(completions, **_):
    return [float(len(turn[0]["content"]) % 7) for turn in completions]


def trainer(kind, model, processor, rows, out, **options):
    from peft import LoraConfig
    from trl.trainer.grpo_config import GRPOConfig

    rank = options.pop("lora", 0)
    adapter = LoraConfig(r=rank, target_modules=["q_proj", "v_proj"]) if rank else None

    args = GRPOConfig(
        output_dir=str(out), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, save_strategy="no",
        logging_steps=1, learning_rate=1e-3, activation_checkpointing=options.pop("checkpointing", False), seed=1,
        num_generations=4, max_completion_length=16, remove_unused_columns=False, temperature=0.9,
        **{"per_device_train_batch_size": 8, "max_steps": 2, **options},
    )  # fmt: skip
    given = {"model": model, "args": args, "reward_funcs": [reward], "train_dataset": rows}
    return kind(**given, processing_class=processor, peft_config=adapter)


def kinds():
    from trl.trainer.grpo_trainer import GRPOTrainer

    from wetread.training.grouped import GroupedTrainer

    return GRPOTrainer, GroupedTrainer


class Encoded:
    """How many images the towers of a trainer's models have encoded, and how many of them were different."""

    def __init__(self, one):
        self.images, self.seen = 0, set()
        for model in filter(None, (one.model, one.ref_model)):
            tower = next(part for name, part in model.named_modules() if name.split(".")[-1] == "vision_tower")
            tower.stem.register_forward_pre_hook(self.count)

    def count(self, module, args):
        self.images += len(args[0])
        self.seen |= {image.numpy().tobytes() for image in args[0]}

    @property
    def different(self):
        return len(self.seen)


def tiny(policy, data, memory):
    model, processor = transformers.load(str(policy))
    processor.tokenizer.padding_side = "left"
    config = build(RlConfig, None, [f"data.path={data}"])
    rows = as_dataset(select(config.data), prompts.get("direct"), with_target=False)
    return model, with_memory(processor) if memory else processor, rows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 0.1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"num_iterations": 2},
        {"lora": 4, "beta": 0.1},
        {"frozen": True, "beta": 0.1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"lora": 4, "beta": 0.1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"frozen": True, "num_iterations": 2},
    ],
    ids=[
        "plain", "kl and micro-batches", "two passes", "adapter and kl", "frozen tower, kl and micro-batches",
        "adapter, kl and micro-batches", "frozen tower, two passes",
    ],
)  # fmt: skip
def test_training_takes_the_same_steps(policy, data, tmp_path, options):
    from wetread.training.loop import freeze_vision
    from wetread.training.noise import own_streams

    made, options = [], dict(options)
    frozen = options.pop("frozen", False)
    for kind in kinds():
        model, processor, rows = tiny(policy, data, memory=kind is kinds()[1])
        if frozen:
            freeze_vision(model)
        one = trainer(kind, model, processor, rows, tmp_path, **options)
        encoded = Encoded(one)
        own_streams(one, 7, 16, 0.9)
        one.train()
        made.append(one)
    plain, grouped = made
    assert grouped.sharing == {"images": "on", "prefill": "on", "loss": "on"}
    if frozen or "lora" in options:  # every image once: rollouts, old log-probabilities, all micro-batches, reference
        assert encoded.images == encoded.different > 1
    for theirs, ours in zip(plain.state.log_history, grouped.state.log_history, strict=True):
        for key in ("loss", "grad_norm", "reward", "completions/mean_length", "clip_ratio/region_mean"):
            assert ours.get(key, 0) == pytest.approx(theirs.get(key, 0), abs=NEAR, rel=NEAR), key
        rough = 1e-2 if "gradient_accumulation_steps" in options else NEAR  # means of micro-batches' means
        for key in ("entropy", "kl"):
            assert ours.get(key, 0) == pytest.approx(theirs.get(key, 0), abs=rough, rel=rough), key
    for theirs, ours in zip(plain.model.parameters(), grouped.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)  # Adam's first steps grow what is nearly 0


@pytest.fixture(scope="module")
def tokenizer(policy):
    return transformers.load(str(policy))[1].tokenizer


def loss_inputs(name, model):
    """Return what TRL's loss takes: two prompts of two images each, the second's equal, and completions after them."""
    which = [0, 1, 1, 0, 0, 1, 1, 0]
    given = inputs(name, model, [k for w in which for k in ((0, 1), (2, 2))[w]], 8, [[(5, 6), (7,)][w] for w in which])
    made = torch.Generator().manual_seed(2)
    kept = (torch.arange(9) < torch.randint(1, 10, (8, 1), generator=made)).long()
    out = {
        "prompt_ids": given.pop("input_ids"), "prompt_mask": given.pop("attention_mask"),
        "completion_ids": torch.randint(3, 80, (8, 9), generator=made) * kept, "completion_mask": kept,
        "advantages": torch.randn(8, generator=made), "num_items_in_batch": kept.sum(), "num_images": [2] * 8,
    }  # fmt: skip
    for key, value in given.items():
        wide = key in ("mm_token_type_ids", "token_type_ids")
        out[key] = torch.cat([value, torch.zeros_like(kept)], dim=1) if wide else value
    return out


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen2_5_vl", "llava", "gemma3", "paligemma"])
def test_losses_and_gradients_of_other_models(name, tokenizer, data, tmp_path):
    from datasets import Dataset

    rows = Dataset.from_dict({"prompt": ["a", "b"] * 4})
    both = []
    start = MODELS[name]()
    given = loss_inputs(name, start)
    for kind in kinds():
        one = trainer(kind, copy.deepcopy(start), tokenizer, rows, tmp_path)
        one.current_gradient_accumulation_steps = 1
        loss = one._compute_loss(one.model, dict(given))
        loss.backward()
        both.append((one, loss))
    (plain, theirs), (grouped, ours) = both
    if name == "paligemma":  # TRL lets its completions look ahead, which no cache can do
        assert grouped.sharing["loss"].startswith("log-probabilities of the first batch differ by")
    else:
        assert grouped.sharing["loss"] == "on"
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=NEAR)
    for (key, one), other in zip(plain.model.named_parameters(), grouped.model.parameters(), strict=True):
        if one.grad is not None:
            scale = max(1.0, float(one.grad.abs().max()))
            assert float((one.grad - other.grad).abs().max()) <= NEAR * scale, key


def test_what_cannot_be_shared_is_told(policy, data, tmp_path):
    model, processor, rows = tiny(policy, data, memory=True)
    told = []
    one = trainer(
        lambda **options: kinds()[1](on_sharing=told.append, **options), model, processor, rows, tmp_path,
        checkpointing=True, max_steps=1, cache_implementation="dynamic",
    )  # fmt: skip
    one.train()
    assert told[0]["images"] == "on"
    assert told[0]["loss"] == "gradient checkpointing keeps no keys and values"
    assert told[0]["prefill"] == "cache_implementation is dynamic"
    assert len([entry for entry in one.state.log_history if "loss" in entry]) == 1


def test_a_run_says_what_it_shares(policy, data, tmp_path):
    settings = [f"data.path={data}", f"model={policy}", "optim.steps=1", "optim.batch=8", "group.rollouts=4"]
    rl.train(build(RlConfig, None, [*settings, "group.max_new_tokens=8"]), tmp_path / "run")
    events = list(JsonLines(tmp_path / "run" / "events.jsonl").read())
    shared = next(one for one in events if one["event"] == "rl.sharing")
    assert (shared["images"], shared["prefill"], shared["loss"]) == ("on", "on", "on")


def test_prepared_images_are_those_of_the_processor(policy, tmp_path):
    from PIL import Image

    _, plain = transformers.load(str(policy))
    made = torch.Generator().manual_seed(0)
    pictures = [Image.fromarray(torch.randint(0, 256, (70, 60, 3), generator=made).byte().numpy()) for _ in range(3)]
    memory = with_memory(plain, limit=2 * 3 * 64 * 64 * 4)
    prepared = memory.image_processor
    asked = [[pictures[0]], [pictures[1]], [pictures[0].copy()], [pictures[2]]]
    for images in (asked, asked[::-1]):
        text = [f"{memory.image_token} Draft."] * 4
        theirs = plain(images=images, text=text, padding=True, return_tensors="pt")
        ours = memory(images=images, text=text, padding=True, return_tensors="pt")
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    assert prepared.stackable
    assert prepared.bytes <= prepared.limit
    memory.save_pretrained(tmp_path / "a")
    plain.save_pretrained(tmp_path / "b")
    for file in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / file.name).read_bytes() == file.read_bytes()


def test_a_processor_whose_batches_are_not_single_results_is_left_alone():
    from PIL import Image

    calls = []

    def plain(images, **options):
        calls.append(len(images))
        return {"pixel_values": torch.full((len(images), 1), float(len(images)))}

    prepared = Prepared(plain)
    pictures = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (10, 20, 30)]
    for _ in range(2):
        assert prepared(pictures)["pixel_values"].tolist() == [[3.0]] * 3
    assert prepared.stackable is False
    assert calls == [1, 1, 1, 3, 3]


def test_micro_batches_hold_whole_groups():
    from wetread.training.prefix import together

    start = MODELS["qwen3_vl"]()
    given = loss_inputs("qwen3_vl", start)
    rows = torch.arange(8)
    grids = given["image_grid_thw"].prod(-1)
    patches = given["pixel_values"].split([int(one.sum()) for one in grids.split(2)])
    halves = []
    for part in (slice(0, 4), slice(4, 8)):
        one = {key: value[part] for key, value in given.items() if key not in ("num_items_in_batch", "image_grid_thw")}
        one |= {"pixel_values": torch.cat(patches[part]), "num_items_in_batch": given["num_items_in_batch"]}
        one["image_grid_thw"] = given["image_grid_thw"][2 * part.start : 2 * part.stop]
        halves.append({**one, "advantages": rows[part].float()})
    dealt = together(halves)
    assert [len(set(map(tuple, one["prompt_ids"].tolist()))) for one in dealt] == [1, 1]
    seen = torch.cat([one["advantages"] for one in dealt]).long()
    assert sorted(seen.tolist()) == rows.tolist()
    for one, places in zip(dealt, seen.split(4), strict=True):
        lengths = one["completion_mask"].sum(1)
        assert lengths.tolist() == sorted(lengths.tolist())
        assert torch.equal(one["completion_ids"], given["completion_ids"][places])
        assert torch.equal(one["pixel_values"], torch.cat([patches[place] for place in places]))
        assert one["num_images"] == [2] * 4
        assert torch.equal(one["mm_token_type_ids"], given["mm_token_type_ids"][places])
        assert one["num_items_in_batch"] == given["num_items_in_batch"]
