"""What a model is shown: images, priors, context; mixtures of data sets; what must not leak into training."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training_helpers import SMALL
from wetread import prompts
from wetread.cli import main
from wetread.errors import ConfigError, StudyError, UsageError, WetreadWarning
from wetread.models import CopyModel, TemplateModel, inputs_of, open_model, read_manifest, write_manifest
from wetread.records import Generation, Image, InputConfig, Inputs, Prior, Report, Sampling, Study
from wetread.runs import evaluate
from wetread.runs.config import build, to_dict
from wetread.runs.draft import draft, read_prior, with_prior
from wetread.runs.store import JsonLines
from wetread.studies import folder, leaks, phantom
from wetread.studies.temporal import temporal
from wetread.training.config import DataConfig, RlConfig, SftConfig
from wetread.training.data import Pictures, as_dataset, select

LONG = " ".join(f"w{i}" for i in range(300))


def view(name: str, of: str) -> Image:
    return Image(name, of)  # type: ignore[arg-type]


STUDY = Study(
    "s1",
    (view("lat.png", "lateral"), view("pa.png", "PA"), view("odd.png", "unknown")),
    indication="Cough.",
    comparison="2091-01-01",
    age=50,
    sex="female",
    prior=Prior(
        "s0", images=(view("old-lat.png", "lateral"), view("old.png", "AP")), report=Report("Clear.", "Normal.")
    ),
)


def shown(study: Study = STUDY, **inputs):
    prompt = prompts.get("direct", Inputs(**inputs)).render(study)
    return [image.name for image in prompt.images], prompt.text


def picture(level: float, size: int = 8):
    return lambda: np.full((size, size), level, np.float32)


def ramp():
    return np.linspace(0, 1, 128 * 96, dtype=np.float32).reshape(128, 96)


FILM = Image("film.png", "PA", load=ramp)


def case(key: str, patient: str = "", split: str = "train", level: float = 0.5, report: Report | None = None, **more):
    image = Image("film.png", "PA", load=picture(level))
    made = Study(key, (image,), patient=patient, split=split, report=report or Report(f"Report of {key}.", "Normal."))
    return replace(made, **more)


def write(path: Path, *studies: Study) -> str:
    folder.write(path, studies)
    return str(path)


# What is rendered


def test_the_default_prompt_is_one_frontal_image_with_the_priors_impression():
    images, text = shown()
    assert images == ["pa.png"]
    assert text.splitlines() == [
        "Draft the findings and impression of this chest radiograph.",
        "PA view. female, 50 years. Indication: Cough. Comparison: 2091-01-01. Prior report: Normal.",
        "Write: Findings: ... Impression: ...",
    ]


@pytest.mark.parametrize(
    ("inputs", "images", "order"),
    [
        ({"images": "all"}, ["pa.png", "lat.png", "odd.png"], "current PA, current lateral, current."),
        ({"images": "all", "most_images": 2}, ["pa.png", "lat.png"], "current PA, current lateral."),
        ({"images": "all", "most_images": 1}, ["pa.png"], ""),
        ({"prior": "image"}, ["pa.png", "old.png"], "current PA, prior AP."),
        ({"images": "all", "prior": "both"}, ["pa.png", "lat.png", "odd.png", "old.png"], "current, prior AP."),
        ({"prior": "none"}, ["pa.png"], ""),
    ],
)
def test_images_stand_in_the_order_that_the_text_tells(inputs, images, order):
    found, text = shown(**inputs)
    assert found == images
    assert ("Images in order:" in text) == bool(order)
    assert order in text
    assert ("PA view." in text) == (len(images) == 1)


def test_the_prior_image_is_a_frontal_one_or_none():
    lateral = replace(STUDY, prior=Prior("s0", images=(view("old-lat.png", "lateral"),), report=Report("Clear.")))
    images, text = shown(lateral, prior="both")
    assert images == ["pa.png"] and "Prior report: Clear." in text and "order" not in text
    unknown = replace(STUDY, prior=Prior("s0", images=(view("old-lat.png", "lateral"), view("old.png", "unknown"))))
    assert shown(unknown, prior="image")[0] == ["pa.png", "old.png"]


def test_a_study_without_a_prior_has_a_prompt_without():
    first = replace(STUDY, prior=None)
    for prior in ("none", "report", "image", "both"):
        images, text = shown(first, prior=prior)
        assert images == ["pa.png"] and "rior" not in text


def test_the_priors_report_by_sections_and_cut_at_words():
    assert "Prior report: Clear.\n" in shown(prior_sections="findings")[1]
    assert "Prior report: Findings: Clear. Impression: Normal.\n" in shown(prior_sections="all")[1]
    only = replace(STUDY, prior=Prior("s0", report=Report(impression="Normal.")))
    assert "Prior report: Normal." in shown(only, prior_sections="findings")[1]
    long = replace(STUDY, prior=Prior("s0", report=Report(LONG)))
    assert "w99 ..." in shown(long)[1] and "w100" not in shown(long)[1]
    assert "w299" in shown(long, prior_words=300)[1] and "..." not in shown(long, prior_words=300)[1].split("\n")[1]
    assert "Prior" not in shown(prior="image")[1]


@pytest.mark.parametrize(
    ("key", "said"), [("indication", "Cough"), ("comparison", "2091"), ("age", "50 years"), ("sex", "female")]
)
def test_each_part_of_the_context_can_be_left_out(key, said):
    assert said in shown()[1]
    without = shown(**{key: False})[1]
    assert said not in without
    assert len(without) < len(shown()[1])


def test_sections_are_those_of_the_reference_and_render_is_pure():
    style = prompts.get("direct", Inputs(images="all", prior="both"))
    for report, asked in ((Report("a."), "Findings: ..."), (Report("", "b."), "Impression: ..."), (None, "both")):
        study = replace(STUDY, report=report)
        text = style.render(study).text
        assert text.endswith(f"Write: {asked if report else 'Findings: ... Impression: ...'}")
        assert style.render(study) == style.render(study)
        assert pickle.loads(pickle.dumps(style)).render(study) == style.render(study)
    assert style.render(replace(STUDY, report=Report("a.", "b.")), ["impression"]).text.endswith(
        "Write: Impression: ..."
    )
    assert style.target(Report("", "b.")) == "Impression: b."


# What is set and stored


def test_what_is_not_set_is_as_the_model_says(tmp_path):
    said = Inputs(images="all", prior="both", age=False)
    write_manifest(tmp_path, inputs=said.to_json())
    assert inputs_of(str(tmp_path)) == said
    assert InputConfig().over(said) == said
    assert build(InputConfig, None, ["prior=none", "age=true"]).over(said) == Inputs(images="all", prior="none")
    assert inputs_of(str(tmp_path / "nowhere")) == Inputs()
    assert "prior's frontal image and its report" in said.words and ", age" not in said.words
    write_manifest(tmp_path, inputs={"priors": "both"})
    with pytest.raises(ConfigError, match="Did you mean 'prior'"):
        inputs_of(str(tmp_path))


@pytest.mark.parametrize("setting", ["prior=maybe", "most_images=0", "prior_words=0", "images=lateral", "sex=3"])
def test_inputs_have_ranges(setting):
    key, _, value = setting.partition("=")
    with pytest.raises(ConfigError, match=key):
        build(SftConfig, None, [f"inputs.{setting}"])
    with pytest.raises(ConfigError, match=key):
        Inputs(**{key: int(value) if value.isdigit() else value})


# Mixtures


def test_one_folder_is_as_short_as_ever_and_a_mixture_is_said_in_yaml_or_sets(tmp_path):
    assert build(SftConfig, None, ["data.path=a"]).data == DataConfig(("a",))
    file = tmp_path / "c.yaml"
    file.write_text("data:\n  path: [a, b]\n  weights: [3, 1]\n  limit: [0, 9]\n")
    made = build(RlConfig, file)
    assert made.data == build(RlConfig, None, ["data.path=[a, b]", "data.weights=[3, 1]", "data.limit=[0, 9]"]).data
    assert made.data == DataConfig(("a", "b"), limit=(0, 9), weights=(3.0, 1.0))
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(to_dict(made)))
    assert build(RlConfig, again) == made


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DataConfig(()), "0 folders"),
        (DataConfig(("a", "a")), "different"),
        (DataConfig(("a", "b"), limit=(1, 2, 3)), "data.limit"),
        (DataConfig(("a", "b"), weights=(1.0,)), "data.weights"),
    ],
)
def test_what_does_not_fit_is_refused(data, said):
    with pytest.raises(ConfigError, match=said):
        select(data)
    with pytest.raises(ConfigError, match="above 0"):
        build(SftConfig, None, ["data.path=[a, b]", "data.weights=[1, 0]"])


def mixture(tmp_path: Path) -> tuple[str, str]:
    large = write(tmp_path / "large", *(case(f"s{i}", f"p{i}", source="L") for i in range(30)))
    small = write(tmp_path / "small", *(case(f"s{i}", f"p{i}", source="S", level=0.1) for i in range(7)))
    return large, small


def test_weights_are_shares_of_the_samples_and_no_study_is_lost(tmp_path):
    paths = mixture(tmp_path)
    plain = select(DataConfig(paths))
    assert len(plain) == 37 and [part.samples for part in plain.parts] == [30, 7]
    even = select(DataConfig(paths, weights=(1, 1)), seed=3)
    assert [part.samples for part in even.parts] == [30, 30]
    assert set(even.rows) == set(range(37))
    counts = [even.rows.count(row) for row in range(30, 37)]
    assert sorted(counts) == [4, 4, 4, 4, 4, 5, 5]
    assert even.event()["sources"][1] == {**vars(even.parts[1]), "share": 0.5}
    assert select(DataConfig(paths, weights=(1, 1)), seed=3).rows == even.rows
    assert any(select(DataConfig(paths, weights=(1, 1)), seed=seed).rows != even.rows for seed in range(4, 9))
    few = select(DataConfig(paths, weights=(1, 3)))  # now the large one is the rarer
    assert few.parts[0].samples == 30 and few.parts[1].samples == 90
    assert select(DataConfig(paths, limit=(4, 0))).parts[0].studies == 4
    with pytest.raises(ConfigError, match="at most 1000"):
        select(DataConfig(paths, weights=(1, 10_000)))


def test_studies_of_two_data_sets_keep_apart(tmp_path):
    samples = select(DataConfig(mixture(tmp_path)))
    assert len({study.id for study in samples}) == 37
    assert samples[30].id == "S:s0" and samples[0].id == "s0"
    assert samples[-1] == samples[36] and [one.id for one in samples[:2]] == ["s0", "s1"]
    data = as_dataset(samples, prompts.get("direct"), with_target=True)
    assert data[30]["study"] == "S:s0" and len(data) == 37


# Leaks


def test_the_same_patient_in_two_splits_is_refused_within_a_namespace_only(tmp_path):
    first = write(tmp_path / "a", case("a", "p", source="X"))
    other = write(tmp_path / "b", case("b", "q", source="Y"), case("c", "p", "test", source="Y"))
    select(DataConfig((first, other)))
    same = write(tmp_path / "c", case("d", "q", source="X"), case("e", "p", "test", source="X"))
    with pytest.raises(StudyError, match="1 patients"):
        select(DataConfig((first, same)))


def test_held_out_patients_studies_and_copies_are_refused(tmp_path):
    train = write(tmp_path / "train", case("a", "p", source="X"), case("b", "q", source="X"))
    good = write(tmp_path / "good", case("c", "p", "test", source="Y", level=0.9))
    assert len(select(DataConfig((train,), held_out=(good,)))) == 2
    patient = write(tmp_path / "patient", case("c", "q", "test", source="X"))
    with pytest.raises(StudyError, match="1 patients of the held-out"):
        select(DataConfig((train,), held_out=(patient,)))
    unnamed = write(tmp_path / "unnamed", case("b", split="", source="X"))
    with pytest.raises(StudyError, match="1 studies of the held-out"):
        select(DataConfig((train,), held_out=(unnamed,)))
    copy = write(tmp_path / "copy", case("z", "z", "test", source="Y", report=Report("report  OF b.", "Normal.")))
    with pytest.raises(StudyError, match="report and picture"):
        select(DataConfig((train,), held_out=(copy,)))
    report = write(tmp_path / "report", case("z", "z", "test", level=0.1, report=Report("Report of b.", "Normal.")))
    select(DataConfig((train,), held_out=(report,)))
    with pytest.raises(UsageError, match="'train' only"):
        select(DataConfig((train,), held_out=(train,)))


def test_a_copy_in_another_split_of_one_folder_is_refused(tmp_path):
    first, twin = (
        case("a", "p", source="X"),
        case("z", "z", "test", source="Y", report=Report("Report of a.", "Normal.")),
    )
    with pytest.raises(
        StudyError, match=r"1 training studies have .* a study of another split, the first a those of z;"
    ):
        select(DataConfig((write(tmp_path / "one", first, twin),)))
    with pytest.raises(StudyError, match="study of another split"):
        select(DataConfig((write(tmp_path / "two", first), write(tmp_path / "three", case("b", "b"), twin))))
    other = case("z", "z", "test", level=0.1, report=Report("Report of a.", "Normal."))
    assert len(select(DataConfig((write(tmp_path / "four", first, other),)))) == 1


def test_a_copy_is_found_by_its_pixels_too(tmp_path):
    first, second = case("a"), case("b", report=Report("Report of a.", "Normal."))
    other = replace(second, images=(Image("x.png", "PA", load=picture(0.6)),))
    assert [(x.id, y.id) for x, y in leaks.equal_pairs([first, second])] == [("a", "b")]
    assert not list(leaks.equal_pairs([first, other]))
    lost = replace(second, images=(Image("x.png", "PA"),))
    assert not list(leaks.equal_pairs([first, lost]))


def test_duplicates_in_training_are_warned_of(tmp_path):
    same = Report("Clear.", "Normal.")
    path = write(tmp_path / "a", *(case(key, "p", report=same, level=0.1 if key == "c" else 0.5) for key in "abc"))
    with pytest.warns(WetreadWarning, match="1 of the 3"):
        assert select(DataConfig((path,))).duplicates == 1
    again = write(tmp_path / "b", case("a", "p", report=same), case("d", "p", level=0.2))
    with pytest.warns(WetreadWarning) as told:
        samples = select(DataConfig((path, again)))
    assert [study.id for study in samples] == ["a", "b", "c", "d"]
    assert "more than one folder" in str(told[0].message) and "another one" in str(told[1].message)


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        (Prior("t"), "tested on"),
        (Prior("b"), "another patient"),
        (Prior("z", date="2091-02-01"), "later than"),
    ],
)
def test_a_prior_that_leaks_is_refused(tmp_path, prior, said):
    studies = [case("a", "p", prior=prior, date="2091-01-01"), case("b", "q"), case("t", split="test")]
    with pytest.raises(StudyError, match=said):
        select(DataConfig((write(tmp_path / "a", *studies),)))


def test_the_phantom_leaks_nothing(tmp_path):
    phantom.write(tmp_path / "p", 150, seed=4, size=64)
    samples = select(DataConfig((str(tmp_path / "p"),), held_out=(str(tmp_path / "p"),)))
    assert len(samples) > 80 and samples.duplicates == 0


# Encounters, copying the prior, drafting


def test_the_phantom_tells_encounter_and_change_and_reports_say_the_same():
    studies = list(phantom.generate(400, seed=6, size=64))
    assert {study.meta["encounter"] for study in studies} == {1, 2, 3, 4}
    for study in studies:
        assert (study.meta["encounter"] == 1) == (study.prior is None) == (study.meta["temporal"] == "first")
        assert temporal(study) == study.meta["temporal"] == temporal(replace(study, findings=None))
    assert {study.meta["temporal"] for study in studies} == {"first", "new", "worse", "better", "unchanged"}
    found = evaluate.strata("temporal", [replace(study, meta={}) for study in studies])
    assert found == evaluate.strata("temporal", studies)
    assert set(evaluate.strata("prior", studies)) == {"prior=yes", "prior=no"}
    assert list(evaluate.strata("encounter", [case("a", meta={"encounter": 7}), case("b", meta={"encounter": 5})])) == [
        "encounter=5+"
    ]


def test_copy_prior_answers_with_the_priors_report_else_the_most_frequent():
    often = Report("Often.", "Normal.")
    training = [case(str(i), report=often) for i in range(3)] + [case("x")]
    studies = [case("a", prior=Prior("b", report=Report("Old.", "Same."))), case("c"), case("d", prior=Prior("e"))]
    found = evaluate.baselines(training, studies)
    assert list(found) == [evaluate.TEMPLATE, evaluate.MOST_FREQUENT, evaluate.COPY_PRIOR]
    copying = found[evaluate.COPY_PRIOR]
    assert isinstance(copying, CopyModel)
    style = prompts.get(copying.style, copying.inputs)
    told = []
    made = copying.generate([style.render(study) for study in studies], Sampling(), told.append)
    assert [style.parse(one).report.findings for one in made] == ["Old.", "Often.", "Often."] and told == [3]
    assert evaluate.COPY_PRIOR not in evaluate.baselines(training, [case("c")])


class Echo(TemplateModel):
    """Writes what it was asked, so that a draft tells its prompt."""

    def generate(self, prompts, sampling, progress=None):
        return [Generation(p.study, f"Findings: {len(p.images)} images, {p.text.split()[2]}.") for p in prompts]


def test_drafting_asks_for_both_sections_unless_told_and_shows_what_the_model_says():
    model = Echo()
    study = case(
        "a", report=Report("Only findings."), prior=Prior("b", images=(Image("o.png", "PA", load=picture(0.1)),))
    )
    (record,) = draft([study], model, sampling=Sampling())
    assert "1 images, findings" in record.report.findings and record.images[0]["name"] == "film.png"
    model.inputs = Inputs(prior="both")
    (other,) = draft([study], model, sampling=Sampling(), sections=["impression"])
    assert "2 images, impression" in other.report.findings
    assert other.digest != record.digest


def test_a_prior_is_given_by_files(tmp_path):
    folder.write(tmp_path, [case("a", images=(FILM,))])
    (tmp_path / "old.txt").write_text("FINDINGS: Clear. IMPRESSION: Normal.")
    prior = read_prior(tmp_path / "images" / "a-0.png", tmp_path / "old.txt")
    assert prior is not None and prior.report == Report("Clear.", "Normal.") and len(prior.images) == 1
    assert read_prior(None, None) is None
    (one,) = with_prior([case("x")], prior)
    assert isinstance(one, Study) and one.prior == prior
    with pytest.raises(UsageError, match="several studies"):
        with_prior([case("x"), case("y")], prior)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_the_command_line_takes_prior_and_sections(tmp_path, capsys):
    folder.write(tmp_path, [case("a", images=(FILM,))])
    film = tmp_path / "images" / "a-0.png"
    (tmp_path / "old.txt").write_text("Clear lungs.")
    options = ("--model", "template", "--prior-report", tmp_path / "old.txt", "--prior", film)
    assert run("draft", film, *options, "--section", "findings") == 0
    assert run("draft", film, "--model", "template", "--section", "finding") == 2
    assert "Did you mean 'findings'" in capsys.readouterr().err


def test_a_picture_is_kept_once_for_a_study_and_as_a_prior(tmp_path):
    phantom.write(tmp_path, 40, seed=1, size=64)
    studies = {study.id: study for study in folder.read(tmp_path)}
    later = next(study for study in studies.values() if study.prior)
    pictures = Pictures()
    before = studies[later.prior.study]
    assert pictures.get(later.id, later.prior.images[0]) is pictures.get(before.id, before.images[0])


# Training


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("data")
    phantom.write(path / "one", 48, seed=5, size=64)
    phantom.write(path / "two", 24, seed=6, size=64)
    return [str(path / "one"), str(path / "two")]


TINY = (*SMALL, "tiny.image_size=32", "tiny.warmup_steps=0")


@pytest.fixture(scope="module")
def policy(data, tmp_path_factory) -> Path:
    from wetread.training import sft

    settings = [
        f"data.path=[{', '.join(data)}]",
        "data.weights=[1, 1]",
        f"data.held_out=[{data[0]}]",
        "inputs.prior=both",
    ]
    config = build(SftConfig, None, [*settings, "optim.steps=4", *TINY])
    return sft.train(config, tmp_path_factory.mktemp("sft") / "run")


@pytest.mark.slow
def test_what_a_policy_was_shown_is_stored_with_it(policy, data):
    assert Inputs.from_json(read_manifest(policy)["inputs"]) == Inputs(prior="both")
    assert open_model(str(policy)).inputs == Inputs(prior="both")
    card = (policy / "README.md").read_text()
    assert "prior's frontal image and its report" in card and "samples an epoch" in card
    (event,) = [one for one in JsonLines(policy.parent / "events.jsonl").read() if one["event"] == "sft.data"]
    assert [part["share"] for part in event["sources"]] == [0.5, 0.5]
    assert [part["folder"] for part in event["sources"]] == data


@pytest.mark.slow
def test_studies_with_and_without_prior_share_a_batch(policy, data):
    model = open_model(str(policy), device="cpu")
    studies = folder.read(data[0])[:16]
    asked = [prompts.get(model.style, model.inputs).render(study) for study in studies]
    assert {len(prompt.images) for prompt in asked} == {1, 2}
    together = model.generate(asked, Sampling(max_new_tokens=12, batch_size=16))
    alone = model.generate(asked, Sampling(max_new_tokens=12, batch_size=1))
    assert [one.text for one in together] == [one.text for one in alone]
    assert not any(one.stop == "error" for one in together)


@pytest.mark.slow
def test_the_prior_image_reaches_the_model(policy, data):
    from wetread.models.transformers import encode

    model = open_model(str(policy), device="cpu")
    study = next(one for one in folder.read(data[0]) if one.prior)
    prompt = prompts.get(model.style, model.inputs).render(study)
    inputs = encode(model.processor, [prompt])
    token = model.tokenizer.convert_tokens_to_ids("<image>")
    count = model.processor.num_additional_image_tokens + 1
    assert int((inputs["input_ids"] == token).sum()) == 2 * count and len(inputs["pixel_values"]) == 2
    first = model.model(**inputs).logits
    inputs["pixel_values"][1] = 1.0
    assert not np.allclose(first.detach().numpy(), model.model(**inputs).logits.detach().numpy())


@pytest.mark.slow
def test_rl_shows_what_the_policy_was_trained_on_unless_told(policy, data, tmp_path):
    from wetread.training import rl

    settings = [f"data.path=[{', '.join(data)}]", "data.weights=[1, 3]", f"model={policy}", "optim.steps=2"]
    settings += ["optim.batch=8", "group.rollouts=4", "group.max_new_tokens=12", "reward=entity_f1"]
    model = rl.train(build(RlConfig, None, settings), tmp_path / "run")
    assert inputs_of(str(model)) == Inputs(prior="both")
    other = rl.train(build(RlConfig, None, [*settings, "inputs.prior=none", "optim.steps=1"]), tmp_path / "other")
    assert inputs_of(str(other)) == Inputs(prior="none")


@pytest.mark.slow
def test_evaluate_shows_a_model_with_and_without_prior_side_by_side(policy, data, tmp_path):
    out, file = tmp_path / "run", tmp_path / "rows.json"
    arguments = ["evaluate", "--data", data[0], "--model", f"with={policy}", "--model", f"without={policy}"]
    arguments += ["--inputs", "without:prior=none", "--split", "train", "--limit", "12", "--out", str(out)]
    arguments += ["--json", str(file), "--max-new-tokens", "8", "--resamples", "100", "--by", "temporal"]
    assert run(*arguments) == 0
    systems = {row["system"] for row in json.loads(file.read_text())["rows"]}
    assert systems == {"template", "most frequent report", "copy prior", "with", "without"}
    config = (out / "config.yaml").read_text()
    assert "prior: both" in config and "prior: none" in config
    assert run(*[one.replace("without:", "nobody:") for one in arguments]) == 2


@pytest.mark.slow
def test_a_leak_ends_a_training_before_it_begins(data, tmp_path):
    from wetread.training import sft

    studies = [one.with_split("test") for one in folder.read(data[0]) if one.split == "train"]
    path = write(tmp_path / "test", *studies[:3])
    with pytest.raises(StudyError, match="held-out data are also trained on"):
        sft.train(build(SftConfig, None, [f"data.path={data[0]}", f"data.held_out={path}"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
