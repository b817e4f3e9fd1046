"""``wetread compare``: stored scores in, paired differences out; no metric is run again."""

import json

import numpy as np
import pytest

from wetread import metrics
from wetread.cli import _run
from wetread.errors import UsageError
from wetread.records import Score
from wetread.runs import compare, comparing, stored

WORDS = [
    "left",
    "right",
    "small",
    "large",
    "pleural",
    "effusion",
    "edema",
    "cardiomegaly",
    "clear",
    "lungs",
    "pneumothorax",
    "no",
    "mild",
    "atelectasis",
]
NAMES = "rouge_l,bleu_4,findings_f1,findings_f1_macro,errors_total"


def texts(rng, n, keep):
    """References, and drafts that share about a part of their words with them."""
    references = [list(rng.choice(WORDS, 8)) for _ in range(n)]
    drafts = [[word if rng.random() < keep else rng.choice(WORDS) for word in one] for one in references]
    return references, drafts


def store(folder, name, references, drafts, *, names=NAMES, patients=None):
    for kind, several in (("r", references), ("d", drafts)):
        with (folder / f"{kind}.jsonl").open("w", encoding="utf-8") as file:
            for i, words in enumerate(several):
                record = {"study": f"s{i:03d}", "report": " ".join(words) + "."}
                file.write(json.dumps(record | ({"patient": patients[i]} if patients else {})) + "\n")
    arguments = ["--references", folder / "r.jsonl", "--drafts", folder / "d.jsonl", "--out", folder / name]
    assert _run([str(one) for one in ("score", *arguments, "--metrics", names, "--resamples", 100)]) == 0
    return folder / name


@pytest.fixture
def folders(tmp_path, rng):
    references, good = texts(rng, 60, 0.8)
    bad = [[word if rng.random() < 0.4 else rng.choice(WORDS) for word in one] for one in references]
    return store(tmp_path, "good", references, good), store(tmp_path, "bad", references, bad)


def test_json_and_the_library_s_paired_differences(folders, tmp_path, capsys):
    out = tmp_path / "c.json"
    assert _run(["compare", *map(str, folders), "--json", str(out), "--resamples", "500"]) == 0
    shown = capsys.readouterr().out
    assert "good − bad" in shown
    body = json.loads(out.read_text("utf-8"))
    loaded = [stored.load(folder) for folder in folders]
    assert [one["metric"] for one in body["pairs"]] == NAMES.split(",")
    for one in body["pairs"]:
        assert {"a", "b", "metric", "difference", "low", "high", "p", "p_holm", "n"} <= set(one)
        sides = [system.scores[one["metric"]] for system in loaded]
        at = compare.paired(one["metric"], *sides, resamples=500, seed=0)
        assert (one["difference"], one["low"], one["high"]) == pytest.approx((at.value, at.low, at.high), abs=1e-9)
        assert one["p_bootstrap"] == pytest.approx(at.p)
        assert 0 < one["p"] <= one["p_holm"] <= 1
        assert one["wins"] + one["ties"] + one["losses"] == one["n"] == 60
    rouge = body["pairs"][0]
    assert rouge["difference"] > 0 and rouge["p"] == 1 / 501 and rouge["effect"] > 0 and rouge["wins"] > rouge["losses"]
    errors = body["pairs"][-1]
    assert errors["better"] == "lower"
    assert len(body["studies"]) == comparing.SHOWN
    distances = [one["distance"] for one in body["studies"]]
    assert distances == sorted(distances, reverse=True)


def test_no_metric_is_run_again(folders, monkeypatch):
    loaded = [stored.load(folder) for folder in folders]
    monkeypatch.setattr(metrics, "score", lambda *args, **kwargs: pytest.fail("a metric was run"))
    assert comparing.run(loaded, resamples=100).pairs


def test_equal_systems_do_not_differ_and_p_is_never_0(tmp_path, rng):
    references, drafts = texts(rng, 20, 0.5)
    systems = [stored.load(store(tmp_path, name, references, drafts)) for name in ("a", "b")]
    found = comparing.run(systems, resamples=200)
    assert all(one.difference == 0 and one.p == 1 and one.p_holm == 1 and one.effect is None for one in found.pairs)
    assert all((one.wins, one.ties, one.losses) == (0, 20, 0) for one in found.pairs)
    assert found.apart == ()


