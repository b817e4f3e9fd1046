"""``wetread score`` at scale: the same bits in one process, in several and in Ray actors, memory that does not grow."""

import gc
import json
import os
import socket
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

import actor_metric
import radgraph_files
from test_metrics_bertscore import make as make_bertscore
from test_metrics_chexbert import state, write
from training_helpers import command
from wetread.cli import _run
from wetread.errors import MissingError, RunError, UsageError
from wetread.records import Report
from wetread.runs import scoring, scoring_pool, scoring_ray, scoring_sums
from wetread.runs.scoring_work import DRAFTS, Chunk, Scorer, work
from wetread.studies.matching import Pair, Text

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

import scale

WAYS = (("--workers", "1"), ("--workers", "2"), ("--ray", "local", "--workers", "2"))


def by_every_way(files, folder, *arguments):
    """Return what ``--json``, the table and the stored lines are in each way."""
    found = []
    for number, way in enumerate(WAYS):
        made = folder / f"{number}.json", folder / f"{number}.md", folder / f"run{number}"
        options = ["--json", made[0], "--markdown", made[1], "--out", made[2], "--resamples", 200, *way, *arguments]
        assert _run(["score", "--references", str(files[0]), "--drafts", str(files[1]), *map(str, options)]) == 0
        found.append([made[0].read_bytes(), made[1].read_bytes(), (made[2] / "summary.json").read_bytes()])
    return found


