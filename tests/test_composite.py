"""Metrics made of other metrics, and metrics that need a corpus: what is shared, what is passed on, what is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from wetread import metrics
from wetread.errors import UsageError
from wetread.metrics import radcliq
from wetread.metrics.cider import CIDER_D, Documents, documents
from wetread.metrics.entry import MEAN, CompositeEntry, MetricEntry, score_pairs
from wetread.records import MetricSpec, Report, Score
from wetread.registry import Registry

CALLS = []
WEIGHTS = []
A, B, C = Report("Clear lungs."), Report("Small left effusion."), Report(impression="No acute disease.")


def words(drafts, references):
    CALLS.append(len(drafts))
    return score_pairs("words", lambda d, r: (float(len(d.text.split())), {"n": 1.0}), drafts, references)


def network(drafts, references, *, weights, precision):
    WEIGHTS.append((weights, precision))
    return [
        Score("network", None, "it would not read") if "effusion" in d.text else Score("network", 0.5) for d in drafts
    ]


def _sum(parts):
    return Score("both", sum(part.value for part in parts.values()), counts={"words": parts["words"].value})


def _twice(parts):
    return Score("twice", 2 * parts["both"].value)


def unused(drafts, references, *, weights, precision):
    raise AssertionError("a composite is made of its parts, not of its function")


def spec(name, needs=()):
    return MetricSpec(name, "higher", None, frozenset(), "1", needs=needs)


WORDS = MetricEntry(spec("words"), words, MEAN)
NETWORK = MetricEntry(spec("network", ("Network",)), network, MEAN)
BOTH = CompositeEntry(spec("both", ("Network",)), unused, MEAN, parts=("words", "network"), join=_sum)
TWICE = CompositeEntry(spec("twice", ("Network",)), unused, MEAN, parts=("both",), join=_twice)


@pytest.fixture(autouse=True)
def own_metrics(monkeypatch):
    names = {"words": "WORDS", "network": "NETWORK", "both": "BOTH", "twice": "TWICE"}
    entries = {name: f"{__name__}:{attribute}" for name, attribute in names.items()}
    real = {"cider_d": "wetread.metrics.cider:CIDER_D", "rouge_l": "wetread.metrics.lexical:ROUGE_L"}
    monkeypatch.setattr(metrics, "METRICS", Registry("metric", entries | real))
    CALLS.clear()
    WEIGHTS.clear()


def test_parts_that_several_metrics_share_are_scored_once():
    drafts, references = [A, C, A, A], [B, B, B, C]
    scores = metrics.score(("both", "words", "twice"), drafts, references)
    assert CALLS == [3] and len(WEIGHTS) == 1
    assert list(scores) == ["both", "words", "twice"]  # the parts that were not asked for stay inside
    assert [score.value for score in scores["both"]] == [3.5, 4.5, 3.5, 3.5]
    assert [score.value for score in scores["twice"]] == [7.0, 9.0, 7.0, 7.0]
    assert scores["both"][0].counts is not scores["both"][2].counts


def test_one_pair_alone_gets_what_it_gets_in_a_batch():
    together = BOTH([A, C, A], [B, A, B])
    assert together == [BOTH([draft], [reference])[0] for draft, reference in ((A, B), (C, A), (A, B))]
    assert BOTH([], []) == []


def test_a_part_without_a_value_gives_none_with_its_reason_and_shifts_nobody():
    first, second, third, fourth = BOTH([A, B, C, A], [A, A, A, Report()])
    assert (first.value, third.value) == (3.5, 4.5)
    assert (second.value, second.reason, second.metric) == (None, "network: it would not read", "both")
    assert (fourth.value, fourth.reason) == (None, "words: the reference report is empty")
    assert BOTH.aggregate([first, second, third, fourth]) == pytest.approx(4.0)
    assert TWICE([B], [A])[0].reason == "both: network: it would not read"


def test_a_composite_need_not_be_registered():
    own = replace(BOTH, spec=spec("mine"))
    assert own([A], [B])[0].value == 3.5
    assert metrics.score(["mine"], [A], [B], entries={"mine": own})["mine"][0].value == 3.5


def test_weights_and_precision_reach_the_parts(tmp_path, monkeypatch):
    metrics.get("both", weights=tmp_path)([A], [B])
    metrics.score(["twice"], [A], [B], weights=tmp_path, precision="bf16")
    metrics.get("twice", precision="bf16")([A], [B])
    metrics.get("both")([A], [B])
    monkeypatch.setenv("WETREAD_PRECISION", "bf16")
    metrics.get("both")([A], [B])
    metrics.get("both", precision="fp32")([A], [B])
    here = str(tmp_path)
    assert list(WEIGHTS) == [
        (here, "fp32"), (here, "bf16"), (None, "bf16"), (None, "fp32"), (None, "bf16"), (None, "fp32"),
    ]  # fmt: skip


def test_an_unknown_precision_is_refused(monkeypatch):
    for wrong in (
        lambda: metrics.get("both", precision="fp16"),
        lambda: metrics.score(["both"], [A], [B], precision=""),
    ):
        with pytest.raises(UsageError, match=r"is not known\..* There are: fp32, bf16"):
            wrong()
    monkeypatch.setenv("WETREAD_PRECISION", "half")
    with pytest.raises(UsageError, match="'half' in WETREAD_PRECISION"):
        metrics.get("network")([A], [B])


def test_what_is_bound_is_everything_that_a_batch_needs(tmp_path):
    entries = pickle.loads(pickle.dumps(metrics.bind(["twice", "cider_d"], [A, B], weights=tmp_path, precision="bf16")))
    assert list(entries) == ["twice", "cider_d", "both", "words", "network"]
    assert not isinstance(entries["cider_d"], metrics.CorpusEntry)
    metrics.score(["twice"], [A], [B], entries=entries)
    assert list(WEIGHTS) == [(str(tmp_path), "bf16")]


def test_a_composite_pickles():
    copy = pickle.loads(pickle.dumps(BOTH))
    assert copy.parts == BOTH.parts and copy([A], [B]) == BOTH([A], [B])


def test_lists_of_different_length_are_refused():
    for entry in (BOTH, TWICE, CIDER_D):
        with pytest.raises(UsageError, match="2 drafts but 1 references"):
            entry([A, B], [A])


# A metric that needs a corpus. ---------------------------------------------------------------------------------------

CORPUS = [
    Report("The lungs are clear. The heart is normal."),
    Report("Small left pleural effusion is seen today."),
    Report("The lungs are clear. No pleural effusion."),
    Report("Moderate cardiomegaly with mild edema."),
]


def test_an_unfrozen_metric_takes_the_call_for_the_corpus():
    drafts = [CORPUS[0], CORPUS[1], CORPUS[0], CORPUS[3]]
    whole = metrics.score(["cider_d"], drafts, CORPUS)["cider_d"]
    assert [score.value for score in whole] == [score.value for score in CIDER_D(drafts, CORPUS)]
    assert CIDER_D(drafts[1:2], CORPUS[1:2])[0].value == 0.0 < whole[1].value


def test_repeated_references_count_as_often_as_they_are_there():
    references = [CORPUS[0]] * 3 + [CORPUS[1]]
    drafts = [CORPUS[2]] * 3 + [CORPUS[1]]
    got = metrics.score(["cider_d"], drafts, references)["cider_d"]
    assert [score.value for score in got] == [score.value for score in CIDER_D(drafts, references)]
    assert documents(references).n == 4


def test_a_frozen_metric_gives_a_report_the_same_score_in_any_batch():
    frozen = CIDER_D.freeze(CORPUS)
    drafts = [CORPUS[0], CORPUS[2], CORPUS[1], Report()]
    together = frozen(drafts, CORPUS)
    assert together == [frozen([d], [r])[0] for d, r in zip(drafts, CORPUS, strict=True)]
    assert together == metrics.score(["cider_d"], drafts, CORPUS, entries={"cider_d": frozen})["cider_d"]
    part = metrics.score(["cider_d"], drafts[2:], CORPUS[2:], entries={"cider_d": frozen})["cider_d"]
    assert part == together[2:]
    assert together[0].value == pytest.approx(10.0) and together[3].value == 0.0


def test_a_frozen_metric_says_what_it_was_frozen_on_and_pickles():
    frozen = CIDER_D.freeze(CORPUS)
    assert frozen.spec.version.startswith("1+4.") and CIDER_D.spec.version == "1"
    assert frozen.spec.version == CIDER_D.freeze(reversed(CORPUS)).spec.version
    assert frozen.spec.version != CIDER_D.freeze(CORPUS[:3]).spec.version
    assert frozen.signature(n=4).startswith("cider_d|v1+4.")
    copy = pickle.loads(pickle.dumps(frozen))
    assert copy(CORPUS, CORPUS) == frozen(CORPUS, CORPUS)
    stored = Documents.from_json(documents(CORPUS).to_json())
    assert CIDER_D.frozen(stored)(CORPUS, CORPUS) == frozen(CORPUS, CORPUS)


def test_empty_references_are_not_scored_and_not_counted():
    scores = metrics.score(["cider_d"], [*CORPUS, A], [*CORPUS, Report("  ")])["cider_d"]
    assert scores[:4] == CIDER_D(CORPUS, CORPUS)
    assert (scores[4].value, scores[4].reason) == (None, "the reference report is empty")
    assert CIDER_D([A], [Report()])[0].value is None
    assert metrics.score(["cider_d"], [A], [Report()])["cider_d"][0].value is None
    with pytest.raises(UsageError, match="no reference with text"):
        CIDER_D.freeze([Report()])


# RadCliQ over parts that are made up. --------------------------------------------------------------------------------


def parts_of(name, value, reason=""):
    return lambda drafts, references: [Score(name, value, reason) for _ in drafts]


def made_up(**values):
    """Entries that give every report these part scores."""
    return {
        name: MetricEntry(spec(name), parts_of(name, value, "" if value is not None else "no entity"), MEAN)
        for name, value in values.items()
    } | {"radcliq_v0": radcliq.RADCLIQ_V0, "radcliq_v1": radcliq.RADCLIQ_V1}


def both_versions(*values):
    entries = made_up(**dict(zip(radcliq.PARTS, values, strict=True)))
    found = metrics.score(("radcliq_v0", "radcliq_v1"), [A], [A], entries=entries)
    return found["radcliq_v0"][0], found["radcliq_v1"][0]


def test_radcliq_of_identical_reports():
    v0, v1 = both_versions(1.0, 1.0, 1.0, 1.0)
    assert (v0.value, v1.value) == (pytest.approx(-0.242133, abs=1e-6), pytest.approx(-1.440690, abs=1e-6))
    v0, v1 = both_versions(0.5, 1.0, 1.0, 1.0)  # what radgraph_combined gives two equal reports without a relation
    assert (v0.value, v1.value) == (pytest.approx(0.552384, abs=1e-6), pytest.approx(-0.818082, abs=1e-6))


def test_radcliq_is_lower_where_each_part_is_better():
    least = both_versions(0.2, 0.2, 0.2, 0.2)[1].value
    for place in range(3):
        values = [0.2, 0.2, 0.2, 0.2]
        values[place] = 0.9
        assert both_versions(*values)[1].value < least
    assert both_versions(0.2, 0.2, 0.2, 0.9)[0].value > both_versions(0.2, 0.2, 0.2, 0.2)[0].value


def test_radcliq_without_one_part_is_not_scored():
    v0, v1 = both_versions(None, 1.0, 1.0, 1.0)
    assert v0.value is v1.value is None
    assert v1.reason == "radgraph_combined: no entity"


def test_radcliq_keeps_its_parts_and_averages_raw():
    _, v1 = both_versions(0.3, 0.4, 0.5, 0.6)
    assert v1.counts == dict(zip(radcliq.PARTS, (0.3, 0.4, 0.5, 0.6), strict=True))
    scores = [Score("radcliq_v1", value) for value in (-1.0, 2.0, None)]
    assert radcliq.RADCLIQ_V1.aggregate(scores) == 0.5
    assert radcliq.RADCLIQ_V1.spec.better == "lower" and radcliq.RADCLIQ_V1.spec.bounds == pytest.approx(
        (-1.4407, 12.609), abs=1e-3
    )
    assert pickle.loads(pickle.dumps(radcliq.RADCLIQ_V1)).parts == radcliq.PARTS


def test_the_board_figure_says_when_it_is_unstable():
    assert radcliq.rexrank_figure(0.5, 0.45, 0.55) == radcliq.RexrankFigure(2.0, 1 / 0.55, 1 / 0.45, "")
    assert "sign" in radcliq.rexrank_figure(0.01, -0.1, 0.12).unstable
    assert radcliq.rexrank_figure(0.01, -0.1, 0.12).low is None
    assert "factor of 4" in radcliq.rexrank_figure(0.1, 0.05, 0.2).unstable
    below = radcliq.rexrank_figure(-0.5, -0.6, -0.4)
    assert (below.value, below.low, below.high) == (-2.0, -2.5, pytest.approx(-1 / 0.6))
    assert "lower figure" in below.unstable
    assert radcliq.rexrank_figure(0.5).unstable == "its interval is not known"
    assert radcliq.rexrank_figure(0.0, -0.1, 0.1).value is None
    assert radcliq.rexrank_figure(None) == radcliq.RexrankFigure(None, None, None, "nothing was scored")


def test_the_board_interval_is_the_means_turned_round(rng):
    values = rng.normal(0.8, 0.5, 200)
    means = rng.choice(values, (2000, 200)).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    figure = radcliq.rexrank_figure(float(values.mean()), float(low), float(high))
    assert (figure.low, figure.high) == pytest.approx(np.quantile(1 / means, (0.025, 0.975)), rel=1e-3)
