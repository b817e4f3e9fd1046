"""Shared images and prompts give what the plain path gives: features, log-probabilities, losses, gradients, tokens."""

import copy

import pytest
import torch
from transformers import GenerationConfig

from sharing_models import IMAGE, MODELS, inputs, pixels
from wetread.training.decoding import rollouts
from wetread.training.noise import uniforms
from wetread.training.prefix import Images, NotShareable, SharedPrompts, check_cache
from wetread.training.scored import score_labels_only, take_plans
from wetread.training.sharing import distinct, images_of, share_images

WHICH = [0, 1, 0, 1, 1, 0, 0, 1] * 2
"""Prompt of each rollout: groups need not lie together."""
WORDS = [[5, 6, 7], [8, 9, 10, 11]]
COMPLETION = 12
pytestmark = pytest.mark.usefixtures("one_thread")
NEAR = 1e-5


def gradients(model):
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def assert_same_gradients(plain, shared):
    """Relative to the greatest of all gradients: what is left of sums that cancel has no scale of its own."""
    ours, theirs = gradients(shared), gradients(plain)
    assert ours.keys() == theirs.keys()
    scale = max([1.0, *(float(one.abs().max()) for one in theirs.values())])
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= NEAR * scale


class Counted:
    """How many rows the image encoder was given."""

    def __init__(self, model):
        self.rows = 0
        tower = next(
            part
            for name, part in model.named_modules()
            if name.split(".")[-1] in ("vision_tower", "visual", "vision_model")
        )
        tower.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module, args, options):
        seen = args[0] if args else options.get("pixel_values", options.get("hidden_states"))
        self.rows += len(seen)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frozen", [False, True])
def test_every_layout_is_encoded_once_an_image(name, frozen):
    plain = MODELS[name]()
    if frozen:
        for key, one in plain.named_parameters():
            one.requires_grad_("vision" not in key and "visual" not in key)
    shared = copy.deepcopy(plain)
    assert share_images(shared)
    counts = Counted(plain), Counted(shared)
    given = pixels(name, [0, 1, 0, 0, 1, 2, 1, 0])
    theirs = plain.base_model.get_image_features(**given, return_dict=True)
    ours = shared.base_model.get_image_features(**given, return_dict=True)
    levels = [theirs.pooler_output, *(getattr(theirs, "deepstack_features", None) or [])]
    mine = [ours.pooler_output, *(getattr(ours, "deepstack_features", None) or [])]
    total = {"plain": 0.0, "shared": 0.0}
    for one, other in zip(levels, mine, strict=True):
        assert len(one) == len(other) == 8
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=NEAR, rtol=0)
            weights = torch.linspace(-1, 1, a.numel()).reshape(a.shape)
            total["plain"] = total["plain"] + (a * weights).sum()
            total["shared"] = total["shared"] + (b * weights).sum()
    assert total["plain"].requires_grad == total["shared"].requires_grad
    if total["plain"].requires_grad:  # of a frozen encoder some models have no part left to train here
        for one in total.values():
            one.backward()
        assert_same_gradients(plain, shared)
    assert counts[1].rows < counts[0].rows / 2


@pytest.mark.parametrize("name", MODELS)
def test_two_images_a_sample_are_shared_across_samples(name):
    if name in ("idefics3", "smolvlm"):
        pytest.skip("its rows are samples, which hold several images already")
    plain = MODELS[name]()
    shared = copy.deepcopy(plain)
    share_images(shared)
    given = inputs(name, plain, [0, 1, 1, 0, 0, 1], 3, [[5], [6, 7], [8]])
    torch.testing.assert_close(plain(**given).logits, shared(**given).logits, atol=NEAR, rtol=0)


def test_what_is_not_understood_is_encoded_as_before():
    pixel_values = torch.zeros(4, 3, 8, 8)
    assert images_of({"pixel_values": [pixel_values]}) is None
    assert images_of({"pixel_values": pixel_values, "image_sizes": torch.zeros(3, 2)}) is None
    assert images_of({"pixel_values": torch.zeros(9, 5), "image_grid_thw": torch.tensor([[1, 2, 2]])}) is None
    assert images_of({"pixel_values": pixel_values, "batch_num_images": torch.tensor([2, 2])}) is None

    class NoImages(torch.nn.Module):
        base_model = torch.nn.Identity()

    assert not share_images(NoImages())


def test_distinct_compares_every_value():
    one = torch.zeros(10_000)
    other = one.clone()
    other[7777] = 1  # between the values that are looked at first
    missing = torch.full((3,), float("nan"))
    assert distinct([(one,), (other,), (one.clone(),), (missing,), (missing,)]) == ([0, 1, 3, 4], [0, 1, 0, 2, 3])
    assert distinct([(one, torch.ones(2)), (one, torch.zeros(2))]) == ([0, 1], [0, 1])


def batch(name, model):
    """Return ids, mask and the rest of rollouts of two prompts with completions of 1 to 12 tokens, the prompts, the counts."""
    each = 1 if name in ("idefics3", "smolvlm", "llava_next") else 2
    kinds = [0, 1, 2, 2][: 2 * each]
    two = inputs(name, model, kinds, 2, WORDS)
    repeated = [kind for place in WHICH for kind in kinds[place * each : (place + 1) * each]]
    given = inputs(name, model, repeated, len(WHICH), [WORDS[place] for place in WHICH])
    made = torch.Generator().manual_seed(3)
    tokens = torch.randint(3, 80, (len(WHICH), COMPLETION), generator=made)
    lengths = torch.randint(1, COMPLETION + 1, (len(WHICH),), generator=made)
    lengths[0] = COMPLETION
    kept = (torch.arange(COMPLETION) < lengths[:, None]).long()
    ids = torch.cat([given.pop("input_ids"), tokens * kept], dim=1)
    mask = torch.cat([given.pop("attention_mask"), kept], dim=1)
    for key in ("mm_token_type_ids", "token_type_ids"):
        if key in given:
            given[key] = torch.cat([given[key], torch.zeros_like(tokens)], dim=1)
    return ids, mask, given, two, [each] * len(WHICH)


