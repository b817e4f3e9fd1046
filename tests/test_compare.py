"""Bootstrap intervals and paired differences."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.errors import UsageError
from wetread.records import Score
from wetread.runs import compare


def mean_scores(values, name="bleu_2_rexrank"):
    return {f"s{i:04d}": Score(name, value) for i, value in enumerate(values)}


def f1_scores(rows, name="findings_f1"):
    return {
        f"s{i:04d}": Score(name, 1.0, counts={"tp": float(tp), "fp": float(fp), "fn": float(fn)})
        for i, (tp, fp, fn) in enumerate(rows)
    }


def macro_scores(pairs):
    """Scores from (draft names, reference names)."""
    scores = {}
    for i, (ours, theirs) in enumerate(pairs):
        counts = {f"tp:{c}": 1.0 for c in ours & theirs}
        counts |= {f"fp:{c}": 1.0 for c in ours - theirs} | {f"fn:{c}": 1.0 for c in theirs - ours}
        scores[f"s{i:04d}"] = Score("findings_f1_macro", 1.0, counts=counts)
    return scores


def test_mean_value_and_interval():
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    result = compare.estimate("bleu_2_rexrank", mean_scores(values), seed=3)
    assert result.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert result.low == pytest.approx(values.mean() - half, abs=0.003)
    assert result.high == pytest.approx(values.mean() + half, abs=0.003)
    assert result.n == 400


def test_micro_f1_is_folded_from_counts_and_not_the_mean_of_reports():
    scores = f1_scores([(9, 0, 0), (0, 1, 1)])
    assert compare.estimate("findings_f1", scores).value == pytest.approx(18 / 20)


def test_macro_classes_are_those_of_the_references():
    scores = macro_scores([({"a"}, {"a"}), ({"b"}, {"a"}), ({"b"}, set())])
    # b is never in a reference, so only a counts: tp 1, fn 1
    assert compare.estimate("findings_f1_macro", scores).value == pytest.approx(2 / 3)


def test_a_rare_class_does_not_drag_the_macro_interval_below_the_estimate():
    pairs = [({"a"}, {"a"})] * 40 + [({"b"}, {"b"})]
    result = compare.estimate("findings_f1_macro", macro_scores(pairs))
    assert (result.value, result.low, result.high) == (1.0, 1.0, 1.0)


def test_coverage_is_about_what_it_says():
    generator = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        values = generator.exponential(1.0, 60)
        result = compare.estimate("errors_total", mean_scores(values, "errors_total"), seed=trial, resamples=500)
        inside += result.low <= 1.0 <= result.high
    assert 0.86 <= inside / 200 <= 0.98


def test_f1_coverage_is_about_what_it_says():
    generator = np.random.default_rng(0)
    truth, inside = 2 * 0.6 / (2 * 0.6 + 0.2 + 0.3), 0
    for trial in range(200):
        rows = np.stack([generator.poisson(rate, 80) for rate in (0.6, 0.2, 0.3)], axis=1)
        result = compare.estimate("findings_f1", f1_scores(rows), seed=trial, resamples=500)
        inside += result.low <= truth <= result.high
    assert 0.88 <= inside / 200 <= 0.99


def test_same_seed_same_interval_whatever_the_order():
    scores = mean_scores(np.random.default_rng(2).random(50))
    items = list(scores.items())
    random.Random(0).shuffle(items)
    assert compare.estimate("bleu_2_rexrank", scores, seed=5) == compare.estimate("bleu_2_rexrank", dict(items), seed=5)
    assert compare.estimate("bleu_2_rexrank", scores, seed=5) != compare.estimate("bleu_2_rexrank", scores, seed=6)


def test_chunks_do_not_change_the_result(monkeypatch):
    scores = mean_scores(np.random.default_rng(2).random(30))
    whole = compare.estimate("bleu_2_rexrank", scores, resamples=300)
    monkeypatch.setattr(compare, "CHUNK_CELLS", 30 * 7)
    assert compare.estimate("bleu_2_rexrank", scores, resamples=300) == whole


def test_patients_widen_the_interval_when_their_studies_are_alike():
    values = np.repeat(np.random.default_rng(4).random(40), 10)
    scores = mean_scores(values)
    patients = {study: f"p{i // 10}" for i, study in enumerate(scores)}
    alone = compare.estimate("bleu_2_rexrank", scores)
    together = compare.estimate("bleu_2_rexrank", scores, clusters=patients)
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_one_study_a_patient_is_the_plain_bootstrap():
    scores = f1_scores(np.random.default_rng(1).integers(0, 3, (30, 3)))
    patients = {study: study for study in scores}
    assert compare.estimate("findings_f1", scores, clusters=patients) == compare.estimate("findings_f1", scores)


def test_a_study_without_patient_is_refused():
    scores = mean_scores([0.1, 0.2])
    with pytest.raises(UsageError, match="1 of 2 studies have no patient"):
        compare.estimate("bleu_2_rexrank", scores, clusters={"s0000": "p"})


def test_unscored_is_left_out_and_never_zero():
    scores = mean_scores([0.5, None, 0.7])
    result = compare.estimate("bleu_2_rexrank", scores)
    assert result.value == pytest.approx(0.6) and result.n == 2
    assert compare.estimate("bleu_2_rexrank", mean_scores([None])) == compare.Estimate(None, None, None, 0)
    assert compare.estimate("bleu_2_rexrank", {}) == compare.Estimate(None, None, None, 0)
    pair = compare.paired("bleu_2_rexrank", scores, mean_scores([0.5, 0.1, None]))
    assert pair.n == 1 and pair.value == 0.0


def test_undefined_corpus_value_is_none():
    result = compare.estimate("findings_f1", f1_scores([(0, 0, 0)] * 5))
    assert result == compare.Estimate(None, None, None, 5)
    assert compare.estimate("findings_f1_macro", macro_scores([(set(), set())] * 3)).value is None
    pair = compare.paired("findings_f1", f1_scores([(0, 0, 0)] * 5), f1_scores([(0, 0, 0)] * 5))
    assert pair.value is None and pair.p is None


def test_paired_is_sharper_than_two_intervals():
    generator = np.random.default_rng(7)
    base = generator.random(200)
    a, b = mean_scores(base + 0.02 + generator.normal(0, 0.01, 200)), mean_scores(base)
    pair = compare.paired("bleu_2_rexrank", a, b)
    assert pair.low > 0 and pair.value == pytest.approx(0.02, abs=0.005)
    first, second = compare.estimate("bleu_2_rexrank", a), compare.estimate("bleu_2_rexrank", b)
    assert first.low < second.high
    assert pair.high - pair.low < first.high - first.low


def test_paired_turns_round_with_its_sides():
    generator = np.random.default_rng(9)
    a, b = (f1_scores(generator.integers(0, 3, (60, 3))) for _ in range(2))
    forth, back = compare.paired("findings_f1", a, b), compare.paired("findings_f1", b, a)
    assert forth.value == pytest.approx(-back.value) and forth.low == pytest.approx(-back.high)
    assert forth.p == back.p


def test_p_is_never_zero_and_one_for_equal_systems():
    low, high = mean_scores([0.1] * 30), mean_scores([0.9] * 30)
    assert compare.paired("bleu_2_rexrank", high, low, resamples=999).p == pytest.approx(2 / 1000)
    assert compare.paired("bleu_2_rexrank", low, low).p == 1.0


def test_p_of_no_difference_is_spread_out():
    generator = np.random.default_rng(11)
    small = 0
    for trial in range(150):
        a, b = mean_scores(generator.random(50)), mean_scores(generator.random(50))
        small += compare.paired("bleu_2_rexrank", a, b, seed=trial, resamples=400).p < 0.05
    assert small <= 20


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12))
def test_interval_holds_finite_values_in_bounds(rows):
    result = compare.estimate("findings_f1", f1_scores(rows), resamples=50)
    if result.value is not None:
        assert 0.0 <= result.low <= result.high <= 1.0


def test_mismatched_ids_are_refused_by_name():
    with pytest.raises(UsageError, match=r"1 only in the first \(s0002\), 0 only in the second"):
        compare.paired("bleu_2_rexrank", mean_scores([0.1, 0.2, 0.3]), mean_scores([0.1, 0.2]))


@pytest.mark.parametrize("options", [{"resamples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_options_out_of_range(options):
    with pytest.raises(UsageError):
        compare.estimate("bleu_2_rexrank", mean_scores([0.5]), **options)


def test_unknown_name_lists_metrics_and_guards():
    with pytest.raises(UsageError, match=r"Did you mean 'bleu_2'.*template_share"):
        compare.estimate("bleu2", mean_scores([0.5]))


def test_guards_are_estimated_like_metrics():
    flags = {f"s{i}": Score("template_share", float(i < 30)) for i in range(100)}
    result = compare.estimate("template_share", flags)
    assert result.value == pytest.approx(0.3) and 0.2 < result.low < 0.3 < result.high < 0.4
    lengths = {
        f"s{i}": Score("length_ratio", 0.5, counts={"draft_words": 10.0, "reference_words": 10.0 + 20.0 * (i % 2)})
        for i in range(50)
    }
    assert compare.estimate("length_ratio", lengths).value == pytest.approx(0.5)


def test_plain_numbers():
    values = {f"s{i}": value for i, value in enumerate([1.0, 2.0, 3.0, None])}
    result = compare.interval(values)
    assert result.value == 2.0 and result.n == 3 and 1.0 <= result.low < 2.0 < result.high <= 3.0
    assert compare.interval({"a": None}).value is None


def test_json_both_ways_and_signature():
    result = compare.estimate("bleu_2_rexrank", mean_scores([0.1, 0.4]))
    assert compare.Estimate.from_json(result.to_json()) == result
    pair = compare.paired("bleu_2_rexrank", mean_scores([0.1, 0.4]), mean_scores([0.2, 0.1]))
    assert compare.Paired.from_json(pair.to_json()) == pair
    assert (
        compare.signature_of("bleu_2_rexrank", n=2) == "bleu_2_rexrank|v1|no weights|findings+impression|as scored|n=2"
    )
    assert compare.signature_of("length_ratio", n=2).startswith("length_ratio|v1|")
