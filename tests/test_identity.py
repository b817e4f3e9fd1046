"""What a number says of how it was made: which weights by their contents, at which precision, or which judge."""

import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from wetread import metrics
from wetread.cli import _run
from wetread.errors import MissingError, UsageError
from wetread.metrics import weights as weights_file
from wetread.metrics.judges import client
from wetread.metrics.judges import errors as errors_file
from wetread.metrics.weights import fingerprint, label, locate, precision_of
from wetread.records import Report
from wetread.rewards import guards
from wetread.runs import compare

KEY, URL = "sk-not-to-be-shown", "http://127.0.0.1:9/v1"
PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))
NAMES = ("CheXbert", "RadGraph", "RadGraph-XL", "Modern-RadGraph-XL", "distilroberta-base", "RaTE-NER", "BioLORD")
LABEL = re.compile(rf"({'|'.join(NAMES)})@[0-9a-f]{{8}}(\+bf16)?")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("WETREAD_WEIGHTS", "WETREAD_PRECISION", client.URL, client.MODEL, client.KEY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WETREAD_CACHE", "off")


def file(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


# ---- contents --------------------------------------------------------------------------------------------------------


def test_equal_files_have_one_fingerprint_wherever_and_in_whatever_order(tmp_path):
    one = [file(tmp_path / "a", "config.json", b"{}"), file(tmp_path / "a", "model.bin", b"x" * 5_000_000)]
    two = [file(tmp_path / "b" / "c", path.name, path.read_bytes()) for path in reversed(one)]
    assert fingerprint(one) == fingerprint(two)
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(one))
    swapped = [file(tmp_path / "d", "config.json", b"x" * 5_000_000), file(tmp_path / "d", "model.bin", b"{}")]
    assert len({fingerprint(some) for some in (one, swapped, one[:1])}) == 3


def test_one_byte_anywhere_is_another_fingerprint(tmp_path):
    before = file(tmp_path, "model.bin", b"x" * 5_000_000)
    seen = {fingerprint([before])}
    for place in (0, 1_234_567, 4_999_999):
        content = bytearray(b"x" * 5_000_000)
        content[place] = 0
        seen.add(fingerprint([file(tmp_path / str(place), "model.bin", bytes(content))]))
    assert len(seen) == 4


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    weights_file._contents.cache_clear()
    path = file(tmp_path, "model.bin", b"one")
    first = [fingerprint([path]) for _ in range(3)]
    assert weights_file._contents.cache_info().misses == 1 and len(set(first)) == 1
    path.write_bytes(b"another")
    assert fingerprint([path]) != first[0]
    assert weights_file._contents.cache_info().misses == 2


def test_a_label_says_name_contents_and_precision(tmp_path):
    path = file(tmp_path, "model.bin", b"one")
    assert label("CheXbert", [path], "fp32") == f"CheXbert@{fingerprint([path])[:8]}"
    assert label("CheXbert", [path], "bf16") == f"CheXbert@{fingerprint([path])[:8]}+bf16"


def test_precision_is_what_is_given_then_what_the_environment_names_then_single(monkeypatch):
    assert precision_of() == "fp32" and precision_of("bf16") == "bf16"
    monkeypatch.setenv("WETREAD_PRECISION", "bf16")
    assert precision_of() == "bf16" and precision_of("fp32") == "fp32"
    with pytest.raises(UsageError, match=r"'bf61' is not known\. Did you mean 'bf16'\? There are: fp32, bf16"):
        precision_of("bf61")


# ---- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in metrics.METRICS if metrics.get(name).spec.needs])
def test_every_metric_that_needs_something_says_which(name):
    entry = metrics.get(name)
    assert entry.identity is not None or isinstance(entry, metrics.CompositeEntry)
    assert pickle.loads(pickle.dumps(entry)).identity is not None or isinstance(entry, metrics.CompositeEntry)


def test_metrics_and_guards_without_weights_say_so():
    assert metrics.get("rouge_l").signature(n=20) == "rouge_l|v1|no weights|findings+impression|as scored|n=20"
    assert compare.signature_of("rouge_l", n=2) == metrics.get("rouge_l").signature(n=2)
    assert guards.get("length_ratio").signature(n=2).split("|")[2] == "no weights"
    frozen = metrics.get("cider_d").freeze([Report("Clear lungs.")])
    assert frozen.signature().split("|")[1].startswith("v1+1.") and frozen.made_with() == ()


def assembled(folder):
    """The random checkpoints as a folder of weights, copied, so that a test may change them."""
    if not (PARITY / "radgraph" / "radgraph").is_dir():
        pytest.skip("the random checkpoints are not here; name their folder with WETREAD_PARITY")
    for name in ("chexbert", "radgraph", "bertscore"):
        shutil.copytree(PARITY / name, folder / name, copy_function=shutil.copyfile)
    for name, source in (("ner", "RaTE-NER-Deberta"), ("encoder", "encoder_bert")):
        shutil.copytree(PARITY / "ratescore" / source, folder / "ratescore" / name, copy_function=shutil.copyfile)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return assembled(tmp_path_factory.mktemp("weights"))


LOCAL = [
    name
    for name in metrics.METRICS
    if metrics.get(name).spec.needs and not any("endpoint" in need for need in metrics.get(name).spec.needs)
]
"""Metrics with weights."""


@pytest.mark.parametrize("name", LOCAL)
def test_a_signature_names_the_contents_of_the_weights(name, weights, monkeypatch):
    entry = metrics.get(name, weights)
    exact, half = entry.made_with(), metrics.get(name, weights, "bf16").made_with()
    assert all(LABEL.fullmatch(one) for one in (*exact, *half))
    assert [one.partition("@")[0] for one in exact] == list(entry.spec.needs)
    assert half == tuple(f"{one}+bf16" for one in exact)
    assert entry.signature(n=3).split("|")[2] == ",".join(exact)
    assert str(weights) not in entry.signature()
    assert pickle.loads(pickle.dumps(entry)).signature() == entry.signature()
    monkeypatch.setenv("WETREAD_WEIGHTS", str(weights))
    monkeypatch.setenv("WETREAD_PRECISION", "bf16")
    assert metrics.get(name).made_with() == half


def test_the_same_weights_elsewhere_have_the_same_signature_and_others_have_not(weights, tmp_path):
    copy = assembled(tmp_path / "elsewhere")
    before = {name: metrics.get(name, weights).signature() for name in LOCAL}
    assert {name: metrics.get(name, copy).signature() for name in LOCAL} == before
    (copy / "chexbert" / "README.md").write_text("not read", "utf-8")
    assert {name: metrics.get(name, copy).signature() for name in LOCAL} == before
    config = copy / "chexbert" / "bert-base-uncased" / "config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    changed = {name for name in LOCAL if metrics.get(name, copy).signature() != before[name]}
    assert changed == {name for name in LOCAL if "CheXbert" in metrics.get(name).spec.needs}
    assert {"semb_score", "radcliq_v1", "chexbert_f1_5_macro"} <= changed


def test_the_encoders_files_of_radgraph_count(weights, tmp_path):
    copy = assembled(tmp_path / "copy")
    (tokenizer,) = (copy / "radgraph" / "radgraph").rglob("vocab.txt")
    before = metrics.get("radgraph_combined", weights).made_with()
    assert metrics.get("radgraph_combined", copy).made_with() == before
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    assert metrics.get("radgraph_combined", copy).made_with() != before


def test_a_composite_lists_its_parts_weights_once(weights):
    made = metrics.get("radcliq_v1", weights).made_with()
    parts = [metrics.get(part, weights).made_with() for part in metrics.get("radcliq_v1").parts]
    assert made == tuple(dict.fromkeys(one for part in parts for one in part)) and len(made) == 3


@pytest.mark.parametrize("name", LOCAL)
def test_missing_weights_are_the_error_that_scoring_raises(name, tmp_path):
    entry = metrics.get(name, tmp_path)
    with pytest.raises(MissingError) as asked:
        entry.signature()
    with pytest.raises(MissingError) as scored:
        entry([Report("Clear.")], [Report("Effusion.")])
    assert str(asked.value) == str(scored.value)


def test_the_network_s_own_signature_is_of_the_same_contents(weights):
    torch_side = pytest.importorskip("wetread.metrics.neural.chexbert")
    from wetread.metrics import chexbert

    (made,) = chexbert.identity(str(weights), "fp32")
    model = torch_side.CheXbert(locate(chexbert.WEIGHTS, weights))
    assert made.partition("@")[2] in model.signature


# ---- judges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["green", "error_judge", "error_judge_significant", "crimson"])
def test_a_judge_s_signature_has_its_model_and_no_address_or_key(name, monkeypatch):
    with pytest.raises(MissingError) as asked:
        metrics.get(name).signature()
    with pytest.raises(MissingError) as scored:
        metrics.get(name)([Report("Clear.")], [Report("Effusion.")])
    assert str(asked.value) == str(scored.value)
    monkeypatch.setenv(client.URL, URL)
    monkeypatch.setenv(client.KEY, KEY)
    monkeypatch.setenv(client.MODEL, "gpt-x")
    found = metrics.get(name).signature(n=3)
    assert re.fullmatch(r"judge gpt-x/[0-9a-f]{8}", found.split("|")[2])
    assert KEY not in found and "127.0.0.1" not in found
    monkeypatch.setenv(client.URL, "https://elsewhere.example/v1")
    assert metrics.get(name).signature(n=3) == found
    assert metrics.get(name, precision="bf16").signature(n=3) == found
    monkeypatch.setenv(client.MODEL, "gpt-y")
    assert metrics.get(name).signature(n=3) != found


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("vendor/model-7b", "vendor/model-7b"), ("/data/models/judge", "judge"), ("~/judge/", "judge"),
        ("C:\\models\\judge", "judge"), ("https://host/judge", "judge"), ("a|b, c", "a_b_c"), ("/", "unnamed"),
    ],
)  # fmt: skip
def test_a_model_called_like_a_path_is_shown_by_its_last_part(model, shown, monkeypatch):
    monkeypatch.setenv(client.URL, URL)
    monkeypatch.setenv(client.MODEL, model)
    (made,) = metrics.get("error_judge").made_with()
    assert made.removeprefix("judge ").rpartition("/")[0] == shown


