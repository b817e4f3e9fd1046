"""The order of samples and the random numbers of rollouts depend on the seed alone."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wetread.training.noise import Drawn, pick, uniforms  # noqa: E402
from wetread.training.sampling import Order  # noqa: E402


def test_every_step_has_a_full_batch_and_every_sample_its_turn(rng):
    lengths = rng.integers(1, 50, size=23).tolist()
    order = Order(23, 5, 92, seed=3, lengths=lengths)
    batches = list(order.batches())
    assert len(batches) == 92
    assert {len(batch) for batch in batches} == {5}
    assert set(np.bincount(np.concatenate(batches), minlength=23)) <= {19, 20, 21}


def test_batches_hold_samples_of_like_length(rng):
    lengths = rng.integers(1, 1000, size=400).tolist()

    def spread(order: Order) -> float:
        return float(np.mean([np.ptp([lengths[one] for one in batch]) for batch in order.batches()]))

    assert spread(Order(400, 8, 50, 0, lengths=lengths)) < 0.3 * spread(Order(400, 8, 50, 0))


def test_a_longer_training_begins_like_a_shorter_one():
    assert list(Order(7, 3, 20, 1).batches())[:5] == list(Order(7, 3, 5, 1).batches())
    assert list(Order(7, 3, 5, 1).batches()) != list(Order(7, 3, 5, 2).batches())


def test_more_samples_in_a_batch_than_there_are():
    assert [sorted(batch) for batch in Order(2, 4, 2, 0).batches()] == [[0, 0, 1, 1]] * 2


def test_groups_and_passes_repeat_what_a_step_learns_from():
    order = Order(6, 2, 2, 0, rollouts=3, passes=2)
    given = list(order)
    assert len(given) == len(order) == 24
    for step, (first, second) in enumerate(order.batches()):
        assert given[12 * step : 12 * step + 12] == ([first] * 3 + [second] * 3) * 2


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_rollout_draws_the_same_in_any_share_of_the_batch(count):
    whole = uniforms(5, 11, range(8), 6)
    width = 8 // count
    shares = [uniforms(5, 11, range(rank * width, (rank + 1) * width), 6) for rank in range(count)]
    assert torch.equal(torch.cat(shares), whole)
    assert not torch.equal(whole, uniforms(5, 12, range(8), 6))
    assert len(whole.unique()) == whole.numel()


def test_tokens_come_as_often_as_the_softmax_says():
    logits = torch.tensor([2.0, 0.0, -torch.inf, 1.0])
    drawn = pick(logits.expand(20_000, 4), uniforms(0, 0, range(20_000), 1)[:, 0])
    found = torch.bincount(drawn, minlength=4) / 20_000
    assert found[2] == 0
    assert torch.allclose(found, logits.softmax(0), atol=0.015)


def test_the_ends_of_the_unit_interval_are_possible_tokens():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(2, 4)
    top = uniforms(0, 0, [0], 1).fill_(1.0).clamp_(max=1 - 2.0**-40)[0]
    assert pick(logits, torch.stack([torch.zeros_like(top), top])[:, 0]).tolist() == [1, 2]


def test_a_logits_processor_leaves_the_drawn_token():
    uniform = uniforms(1, 2, range(3), 4)
    scores = torch.linspace(-1, 1, 15).reshape(3, 5)
    left = Drawn(uniform, start=2, temperature=0.5)(torch.zeros(3, 4, dtype=torch.long), scores)
    assert left.argmax(1).tolist() == pick(scores / 0.5, uniform[:, 2]).tolist()
    assert (left.isfinite().sum(1) == 1).all()
