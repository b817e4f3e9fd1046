"""Features of frozen image encoders are kept: equal to those made anew, made once an image, and never where they could differ."""

import copy

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sharing_models import MODELS, pixels
from wetread.models.tower import Tower, TowerConfig
from wetread.training.adapters import LANGUAGE
from wetread.training.features import Features, TowerStates, digests
from wetread.training.loop import TOWERS
from wetread.training.sharing import share_images

pytestmark = pytest.mark.usefixtures("one_thread")
NEAR = 1e-5
MICRO = ([0, 1], [1, 0, 2], [2, 2], [0])
"""Micro-batches of three images."""


def tower_of(model):
    return next(part for name, part in model.base_model.named_children() if name in TOWERS)


class Counted:
    """How many rows the first layer of a model's image tower was given."""

    def __init__(self, model):
        self.rows = 0
        kinds = (nn.Conv2d, nn.Conv3d, nn.Linear)
        first = next(part for part in tower_of(model).modules() if isinstance(part, kinds))
        first.register_forward_pre_hook(self.count)

    def count(self, module, args):
        self.rows += len(args[0])


def frozen(name, what):
    """Return a model whose tower, or everything beside its language model, is frozen."""
    model = MODELS[name]()
    for key, child in model.base_model.named_children():
        if key in TOWERS or (what == "encoder" and key not in LANGUAGE):
            child.requires_grad_(False)
    if what == "encoder":
        for one in model.base_model.parameters(recurse=False):
            one.requires_grad_(False)
    return model


def encoded(model, name, kinds):
    """Return the features of images of these kinds, deeper layers after them, image by image."""
    out = model.base_model.get_image_features(**pixels(name, kinds), return_dict=True)
    return [one for level in [out.pooler_output, *(getattr(out, "deepstack_features", None) or [])] for one in level]


def gradients(model):
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("what", ["tower", "encoder"])
def test_every_layout_is_encoded_once_over_micro_batches(name, what):
    plain = frozen(name, what)
    kept = copy.deepcopy(plain)
    memory = Features()
    share_images(kept, memory)
    counts = Counted(plain), Counted(kept)
    with torch.no_grad():  # rollouts
        encoded(plain, name, [0, 1, 2])
        encoded(kept, name, [0, 1, 2])
    once = counts[0].rows
    for micro in MICRO:
        totals = []
        theirs, ours = encoded(plain, name, micro), encoded(kept, name, micro)
        assert len(theirs) == len(ours)
        for made in zip(theirs, ours, strict=True):
            torch.testing.assert_close(made[1], made[0], atol=NEAR, rtol=0)
            weights = torch.linspace(-1, 1, made[0].numel()).reshape(made[0].shape)
            totals.append([(one * weights).sum() for one in made])
        for one in map(sum, zip(*totals, strict=True)):
            if one.requires_grad:
                one.backward()
    assert counts[1].rows == once
    theirs, ours = gradients(plain), gradients(kept)
    assert ours.keys() == theirs.keys()
    trained = [key for key in theirs if "projector" in key or "connector" in key]
    assert bool(trained) == (what == "tower" and not name.startswith("qwen"))  # in whose tower the projector is
    scale = max([1.0, *(float(one.abs().max()) for one in theirs.values())])
    assert all(float((ours[key] - theirs[key]).abs().max()) <= NEAR * scale for key in theirs)
    assert 0 < memory.bytes <= memory.limit


def test_a_tower_that_is_trained_keeps_nothing():
    model, memory = MODELS["llava"](), Features()
    share_images(model, memory)
    counted = Counted(model)
    for _ in range(2):
        made = encoded(model, "llava", [0, 1, 0])
    assert made[0].requires_grad
    assert (counted.rows, len(memory)) == (4, 0)  # equal images of a call are shared all the same


def test_features_do_not_depend_on_what_else_is_encoded_or_known():
    model = frozen("llava", "encoder")
    share_images(model, Features())
    made = {kinds: encoded(model, "llava", list(kinds)) for kinds in ((0, 1), (2, 1, 0))}
    again = frozen("llava", "encoder")
    share_images(again, Features())
    alone = encoded(again, "llava", [1])[0]
    assert torch.equal(made[0, 1][1], alone)
    assert torch.equal(made[2, 1, 0][1], alone)


def test_models_find_each_others_features_where_their_weights_are_equal():
    policy, memory = frozen("llava", "tower"), Features()
    reference, other = copy.deepcopy(policy).eval().requires_grad_(False), copy.deepcopy(policy)
    with torch.no_grad():
        next(tower_of(other).parameters()).add_(1e-3)
    counted = []
    for model in (policy, reference, other):
        share_images(model, memory)
        counted.append(Counted(model))
    theirs = [encoded(model, "llava", [0, 1, 0]) for model in (policy, reference, reference, other)]
    assert [one.rows for one in counted] == [2, 0, 2]
    assert torch.equal(theirs[0][1], theirs[1][1])
    assert torch.equal(theirs[0][1], theirs[2][1])
    assert not torch.equal(theirs[0][1], theirs[3][1])