def test_another_prompt_or_version_is_another_judge(monkeypatch):
    monkeypatch.setenv(client.URL, URL)
    monkeypatch.setenv(client.MODEL, "gpt-x")
    rubric = errors_file.RUBRIC
    others = (
        replace(rubric, version="99"),
        replace(rubric, system="Other."),
        replace(rubric, user="{draft}{reference}"),
    )
    assert len({one.identity() for one in (rubric, *others)}) == 4


def test_a_local_judge_is_named_by_its_contents_and_what_it_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv(client.URL, URL)
    monkeypatch.setenv(client.MODEL, "gpt-x")
    file(tmp_path / "green", "config.json", b"{}")
    file(tmp_path / "green", "model.safetensors", b"tensors")
    file(tmp_path / "green", "pytorch_model.bin", b"the same, not read")
    (made,) = metrics.get("green", tmp_path).made_with()
    assert re.fullmatch(r"GREEN@[0-9a-f]{8}\+bf16/[0-9a-f]{8}", made)
    file(tmp_path / "green", "pytorch_model.bin", b"other")
    assert metrics.get("green", tmp_path).made_with() == (made,)
    file(tmp_path / "green", "prompt.txt", b"{reference} {draft}")
    assert metrics.get("green", tmp_path).made_with() != (made,)


