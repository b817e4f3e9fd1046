"""Branches of a prompt: equal to attention over repeated keys, through ragged groups, masks and rollouts that leave."""

from types import SimpleNamespace

import pytest
import torch
from transformers.cache_utils import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from wetread.training import branching, decoding


def layer(prompts=3, heads=2, length=5, width=8):
    cache = DynamicCache()
    cache.update(torch.randn(prompts, heads, length, width), torch.randn(prompts, heads, length, width), 0)
    return cache.layers[0]


@pytest.mark.parametrize("masked", ["no", "bool", "float"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_attention_to_branches_is_that_to_repeated_keys(masked, repeats):
    torch.manual_seed(1)
    which = torch.tensor([2, 0, 0, 2, 0])  # ragged, and nobody of prompt 1
    branch = branching.Branch(layer(), which, room=6)
    module = SimpleNamespace(num_key_value_groups=repeats, is_causal=True, training=False)
    for _ in range(4):
        key, value = branch.update(torch.randn(len(branch.which), 2, 1, 8), torch.randn(len(branch.which), 2, 1, 8))
        query = torch.randn(len(branch.which), 2 * repeats, 1, 8)
        mask = None
        if masked != "no":
            seen = torch.rand(len(branch.which), 1, 1, branch.get_seq_length()) > 0.3
            seen[..., -1] = True
            mask = seen if masked == "bool" else torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        ours, _ = branching.attend(module, query, key, value, mask, scaling=0.3)
        theirs, _ = sdpa_attention_forward(module, query, *branch.whole(), mask, scaling=0.3)
        assert branch.met and torch.allclose(ours, theirs, atol=1e-6)
        assert branch.get_seq_length() == branch.whole()[0].shape[2]
        if len(branch.which) > 2:
            branch.reorder_cache(torch.randperm(len(branch.which))[:-1])


def test_what_is_no_branch_and_what_is_odd_goes_the_plain_way():
    torch.manual_seed(2)
    module = SimpleNamespace(num_key_value_groups=1, is_causal=False, training=False)
    query, key, value = torch.randn(3, 2, 2, 4, 8)
    assert torch.equal(
        branching.attend(module, query, key, value, None)[0], sdpa_attention_forward(module, query, key, value, None)[0]
    )
    branch = branching.Branch(layer(2), torch.tensor([0, 1, 1]), room=4)
    key, value = branch.update(torch.randn(3, 2, 2, 8), torch.randn(3, 2, 2, 8))
    two = torch.randn(3, 2, 2, 8)  # two tokens at once
    assert torch.equal(
        branching.attend(module, two, key, value, None)[0],
        sdpa_attention_forward(module, two, *branch.whole(), None)[0],
    )
    assert branching.branched(SimpleNamespace(), torch.tensor([0]), 3) is None


def decoded(model, monkeypatch, *, branches):
    """Twelve tokens after two prompts of text, three rollouts each, drawn by the same numbers."""
    seen = []
    real = branching.branched
    monkeypatch.setattr(branching, "branched", lambda *a: seen.append(real(*a)) or seen[-1] if branches else None)
    ids = torch.randint(10, 60, (2, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    config = model.generation_config
    config.max_new_tokens, config.do_sample, config.pad_token_id, config.eos_token_id = 12, True, 0, 5
    uniform = torch.rand(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        made = decoding.rollouts(model, config, {"input_ids": ids, "attention_mask": mask}, [0, 0, 0, 1, 1, 1], uniform)
    monkeypatch.undo()
    return made, seen


def llama(**more):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    small = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return LlamaForCausalLM(LlamaConfig(**small, num_key_value_heads=2, **more)).eval()


def test_the_same_tokens_are_drawn_and_the_attention_is_put_back(monkeypatch):
    model = llama()
    ours, (cache,) = decoded(model, monkeypatch, branches=True)
    theirs, _ = decoded(model, monkeypatch, branches=False)
    assert torch.equal(ours, theirs) and all(one.met for one in cache.layers)
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_does_not_know_branches_is_decoded_all_the_same(monkeypatch):
    theirs, _ = decoded(llama(), monkeypatch, branches=False)
    eager = llama(attn_implementation="eager")
    assert torch.equal(decoded(eager, monkeypatch, branches=True)[0], theirs)
    model = llama()
    plain = type(model.model.layers[0].self_attn).forward
    for one in model.model.layers:  # an attention of its own, which takes the keys for all there are

        def own(
            hidden_states,
            position_embeddings=None,
            attention_mask=None,
            past_key_values=None,
            _self=one.self_attn,
            **more,
        ):
            with monkeypatch.context() as patch:
                patch.setattr(_self.config, "_attn_implementation_internal", "sdpa")
                return plain(_self, hidden_states, position_embeddings, attention_mask, past_key_values, **more)

        one.self_attn.forward = own
    made, (cache,) = decoded(model, monkeypatch, branches=True)
    assert torch.equal(made, theirs) and not any(one.met for one in cache.layers)