def test_three_systems_make_three_pairs_corrected_together(folders, tmp_path, rng):
    references = [json.loads(line)["report"][:-1].split() for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    worst = store(tmp_path, "worst", references, [["clear"]] * 60)
    found = comparing.run([stored.load(one) for one in (*folders, worst)], names=["rouge_l"], resamples=300)
    assert [(one.a, one.b) for one in found.pairs] == [("good", "bad"), ("good", "worst"), ("bad", "worst")]
    assert [one.p_holm for one in found.pairs] == compare.holm([one.p for one in found.pairs])
    assert found.pairs[0].p_holm == pytest.approx(3 / 301)


def test_same_seed_same_result(folders):
    loaded = [stored.load(folder) for folder in folders]
    first, again = (comparing.run(loaded, resamples=200, seed=3) for _ in range(2))
    assert first == again
    assert first.pairs != comparing.run(loaded, resamples=200, seed=4).pairs


def test_patients_are_swapped_and_drawn_whole(tmp_path, rng):
    references, drafts = texts(rng, 40, 0.9)
    _, other = texts(rng, 40, 0.5)
    wide = []
    for kind in ("alone", "together"):
        patients = [f"p{i if kind == 'alone' else i // 20}" for i in range(40)]
        pair = [store(tmp_path, f"{kind}{n}", references, d, names="rouge_l", patients=patients)
                for n, d in enumerate((drafts, other))]  # fmt: skip
        wide.append(comparing.run([stored.load(one) for one in pair], resamples=400).pairs[0])
    assert wide[0].difference == pytest.approx(wide[1].difference)
    assert wide[0].p < 0.05
    assert wide[1].p >= 0.25  # two patients can be swapped in four ways


def test_p_of_the_null_is_uniform():
    generator = np.random.default_rng(0)
    low = 0
    for trial in range(200):
        sums = [np.stack([generator.normal(size=30), np.ones(30)], axis=1) for _ in range(2)]
        a, b = compare.swapped_sums(*sums, resamples=199, seed=trial)
        observed = float(sums[0][:, 0].mean() - sums[1][:, 0].mean())
        low += compare.randomised_p(observed, (a[:, 0] - b[:, 0]) / 30) <= 0.1
    assert 8 <= low <= 34


def test_systems_that_cannot_be_compared_are_refused(folders, tmp_path, rng, capsys):
    good = stored.load(folders[0])
    references, drafts = texts(rng, 60, 0.8)
    other = stored.load(store(tmp_path, "other", references, drafts))
    with pytest.raises(UsageError, match="60 studies have different references"):
        comparing.run([good, other])
    fewer = stored.load(store(tmp_path, "fewer", references[:50], drafts[:50]))
    with pytest.raises(UsageError, match="not scored on the same studies"):
        comparing.run([good, fewer])
    with pytest.raises(UsageError, match="at least two"):
        comparing.run([good])
    with pytest.raises(UsageError, match="Did you mean 'rouge_l'"):
        comparing.run([good, stored.load(folders[1])], names=["rouge_x"])
    capsys.readouterr()
    assert _run(["compare", str(folders[0]), str(tmp_path / "nowhere")]) == 3
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_another_version_or_other_weights_are_refused(folders, tmp_path):
    file = folders[1] / "run.json"
    body = json.loads(file.read_text("utf-8"))
    body["config"]["signatures"]["rouge_l"] = body["config"]["signatures"]["rouge_l"].replace("|v1|", "|v9|")
    file.write_text(json.dumps(body), "utf-8")
    with pytest.raises(UsageError, match="rouge_l has two signatures"):
        comparing.run([stored.load(one) for one in folders])


def test_an_unfinished_run_is_refused(folders):
    file = folders[1] / "scores.jsonl"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:7]), "utf-8")
    with pytest.raises(UsageError, match="7 of 60 studies"):
        stored.load(folders[1])


def test_what_either_has_no_value_for_counts_for_neither():
    def system(name, values):
        scores = {
            f"s{i}": Score("rouge_l", value, "" if value is not None else "why") for i, value in enumerate(values)
        }
        same = {study: study for study in scores}
        return comparing.Stored(name, {"rouge_l": "rouge_l|v1"}, same, same, {"rouge_l": scores})

    one = comparing.run([system("a", [1.0, None, 0.5]), system("b", [0.5, 0.9, 0.5])], resamples=100).pairs[0]
    assert (one.n, one.difference) == (2, 0.25)
    assert (one.a_value, one.b_value) == (0.75, 0.5)