# ---- where numbers are kept ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    rows = [{"study": f"s{n}", "report": text} for n, text in enumerate(("Clear lungs.", "Left effusion.", "Edema."))]
    for name in ("r.jsonl", "d.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return ["--references", str(tmp_path / "r.jsonl"), "--drafts", str(tmp_path / "d.jsonl")]


def run(files, folder, *more):
    return _run(["score", *files, "--metrics", "semb_score,rouge_l", "--resamples", "100", "--weights", folder, *more])


def test_a_run_folder_of_other_weights_or_precision_is_refused(files, weights, tmp_path, capsys):
    copy, out, told = assembled(tmp_path / "copy"), str(tmp_path / "run"), str(tmp_path / "o.json")
    assert run(files, str(weights), "--out", out, "--json", told) == 0
    body = json.loads(Path(told).read_text("utf-8"))
    made = metrics.get("semb_score", weights).made_with()[0]
    assert body["corpus"]["semb_score"]["signature"].split("|")[2] == made
    assert {one["semb_score"]["signature"].split("|")[2] for one in body["baselines"].values()} == {made}
    assert run(files, str(copy), "--out", out) == 0  # the same contents elsewhere
    capsys.readouterr()
    assert run(files, str(weights), "--out", out, "--precision", "bf16") == 1
    assert "different config: signatures.semb_score" in capsys.readouterr().err
    words = copy / "chexbert" / "bert-base-uncased" / "config.json"
    words.write_text(words.read_text("utf-8") + " ", "utf-8")
    assert run(files, str(copy), "--out", out) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_scores_of_other_weights_are_not_compared(files, weights, tmp_path, capsys):
    copy = assembled(tmp_path / "copy")
    words = copy / "chexbert" / "bert-base-uncased" / "config.json"
    words.write_text(words.read_text("utf-8") + " ", "utf-8")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    for folder, out in zip((weights, copy), folders, strict=True):
        assert run(files, str(folder), "--out", out) == 0
    capsys.readouterr()
    assert _run(["compare", *folders]) == 2
    assert "semb_score has two signatures" in capsys.readouterr().err


def test_bf16_stands_in_the_json(files, weights, tmp_path):
    out = tmp_path / "o.json"
    assert run(files, str(weights), "--precision", "bf16", "--json", str(out)) == 0
    corpus = json.loads(out.read_text("utf-8"))["corpus"]
    assert corpus["semb_score"]["signature"].split("|")[2].endswith("+bf16")
    assert corpus["rouge_l"]["signature"].split("|")[2] == "no weights"


def test_an_unknown_precision_ends_the_command(files, tmp_path, capsys, monkeypatch):
    assert run(files, str(tmp_path), "--precision", "fp16") == 2
    assert "There are: fp32, bf16" in capsys.readouterr().err
    monkeypatch.setenv("WETREAD_PRECISION", "half")
    assert run(files, str(tmp_path)) == 2


def test_missing_weights_end_the_command_before_anything_is_written(files, tmp_path, capsys):
    assert run(files, str(tmp_path), "--out", str(tmp_path / "run")) == 3
    assert "chexbert.pth" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_empty_drafts_are_printed_with_each_metric_s_policy(tmp_path, capsys):
    rows = {"r.jsonl": ("Left effusion.", "Edema."), "d.jsonl": ("Left effusion.", "")}
    for name, texts in rows.items():
        lines = [json.dumps({"study": str(n), "report": text}) for n, text in enumerate(texts)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", "utf-8")
    out = tmp_path / "o.json"
    chosen = "rouge_l,findings_precision,errors_total,fkgl"
    command = ["score", "--references", tmp_path / "r.jsonl", "--drafts", tmp_path / "d.jsonl", "--metrics", chosen]
    assert _run([str(one) for one in (*command, "--allow-missing", "--json", out)]) == 0
    policy = json.loads(out.read_text("utf-8"))["coverage"]["empty_draft_policy"]
    assert policy["0"] == ["rouge_l"] and policy["1"] == ["findings_precision"] and policy["not scored"] == ["fkgl"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "empty drafts: 1; each gets 0 (rouge_l); 1 (findings_precision); the number of findings" in shown