def test_other_weights_make_other_features_and_the_old_ones_the_old():
    model = frozen("llava", "encoder")
    plain, first = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    share_images(model, Features())
    counted = Counted(model)
    start = encoded(model, "llava", [0])[0]
    with torch.no_grad():
        for one, same in zip(model.base_model.parameters(), plain.base_model.parameters(), strict=True):
            one.mul_(1.1)
            same.mul_(1.1)
    torch.testing.assert_close(encoded(model, "llava", [0])[0], encoded(plain, "llava", [0])[0], atol=NEAR, rtol=0)
    model.load_state_dict(first)  # as a checkpoint is restored
    assert torch.equal(encoded(model, "llava", [0])[0], start)
    assert counted.rows == 2


def test_mixed_precision_and_settings_of_a_call_are_told_apart():
    model = frozen("llava", "encoder")
    share_images(model, Features())
    counted = Counted(model)
    whole = encoded(model, "llava", [0])[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoded(model, "llava", [0])[0]
    assert whole.dtype != half.dtype
    given = pixels("llava", [0])
    longer = model.base_model.get_image_features(**{**given, "vision_feature_select_strategy": "full"})
    assert len(longer.pooler_output[0]) == len(whole) + 1
    assert counted.rows == 3


@pytest.mark.parametrize("part", ["tower", "projector"])
@pytest.mark.parametrize("how", ["dropout", "statistics of the batch"])
def test_what_varies_is_never_kept_and_never_taken(how, part):
    model, memory = frozen("llava", "encoder"), Features()
    layer = nn.Dropout(0.5) if how == "dropout" else nn.BatchNorm1d(4 + (part == "tower"), affine=False)  # over tokens
    if part == "tower":
        tower_of(model).encoder.layers[0].mlp.activation_fn = layer
    else:
        model.base_model.multi_modal_projector.act = layer
    share_images(model, memory)
    counted = Counted(model)
    steady = encoded(model.eval(), "llava", [0, 1])
    assert (counted.rows, len(memory)) == (2, 2)
    model.train()
    counted.rows = 0
    first, second = encoded(model, "llava", [0, 1]), encoded(model, "llava", [0, 1])
    assert counted.rows == (4 if part == "tower" else 2)  # the tower alone is a constant beside that projector
    assert not torch.equal(first[0], steady[0])
    assert how != "dropout" or not torch.equal(first[0], second[0])
    assert torch.equal(encoded(model.eval(), "llava", [1, 0])[0], steady[1]) or how == "statistics of the batch"


def test_what_draws_without_saying_so_is_found_out():
    model, memory = frozen("llava", "tower"), Features()
    for part in tower_of(model).modules():
        if hasattr(part, "dropout"):
            part.dropout = 0.5  # of attention, by a function
    share_images(model, memory)
    first, second = encoded(model, "llava", [0, 1]), encoded(model, "llava", [0, 1])
    assert not torch.equal(first[0], second[0])
    assert len(memory) == 0


def test_the_tiny_policys_tower_is_kept_once_its_statistics_are_frozen():
    tower = Tower(TowerConfig(image_size=64, hidden_size=40)).requires_grad_(False)
    images = torch.randn(3, 3, 64, 64)

    def recall():
        given = {"pixel_values": images}
        units = [(one,) for one in images]
        return keeper.recall(given, units, lambda place: {"pixel_values": images[[place]]}, tower.forward)

    keeper = TowerStates(tower, Features())
    assert recall() is None
    tower.freeze_statistics()
    kept, made = recall(), tower(images)
    assert torch.equal(recall().last_hidden_state, kept.last_hidden_state)
    torch.testing.assert_close(kept.last_hidden_state, made.last_hidden_state, atol=NEAR, rtol=0)
    assert torch.equal(kept.hidden_states[-1], kept.last_hidden_state)
    assert len(keeper.memory) == 3
    assert keeper.memory.bytes == kept.last_hidden_state.nbytes + kept.pooler_output.nbytes  # equal fields once


class Stub(nn.Module):
    """A model whose image features are made with an embedding of its language model."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(4, 4)
        self.language_model = nn.Embedding(2, 4)
        self.calls = 0

    @property
    def base_model(self):
        return self

    def get_image_features(self, pixel_values):
        self.calls += 1
        out = self.visual(pixel_values.flatten(1)[:, :4]) + self.language_model(torch.tensor(1))
        return BaseModelOutputWithPooling(pooler_output=out)


def test_a_trained_part_is_found_by_its_gradient_and_a_hook_counts_for_nothing():
    images = torch.randn(2, 1, 2, 2)
    for trained in (True, False):
        model, memory = Stub(), Features()
        model.visual.requires_grad_(False)
        model.language_model.requires_grad_(trained)
        model.language_model.head = nn.Linear(4, 4)  # trained in any case
        model.visual.register_forward_hook(lambda module, args, out: out.requires_grad_(True))  # checkpointing's
        share_images(model, memory)
        for _ in range(3):
            with torch.no_grad():
                made = model.get_image_features(images).pooler_output
        assert made.shape == (2, 4)
        assert len(memory) == (0 if trained else 2)
        assert model.calls == (4 if trained else 2)  # once to find out


def test_memory_is_bounded_and_the_oldest_go():
    model = frozen("llava", "encoder")
    size = encoded(model, "llava", [0])[0].nbytes
    memory = Features(limit=2 * size)
    share_images(model, memory)
    counted = Counted(model)
    whole = encoded(model, "llava", [0, 1, 2])  # more than there is room for
    assert (len(memory), memory.bytes, counted.rows, len(whole)) == (2, 2 * size, 3, 3)
    encoded(model, "llava", [2, 1])
    encoded(model, "llava", [0])
    assert counted.rows == 4
    encoded(model, "llava", [1])
    encoded(model, "llava", [2])
    assert (counted.rows, memory.bytes) == (5, 2 * size)


def test_where_not_all_that_come_again_have_room_nothing_is_kept():
    model = frozen("llava", "encoder")
    plain = copy.deepcopy(model)
    size = encoded(plain, "llava", [0])[0].nbytes
    memory = Features(limit=3 * size, expected=4)
    share_images(model, memory)
    counted = Counted(model)
    for _ in range(2):
        assert all(map(torch.equal, encoded(model, "llava", [0, 1]), encoded(plain, "llava", [0, 1])))
    assert (counted.rows, len(memory), memory.bytes) == (5, 0, 0)


def test_digests_see_every_bit():
    one = torch.zeros(200_000)
    for place in (0, 70_000, 199_999):
        other = one.clone()
        other[place] = 1e-45
        assert digests([[one]]) != digests([[other]])
    assert digests([[one]]) == digests([[one.clone()]])
    moved = torch.arange(4.0), torch.arange(4.0).flip(0)
    kinds = [
        [one], [one[:-1]], [one.double()], [one.bfloat16()], [-one], [one.reshape(2, -1)], [one, one], [moved[0]],
        [moved[1]], [torch.tensor([True])], [torch.tensor(3)], [torch.zeros(0)], [],
    ]  # fmt: skip
    assert len(set(digests(kinds))) == len(kinds)


def test_adapters_beside_the_encoder_leave_it_frozen_and_those_in_it_do_not():
    from peft import LoraConfig, get_peft_model

    for targets, kept in ((r".*language_model.*q_proj", 2), (r".*q_proj", 0)):
        model, memory = MODELS["llava"](), Features()
        adapted = get_peft_model(model, LoraConfig(target_modules=targets, init_lora_weights=False))
        adapted.enable_input_require_grads()  # as gradient checkpointing asks for
        share_images(adapted, memory)
        counted = Counted(model)
        with torch.no_grad():
            first = encoded(model, "llava", [0, 1])
        again = encoded(model, "llava", [1, 0])
        assert (len(memory), counted.rows) == (kept, 4 - kept)
        assert again[0].requires_grad != bool(kept)
        with torch.no_grad(), adapted.disable_adapter():  # the reference
            base = encoded(model, "llava", [0, 1])
        assert torch.equal(first[0], base[0]) == bool(kept)
        torch.testing.assert_close(encoded(model, "llava", [0])[0], first[0], atol=NEAR, rtol=0)


@pytest.mark.slow
def test_sft_encodes_an_image_once_over_its_epochs_and_learns_the_same(data, tmp_path, monkeypatch):
    from training_helpers import SMALL
    from wetread.runs.config import build
    from wetread.runs.store import JsonLines
    from wetread.training import sft, sharing
    from wetread.training.config import SftConfig

    rows, losses, plain = {}, {}, Tower.forward

    def counted(self, pixel_values, **options):
        if not self.stem.weight.requires_grad:  # not in its warm-up
            rows[name] = rows.get(name, 0) + len(pixel_values)
        return plain(self, pixel_values, **options)

    monkeypatch.setattr(Tower, "forward", counted)
    few = ("data.limit=8", "optim.steps=5", "optim.micro_batch=4", "freeze_vision=true")
    for name in ("kept", "once", "plain"):
        if name == "plain":
            monkeypatch.setattr(sharing, "keep_features", lambda *_: None)
        more = ("data.limit=30",) if name == "once" else ()
        sft.train(build(SftConfig, None, [f"data.path={data}", *SMALL, *few, *more]), tmp_path / name)
        events = JsonLines(tmp_path / name / "events.jsonl").read()
        losses[name] = [event["loss"] for event in events if event["event"] == "sft.step"]
    assert rows["kept"] == 8
    assert rows["plain"] == rows["once"] == 40  # where images hardly come again, batches are encoded as they are
    assert losses["kept"] == pytest.approx(losses["plain"], abs=NEAR)