@pytest.mark.slow
def test_processes_and_actors_give_the_bytes_of_one_process(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(scoring, "CHUNK", 48)
    files = scale.write(tmp_path, 300, 3)
    here, processes, actors = by_every_way(files, tmp_path, "--metrics", "offline", "--by", "site")
    assert here == processes
    assert here == actors
    assert json.loads(here[0])["coverage"]["scored"] == 300


@pytest.mark.slow
def test_networks_give_the_same_bytes_everywhere(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("WETREAD_CACHE", "off")
    weights = write(tmp_path / "weights", state())
    make_bertscore(weights / "bertscore")
    radgraph_files.checkpoint(weights, "radgraph")
    files = scale.write(tmp_path, 60, 3)
    arguments = (
        "--weights",
        weights,
        "--metrics",
        "chexbert_f1_14_micro,semb_score,radgraph_combined,bertscore,rouge_l",
    )
    (tmp_path / "whole").mkdir()
    whole = by_every_way(files, tmp_path / "whole", *arguments)
    assert whole[0] == whole[1] == whole[2]
    monkeypatch.setattr(scoring, "CHUNK", 13)
    assert json.loads(by_every_way(files, tmp_path, *arguments)[2][0])["reports"] == json.loads(whole[0][0])["reports"]


def chunk(*drafts):
    pairs = [
        Pair(f"s{number}", Text(Report(draft), b"", 1), Report("Clear."), {}, f"p{number}")
        for number, draft in enumerate(drafts)
    ]
    said = [pair.draft.report for pair in pairs], [(False, False)] * len(pairs)
    return Chunk(pairs, list(range(len(pairs))), {DRAFTS: said}, lines=True)


def values(done):
    return [json.loads(line)["scores"]["obey"]["value"] for line in done.lines]


OBEDIENT = Scorer(("obey",), {"obey": actor_metric.OBEY}, {"obey": ()})


@pytest.mark.slow
def test_a_dead_actor_s_chunk_is_done_by_another_and_errors_come_through(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv(actor_metric.VARIABLE, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the metric
    with scoring_pool.opened(OBEDIENT, 10, 2, "local") as pool:
        chunks = [chunk("a" * number, f"once {number}" if number in (2, 3) else "b") for number in range(8)]
        done = [values(done) for _, done in scoring_pool.in_order(pool, chunks)]
        assert done == [[number, 6 if number in (2, 3) else 1] for number in range(8)]
        assert (tmp_path / "2").exists()
        with pytest.raises(MissingError, match="weights that are not there"):
            pool.begin(chunk("miss"))()
        with pytest.raises(ValueError, match="a fault of the metric"):
            pool.begin(chunk("err"))()
        with pytest.raises(RunError, match="3 Ray actors died over the studies from 's0' on"):
            pool.begin(chunk("die always"))()
        assert (tmp_path / "always").read_text() == "x" * scoring_ray.TRIES
        assert values(pool.begin(chunk("abc"))()) == [3]


def test_a_dead_process_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv(actor_metric.VARIABLE, str(tmp_path))
    with scoring_pool.opened(OBEDIENT, 10, 2) as pool, pytest.raises(RunError, match="a process ended while it scored"):
        list(scoring_pool.in_order(pool, [chunk("die now") for _ in range(9)]))


def test_results_come_in_order_and_few_chunks_are_under_way():
    begun = []

    class Counting:
        scorer = OBEDIENT
        ahead = 3

        def begin(self, given):
            begun.append(given)
            return lambda: given

    for number, (given, done) in enumerate(scoring_pool.in_order(Counting(), range(20))):
        assert given == done == number
        assert len(begun) <= number + 4
    assert begun == list(range(20))


# ---- Ray that is not there -------------------------------------------------------------------------------------------


def opened(address):
    with scoring_pool.opened(OBEDIENT, 10, 1, address):
        raise AssertionError("it opened")


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    files = scale.write(tmp_path, 5, 0)
    arguments = ["--references", files[0], "--drafts", files[1], "--metrics", "rouge_l", "--ray", "local"]
    assert _run(["score", *map(str, arguments)]) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "pip install 'wetread[ray]'" in said[0]


@pytest.mark.parametrize("address", ["here", "ray://head:10001", "head:port", ":6379", "auto"])
def test_an_address_of_another_form_is_refused(address):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="HOST:PORT"):
        opened(address)


def test_an_address_where_nothing_or_something_else_listens(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(scoring_ray, "JOIN", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(MissingError, match=rf"no Ray cluster answers at {address} \(.*within 3 s\); start one"):
            opened(address)
    with pytest.raises(MissingError, match=rf"no Ray cluster answers at {address}"):
        opened(address)


# ---- memory ----------------------------------------------------------------------------------------------------------


class Repeating:
    """A pool that scores the first chunk and gives its result for every other, so that only the rest is measured."""

    ahead = 0

    def __init__(self, scorer):
        self.scorer = scorer
        self.done = None

    def begin(self, given):
        self.done = self.done or work(self.scorer, given)
        return lambda: self.done


@pytest.mark.slow
def test_memory_hardly_grows_with_the_studies(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 100)
    monkeypatch.setattr(scoring_sums, "MOST", 10)
    monkeypatch.setattr(scoring_sums, "POOLS", 10)
    peaks = {}
    for count in (10_000, 1_000, 10_000):  # the first warms caches up
        files = scale.write(tmp_path, count, 0)
        gc.collect()
        tracemalloc.start()
        matched = scoring.read(*files)
        scoring.score(matched, Repeating(scoring.scorer(matched, ["rouge_l"])), resamples=100)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(matched) == count
    # The order of the shuffled references takes 4 to 24 bytes a study; a list of the patients alone would take 50.
    assert peaks[10_000] - peaks[1_000] < 9_000 * 32, peaks


def test_patients_beyond_the_most_are_counted_and_not_listed(tmp_path):
    matched = scoring.read(*scale.write(tmp_path, 60, 1))
    patients = matched.patients(1_000)
    assert patients == sorted(set(patients))
    assert matched.count_patients() == len(patients)
    assert matched.patients(7) == patients[:7]


def test_a_column_of_very_many_values_makes_no_strata(tmp_path):
    matched = scoring.read(*scale.write(tmp_path, 300, 1))
    with (
        scoring_pool.opened(OBEDIENT, 300) as pool,
        pytest.raises(UsageError, match="'patient' has more than 100 values"),
    ):
        scoring.score(matched, pool, by=["patient"])


def test_texts_are_counted_as_they_are_called_the_same(tmp_path):
    said = ["Clear.", "clear.", " Clear. ", "Effusion.", "", ""]
    lines = "".join(json.dumps({"study": number, "report": text}) + "\n" for number, text in enumerate(said))
    (tmp_path / "a.jsonl").write_text(lines, "utf-8")
    matched = scoring.read(tmp_path / "a.jsonl", tmp_path / "a.jsonl", allow_missing=True)
    (pairs,) = matched.chunks(10)
    by_hand = {
        text: sum(other.draft.digest == one.draft.digest for other in pairs)
        for text, one in zip(said, pairs, strict=True)
    }
    assert {text: one.draft.copies for text, one in zip(said, pairs, strict=True)} == by_hand
    assert matched.distinct("drafts") == len({one.draft.digest for one in pairs})
    assert matched.empty("references") == 2
    assert matched.most_copies("drafts") == matched.most_frequent("drafts").copies
    assert [one.report for one in matched.references([3, 0])] == [pairs[3].reference, pairs[0].reference]


# ---- one cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bertscore(tmp_path):
    make_bertscore(tmp_path / "weights" / "bertscore")
    files = scale.write(tmp_path, 40, 2)
    arguments = ["--references", files[0], "--drafts", files[1], "--metrics", "bertscore", "--resamples", 100]
    return [*map(str, arguments), "--weights", str(tmp_path / "weights"), "--json"]


@pytest.mark.slow
def test_two_commands_share_one_cache(bertscore, tmp_path):
    environment = {**os.environ, "WETREAD_CACHE": str(tmp_path / "cache.sqlite")}
    running = [
        subprocess.Popen(command("score", *bertscore, str(tmp_path / name)), env=environment, stdout=subprocess.DEVNULL)
        for name in ("a.json", "b.json")
    ]
    assert [one.wait() for one in running] == [0, 0]
    assert _run(["score", *bertscore, str(tmp_path / "c.json")]) == 0
    found = [(tmp_path / name).read_bytes() for name in ("a.json", "b.json", "c.json")]
    assert all(one == other for one, other in pairwise(found))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_time_only(bertscore, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    environment = {**os.environ, "WETREAD_CACHE": str(tmp_path / "file" / "cache.sqlite")}
    ran = subprocess.run(
        command("score", *bertscore, str(tmp_path / "a.json")),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stderr.count("the cache cache.sqlite cannot be used") == 1
    monkeypatch.setenv("WETREAD_CACHE", "off")
    assert _run(["score", *bertscore, str(tmp_path / "b.json")]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
