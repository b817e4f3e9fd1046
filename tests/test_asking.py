"""Endpoints are asked about rollouts while others are still being generated, once each, and nothing hangs on when."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from judge_server import NO_ERRORS, Server, completion
from training_helpers import SMALL
from wetread import rewards
from wetread.errors import MissingError
from wetread.metrics.entry import MEAN, MetricEntry, score_pairs
from wetread.records import MetricSpec, Report
from wetread.rewards.asking import Asking
from wetread.runs.config import build
from wetread.runs.store import JsonLines

NAME = "rouge_l"
"""What the planted metrics are called: a name that is known."""


def entry(function):
    return MetricEntry(MetricSpec(NAME, "higher", None, frozenset(), "1"), function, MEAN)


def pair(draft, reference="Clear lungs."):
    return Report(draft), Report(reference)


class Slow:
    """Answers a batch when it is let, with the length of each draft."""

    def __init__(self):
        self.batches, self.busy, self.most, self.go = [], 0, 0, threading.Event()
        self.begun = threading.Event()

    def __call__(self, drafts, references):
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.batches.append([one.findings for one in drafts])
        self.begun.set()
        assert self.go.wait(10)
        self.busy -= 1
        return score_pairs(NAME, lambda draft, _: (float(len(draft.findings)), {}), drafts, references)


def test_pairs_are_asked_as_they_come_once_each_and_one_batch_at_a_time():
    slow = Slow()
    asking = Asking([NAME], {NAME: entry(slow)})
    asking.add([pair("a")])
    assert slow.begun.wait(10)
    asking.add([pair("bb")])
    asking.add([pair("ccc"), pair("a"), pair("bb")])
    assert slow.batches == [["a"]]
    slow.go.set()
    found = asking.get([pair("ccc"), pair("a"), pair("dddd"), pair("a")])
    assert [one.value for one in found[NAME]] == [3, 1, 4, 1]
    assert slow.most == 1 and Counter(text for batch in slow.batches for text in batch) == Counter(
        ["a", "bb", "ccc", "dddd"]
    )
    assert asking.get([pair("bb")])[NAME][0].value == 2 and sum(map(len, slow.batches)) == 4


def test_without_a_metric_that_asks_nothing_is_done():
    asking = Asking([], {})
    asking.add([pair("a")])
    assert asking.get([pair("a")]) == {}


def test_what_an_endpoint_lacks_is_said_where_the_scores_are_wanted():
    def lacking(drafts, references):
        raise MissingError("no endpoint is named")

    asking = Asking([NAME], {NAME: entry(lacking)})
    asking.add([pair("a")])
    for _ in range(2):
        with pytest.raises(MissingError, match="no endpoint"):
            asking.get([pair("b")])


def test_what_breaks_costs_the_batch_that_it_broke_in():
    def breaks(drafts, references):
        if any(one.findings == "bad" for one in drafts):
            raise ValueError("not a number")
        return score_pairs(NAME, lambda *_: (1.0, {}), drafts, references)

    asking = Asking([NAME], {NAME: entry(breaks)})
    assert asking.get([pair("good")])[NAME][0].value == 1
    scores = asking.get([pair("bad"), pair("good")])[NAME]
    assert scores[0].value is None and "ValueError: not a number" in scores[0].reason and scores[1].value == 1


@pytest.mark.slow
def test_a_training_asks_its_judge_while_it_generates(tmp_path, monkeypatch):
    from wetread.studies import phantom
    from wetread.training import decoding, rewarding, rl, sft
    from wetread.training.config import RlConfig, SftConfig

    data = tmp_path / "phantom"
    phantom.write(data, 48, seed=3, size=64)
    config = build(SftConfig, None, [f"data.path={data}", *SMALL, "optim.steps=12", "optim.rate=3e-3"])
    policy = sft.train(config, tmp_path / "sft")
    server = Server()
    server.reply = lambda number, question: completion(NO_ERRORS)
    for name, text in (("URL", server.url), ("MODEL", "m"), ("KEY", "")):
        monkeypatch.setenv(f"WETREAD_JUDGE_{name}", text)
    monkeypatch.setenv("WETREAD_CACHE", "off")
    seen = {"during": 0, "after": 0, "told": 0}
    whole, ask = decoding.rollouts, rewarding.ReportReward.ask

    def rollouts(*arguments):
        before = len(server.questions)
        made = whole(*arguments)
        seen["during"] += len(server.questions) - before
        return made

    def told(self, *arguments):
        seen["told"] += 1
        ask(self, *arguments)
        self._asking._changed.acquire()  # the worker has begun before the next token is drawn
        working = self._asking._working
        self._asking._changed.release()
        if working and not server.questions:
            for _ in range(500):
                if server.questions:
                    break
                threading.Event().wait(0.01)

    monkeypatch.setattr(decoding, "rollouts", rollouts)
    monkeypatch.setattr(rewarding.ReportReward, "ask", told)
    reward = {
        "name": "judged",
        "terms": [{"metric": "rouge_l"}, {"metric": "error_judge", "weight": 0.5, "transform": "inverse"}],
    }
    settings = {
        "model": str(policy), "data": {"path": str(data)}, "reward": reward, "guard": {"every": 0},
        "optim": {"steps": 2, "batch": 8, "rate": 1e-3}, "group": {"rollouts": 4, "max_new_tokens": 40},
    }  # fmt: skip
    try:
        rl.train(build(RlConfig, None, (), settings), tmp_path / "rl")
    finally:
        server.close()
    steps = [one for one in JsonLines(tmp_path / "rl" / "events.jsonl").read() if one["event"] == "rl.step"]
    assert len(steps) == 2 and all(one["guard/unscored"] == 0 for one in steps)
    assert seen["told"] > 0 and seen["during"] > 0
    assert {"term/error_judge", "term/rouge_l"} <= set(steps[0])
    assert rewards.get(reward).metrics == ("rouge_l", "error_judge")