def fused(model):
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


@pytest.mark.parametrize("name", [name for name in MODELS if name != "paligemma"])
def test_prompts_run_once_give_equal_log_probabilities_and_gradients(name):
    plain = MODELS[name]()
    shared = copy.deepcopy(plain)
    ids, mask, given, _, images = batch(name, plain)
    fused(plain)
    share_images(fused(shared))
    take_plans(shared)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-COMPLETION] = -100
    theirs = plain(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **given)
    plan = SharedPrompts(ids, mask, COMPLETION, Images.of(ids, {**given, "num_images": images}))
    assert plan.prompts == 2
    out = shared(**plan.inputs, shift_labels=plan.labels, fused_lm_head=True, plan=plan)
    weights = torch.linspace(-1, 1, len(WHICH) * COMPLETION).reshape(len(WHICH), COMPLETION)
    for field in ("log_probs", "entropy"):
        torch.testing.assert_close(
            plan.unsort(getattr(out, field)), getattr(theirs, field)[:, -COMPLETION:], atol=NEAR, rtol=0
        )
    (theirs.log_probs[:, -COMPLETION:] * weights).sum().backward()
    (plan.unsort(out.log_probs) * weights).sum().backward()
    assert_same_gradients(plain, shared)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_rollouts_are_those_of_generate(name):
    model = MODELS[name]().eval()
    ids, _, given, two, _ = batch(name, model)
    config = GenerationConfig(
        max_new_tokens=COMPLETION, do_sample=False, pad_token_id=0, eos_token_id=[2, 33], suppress_tokens=[IMAGE]
    )
    given = {key: value[:, :-COMPLETION] if value.shape[:2] == ids.shape else value for key, value in given.items()}
    prompts = ids[:, :-COMPLETION]
    with torch.no_grad():
        theirs = model.generate(
            input_ids=prompts, attention_mask=(prompts != 0).long(), generation_config=config, **given
        )
        share_images(model)
        ours = rollouts(model, config, two, WHICH)
    assert torch.equal(ours, theirs)


def test_sampled_rollouts_follow_the_models_distribution_and_their_own_numbers():
    model = MODELS["llava"]().eval()
    two = inputs("llava", model, [0, 1], 2, WORDS)
    config = GenerationConfig(
        max_new_tokens=1, do_sample=True, temperature=0.7, top_k=0, pad_token_id=0, eos_token_id=2,
        suppress_tokens=[IMAGE],
    )  # fmt: skip
    which = [0, 1] * 4000
    with torch.no_grad():
        logits = model(**two).logits[:, -1] / 0.7
        logits[:, IMAGE] = -torch.inf
        torch.manual_seed(0)
        tokens = rollouts(model, config, two, which)[:, -1]
        drawn = uniforms(0, 0, range(len(which)), 1)
        again = rollouts(model, config, two, which, drawn)[:, -1]
        last = rollouts(model, config, two, which[-10:], drawn[-10:])[:, -1]
    assert torch.equal(again[-10:], last)  # a rollout's tokens do not depend on its neighbours
    for place in range(2):
        expected = logits[place].softmax(-1)
        for made in (tokens, again):
            seen = torch.bincount(made[place::2], minlength=len(expected)) / 4000
            assert float((seen - expected).abs().sum()) < 0.2
            assert seen[IMAGE] == 0


@pytest.mark.parametrize("fields", [("log_probs", "entropy", "is_top1")])
def test_scoring_labels_alone_changes_neither_loss_nor_gradients(fields):
    from trl.trainer.utils import add_fused_lm_head

    plain = MODELS["llava"]()
    shared = copy.deepcopy(plain)
    ids, mask, given, _, _ = batch("llava", plain)
    for model in (plain, shared):
        add_fused_lm_head(model, outputs=fields)
    score_labels_only(shared)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-COMPLETION] = -100
    both = [m(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **given) for m in (plain, shared)]
    for field in (*fields, "label_mask", "loss"):
        torch.testing.assert_close(getattr(both[0], field), getattr(both[1], field), atol=NEAR, rtol=0)
    for one in both:
        one.loss.backward()
    assert_same_gradients(plain, shared)
    empty = shared(input_ids=ids, labels=torch.full_like(ids, -100), fused_lm_head=True, **given)
    assert float(empty.loss.detach()) == 0


def test_a_cache_that_is_not_keys_and_values_is_refused():
    from transformers.cache_utils import DynamicCache, LinearAttentionLayer

    with pytest.raises(NotShareable, match="no keys"):
        check_cache(None)
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)
    check_cache(cache)
    cache.layers.append(LinearAttentionLayer())
    with pytest.raises(NotShareable, match="LinearAttentionLayer"):
        check_cache(cache)
    with pytest.raises(NotShareable, match="pixel_values has 5 rows"):
        Images.of(torch.zeros(2, 3), {"pixel_values": torch.zeros(5, 3), "num_images": [1, 1]})
