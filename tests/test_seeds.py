"""Intervals and paired differences over trainings and patients."""

from __future__ import annotations

import numpy as np
import pytest

from wetread.errors import UsageError
from wetread.records import Score
from wetread.runs import compare, seeds


def errors(values):
    return {f"s{n:03}": Score("errors_total", value) for n, value in enumerate(values)}


def f1(counts):
    keys = ("tp", "fp", "fn")
    return {
        f"s{n:03}": Score("findings_f1", 0.0, counts=dict(zip(keys, map(float, one), strict=True)))
        for n, one in enumerate(counts)
    }


PATIENTS = {f"s{n:03}": f"p{n // 2}" for n in range(200)}


def drawn(seed, mean=1.0, n=200):
    return errors(np.random.default_rng(seed).poisson(mean, n).astype(float))


def test_one_training_is_what_compare_says():
    one, other = drawn(1), drawn(2)
    assert seeds.estimate("errors_total", [one], clusters=PATIENTS) == compare.estimate(
        "errors_total", one, clusters=PATIENTS
    )
    assert seeds.paired("errors_total", [one], [other], clusters=PATIENTS).overall == compare.paired(
        "errors_total", one, other, clusters=PATIENTS
    )


def test_the_value_is_the_mean_of_the_trainings_corpus_values():
    trainings = [f1([(1, 0, 1), (2, 1, 0)]), f1([(0, 3, 2), (1, 0, 1)])]
    values = [2 * 3 / (2 * 3 + 1 + 1), 2 * 1 / (2 * 1 + 3 + 3)]
    assert seeds.estimate("findings_f1", trainings).value == pytest.approx(np.mean(values))
    found = seeds.paired("findings_f1", trainings, trainings[:1])
    assert found.each == pytest.approx((0.0, values[1] - values[0]))
    assert found.overall.value == pytest.approx((values[1] - values[0]) / 2)
    assert found.ratio == pytest.approx(np.mean(values) / values[0] - 1)


def test_trainings_that_differ_widen_the_interval():
    alike = [drawn(seed, 1.0) for seed in range(3)]
    apart = [drawn(0, 0.6), drawn(1, 1.0), drawn(2, 1.4)]
    narrow, wide = (seeds.estimate("errors_total", one) for one in (alike, apart))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_what_trainings_share_does_not_widen_a_difference():
    base = [drawn(0, 0.6), drawn(1, 1.0), drawn(2, 1.4)]
    less = [errors([max(0.0, one.value - 0.2) for one in run.values()]) for run in base]
    found = seeds.paired("errors_total", less, base, clusters=PATIENTS)
    single = seeds.estimate("errors_total", base, clusters=PATIENTS)
    assert found.overall.low < found.overall.value < found.overall.high < 0
    assert found.overall.high - found.overall.low < 0.3 * (single.high - single.low)
    assert found.ratio_low < found.ratio < found.ratio_high < 0
    assert len(found.each) == 3 and all(-0.2 <= one < 0 for one in found.each)


def test_a_system_that_is_not_trained_is_held_against_every_training():
    trainings, fixed = [drawn(1), drawn(2)], drawn(3, 2.0)
    found = seeds.paired("errors_total", [fixed], trainings)
    assert found.overall.value == pytest.approx(np.mean(found.each)) and found.overall.low > 0


def test_studies_without_a_value_in_any_training_are_left_out():
    one, other = errors([1.0, 2.0, 3.0]), errors([1.0, None, 5.0])
    assert seeds.estimate("errors_total", [one, other]) == seeds.estimate(
        "errors_total", [{k: v for k, v in run.items() if k != "s001"} for run in (one, other)]
    )
    assert seeds.estimate("errors_total", [errors([None]), errors([1.0])]) == compare.Estimate(None, None, None, 0)
    nothing = seeds.paired("errors_total", [errors([None]), errors([1.0])], [errors([1.0])])
    assert nothing.overall.value is None and nothing.each == (None, None) and nothing.ratio is None


def test_an_undefined_value_stays_undefined():
    never = [f1([(0, 0, 0)] * 4)] * 2
    assert seeds.estimate("findings_f1", never).value is None
    found = seeds.paired("findings_f1", never, [f1([(1, 0, 0)] * 4)] * 2)
    assert found.overall.value is None and found.overall.p is None and found.ratio is None and found.ratio_low is None


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(UsageError, match="2 trainings cannot be paired with 3"):
        seeds.paired("errors_total", [drawn(1)] * 3, [drawn(2)] * 2)
    with pytest.raises(UsageError, match="no training"):
        seeds.estimate("errors_total", [])
    with pytest.raises(UsageError, match="not scored on the same studies"):
        seeds.estimate("errors_total", [drawn(1), drawn(1, n=5)])
    with pytest.raises(UsageError, match="no metric or guard"):
        seeds.estimate("errors", [drawn(1)])


def test_several_metrics_together_are_the_mean_of_their_gains_and_less_may_be_better():
    few, many = [errors([1.0, 2.0, 1.0, 0.0])], [errors([2.0, 2.0, 2.0, 2.0])]
    good, bad = [f1([(2, 1, 1), (1, 0, 0), (3, 1, 0), (1, 1, 1)])], [f1([(1, 2, 2), (1, 1, 0), (2, 1, 1), (0, 1, 2)])]
    alone = [
        seeds.paired("errors_total", few, many).ratio,
        seeds.paired("findings_f1", good, bad).ratio,
    ]
    found = seeds.together({"errors_total": few, "findings_f1": good}, {"findings_f1": bad, "errors_total": many})
    assert found.overall.value == pytest.approx((-alone[0] + alone[1]) / 2)
    assert found.each == pytest.approx((found.overall.value,))
    assert found.overall.low < found.overall.value < found.overall.high
    assert found.ratio is None


def test_metrics_that_err_together_do_not_make_a_narrower_interval():
    trainings, base = [drawn(seed, 1.0) for seed in range(3)], [drawn(seed, 1.1) for seed in range(3, 6)]
    alone = seeds.together({"errors_total": trainings}, {"errors_total": base}, clusters=PATIENTS)
    ratio = seeds.paired("errors_total", trainings, base, clusters=PATIENTS)
    assert (alone.overall.low, alone.overall.high) == pytest.approx((-ratio.ratio_high, -ratio.ratio_low))
    twice = dict.fromkeys(("errors_total", "errors_significant"), trainings)
    both = seeds.together(twice, dict.fromkeys(twice, base), clusters=PATIENTS)
    assert (both.overall.low, both.overall.high) == pytest.approx((alone.overall.low, alone.overall.high))


def test_other_metrics_on_either_side_are_refused():
    one = {"errors_total": [drawn(0)]}
    with pytest.raises(UsageError, match="give the same ones"):
        seeds.together(one, {"findings_f1": [drawn(0)]})
    with pytest.raises(UsageError, match="give the same ones"):
        seeds.together({}, {})


def test_a_study_counts_in_the_trainings_in_which_it_has_a_value():
    one = {
        "a": Score("errors_total", 1.0),
        "b": Score("errors_total", None, "n/a"),
        "c": Score("errors_total", None, "n/a"),
    }
    other = {
        "a": Score("errors_total", None, "n/a"),
        "b": Score("errors_total", 3.0),
        "c": Score("errors_total", None, "n/a"),
    }
    found = seeds.estimate("errors_total", [one, other], apart=True)
    assert (found.value, found.n) == (2.0, 2)
    assert seeds.paired("errors_total", [one], [other]).overall.n == 0
