"""The most recent prior: always earlier, of the same patient and split, and the latest of those; never by id."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_helpers import SMALL
from wetread.cli import main
from wetread.errors import WetreadWarning
from wetread.records import Image, Prior, Report, Study
from wetread.runs.config import build
from wetread.studies import folder, leaks, phantom, priors
from wetread.studies.priors import PriorCount, is_later, with_priors
from wetread.training import guarding, preflight, stages
from wetread.training.config import DataConfig, SftConfig
from wetread.training.data import select
from wetread.training.recipe import find, open_recipe

DAYS = ["2090-01-01", "2090-01-02", "2090-01-03", "20900104", "", "spring", "2090-02"]
TIMES = ["", "T08:00", "T08:00:30", "T21:15"]


def case(key: str, patient: str = "p", date: str = "", split: str = "train", **more) -> Study:
    image = Image(f"{key}.png", "PA", load=lambda: np.zeros((8, 8), np.float32))
    made = Study(key, (image,), patient=patient, date=date, split=split, report=Report(f"Report of {key}.", "Normal."))
    return replace(made, **more)


def found(*studies: Study) -> dict[str, str]:
    """Study to the prior that it got."""
    return {study.id: study.prior.study if study.prior else "" for study in with_priors(studies)[0]}


@st.composite
def histories(draw) -> list[Study]:
    """Studies of few patients, sources and splits, on few days, some at the same time, in any order, with any ids."""
    keys = draw(st.lists(st.integers(0, 99), unique=True, max_size=9))
    made = []
    for key in keys:
        day = draw(st.sampled_from(DAYS))
        encounter = draw(st.sampled_from([None, None, 1, 2, 3, "4", True]))
        made.append(
            case(
                f"s{key}",
                draw(st.sampled_from(["p", "p", "p", "q", ""])),
                day + (draw(st.sampled_from(TIMES)) if day[:1] == "2" and len(day) == 10 else ""),
                draw(st.sampled_from(["train", "train", "test"])),
                source=draw(st.sampled_from(["X", "X", "Y"])),
                meta={} if encounter is None else {"encounter": encounter},
            )
        )
    return made


def moment(study: Study) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(study.date)
    except ValueError:
        return None


def known_earlier(one: Study, other: Study, dated: set[tuple[str, str]]) -> bool:
    """Whether ``one`` is known to be earlier, said in another way than in the code: by day, then time, then encounter.

    ``dated`` are the patients with a date at all; those of the others are ordered by encounter alone.
    """
    first, second = moment(one), moment(other)
    if (one.source, one.patient) in dated:
        if first is None or second is None:
            return False
        if first.date() != second.date():
            return first.date() < second.date()
        if all(len(study.date) > 10 for study in (one, other)) and first != second:
            return first < second
    numbers = [study.meta.get("encounter") for study in (one, other)]
    return all(type(number) is int for number in numbers) and numbers[0] < numbers[1]


@given(histories())
def test_a_prior_is_the_latest_earlier_study_of_the_same_patient_and_split(studies):
    made, counts = with_priors(studies)
    by_key = {(study.source, study.id): study for study in studies}
    dated = {(study.source, study.patient) for study in studies if moment(study)}
    assert [replace(study, prior=None) for study in made] == studies
    for study in made:
        mates = [
            one
            for one in studies
            if study.patient and (one.source, one.patient, one.split) == (study.source, study.patient, study.split)
        ]
        earlier = [one for one in mates if known_earlier(one, study, dated)]
        latest = [one for one in earlier if all(one == two or known_earlier(two, one, dated) for two in earlier)]
        if study.prior is None:
            assert not latest
            continue
        prior = by_key[study.source, study.prior.study]
        assert known_earlier(prior, study, dated) and latest == [prior]
        assert (study.prior.date, study.prior.images, study.prior.report) == (prior.date, prior.images, prior.report)
    assert counts.given == sum(study.prior is not None for study in made)
    assert sum(counts.to_json().values()) == len(studies)
    unknown = [
        study
        for study in studies
        if study.patient
        and moment(study) is None
        and ((study.source, study.patient) in dated or type(study.meta.get("encounter")) is not int)
    ]
    assert counts.undated == len(unknown)


@given(histories(), st.randoms(use_true_random=False))
def test_neither_ids_nor_the_order_of_the_list_decide(studies, random):
    names = {study.id: study.id for study in studies}
    shuffled = list(names.values())
    random.shuffle(shuffled)
    renamed = dict(zip(names, shuffled, strict=True))
    again = [replace(study, id=renamed[study.id]) for study in studies]
    random.shuffle(again)
    first, second = found(*studies), found(*again)
    assert {renamed[key]: renamed.get(prior, "") for key, prior in first.items()} == second


@given(histories())
def test_what_was_found_never_leaks_and_is_found_once(studies):
    made, counts = with_priors(studies)
    train, others = ([s for s in made if (s.split == "train") == wanted] for wanted in (True, False))
    leaks.check_priors(train, others)
    again, twice = with_priors(made)
    assert again == made and (twice.kept, twice.given) == (counts.given, 0)


def test_a_patient_without_any_date_is_ordered_by_the_numbers_that_the_set_gives():
    first, second = case("b", meta={"encounter": 1}), case("a", meta={"encounter": 2})
    assert found(second, first) == {"a": "b", "b": ""}
    assert found(second, first, case("c", date="2090-01-01")) == {"a": "", "b": "", "c": ""}
    assert found(case("b"), case("a")) == {"a": "", "b": ""}


def test_studies_of_one_day_need_a_time_or_a_number():
    old, a, b = case("z", date="2089-05-05"), case("b", date="2090-01-01"), case("a", date="2090-01-01")
    late = case("c", date="2090-01-09")
    assert found(old, a, b) == {"z": "", "b": "z", "a": "z"}
    assert found(a, b, late) == {"b": "", "a": "", "c": ""}
    assert with_priors([a, b, late])[1] == PriorCount(unordered=3)
    timed = [replace(a, date="2090-01-01T09:00"), replace(b, date="2090-01-01T17:30"), late]
    assert found(*timed) == {"b": "", "a": "b", "c": "a"}
    numbered = [replace(a, meta={"encounter": 1}), replace(b, meta={"encounter": 2}), late]
    assert found(*numbered) == {"b": "", "a": "b", "c": "a"}
    assert found(timed[0], b, late) == {"b": "", "a": "", "c": ""}, "a time alone tells nothing"


def test_a_prior_that_is_named_is_kept_and_a_study_listed_twice_is_one():
    named = case("b", date="2090-01-05", prior=Prior("elsewhere"))
    made, counts = with_priors([case("a", date="2090-01-01"), named, case("c", date="2090-01-09")])
    assert [study.prior and study.prior.study for study in made] == [None, "elsewhere", "b"]
    assert counts == PriorCount(kept=1, given=1, first=1)
    assert counts.words == "1 named one already, 1 got the most recent earlier study, 1 have none before them"
    twice = [case("a", date="2090-01-01"), case("b", date="2090-01-05"), case("a", date="2090-01-01")]
    assert found(*twice) == {"a": "", "b": "a"}


@pytest.mark.parametrize(
    ("first", "second", "later"),
    [
        ("2090-01-02", "2090-01-01", True),
        ("20900102", "2090-01-01", True),
        ("2090-01-01T10:30", "2090-01-01", False),
        ("2090-01-01T10:30", "2090-01-01T10:29", True),
        ("2090-06", "2090-05", True),
        ("2090-06", "", False),
        ("", "2090-06", False),
    ],
)
def test_dates_are_compared_as_far_as_they_say(first, second, later):
    assert is_later(first, second) is later


def without_priors(path: Path, *more: Study) -> str:
    """A folder of phantom studies of which none names its prior."""
    folder.write(path, [*(replace(study, prior=None) for study in phantom.generate(60, seed=4, size=64)), *more])
    return str(path)


def test_the_phantoms_priors_are_found_again_by_date(tmp_path):
    path = without_priors(tmp_path / "a")
    ((made,), counts) = priors.read([path], "recent")
    wanted = {study.id: study.prior.study if study.prior else "" for study in phantom.generate(60, seed=4, size=64)}
    assert {study.id: study.prior.study if study.prior else "" for study in made} == wanted
    assert counts is not None and counts.given == sum(map(bool, wanted.values())) and not counts.unordered
    assert priors.read([path]) == ([folder.read(path)], None)


def test_training_data_get_priors_where_the_config_says_so(tmp_path):
    path = without_priors(tmp_path / "a")
    kept, recent = select(DataConfig((path,))), select(DataConfig((path,), priors="recent"))
    assert not any(study.prior for study in kept) and kept.event()["priors"] is None
    given = [study for study in recent if study.prior]
    assert given and all(study.prior.date < study.date for study in given)
    assert given[0].prior.images[0].pixels().shape == (64, 64)
    assert recent.event()["priors"]["given"] >= len(given)


def test_two_folders_of_one_source_share_their_patients(tmp_path):
    old = tmp_path / "old", [case("a", date="2090-01-01", source="X")]
    new = tmp_path / "new", [case("b", date="2090-03-01", source="X"), case("c", date="2090-04-01", source="Y")]
    for path, studies in (old, new):
        folder.write(path, studies)
    samples = select(DataConfig((str(new[0]), str(old[0])), priors="recent"))
    assert {study.id: study.prior.study if study.prior else "" for study in samples} == {"b": "a", "c": "", "a": ""}


def test_studies_without_a_patient_are_counted_and_told(tmp_path):
    path = without_priors(tmp_path / "a", case("x", ""), case("y", "", split="test"))
    with pytest.warns(WetreadWarning, match="2 of the 62 studies name no patient; leaks between them cannot be seen"):
        assert select(DataConfig((path,))).unnamed == 2


def test_they_are_told_before_a_training(tmp_path):
    path = without_priors(tmp_path / "a")
    kept = preflight.look(build(SftConfig, None, [f"data.path={path}", *SMALL])).rows
    assert kept["patients"] == "named by all 60 studies"
    assert kept["priors"].startswith("0 of the ") and "data.priors=recent" in kept["priors"]
    recent = preflight.look(build(SftConfig, None, [f"data.path={path}", "data.priors=recent", *SMALL])).rows
    assert "got the most recent earlier study" in recent["priors"] and not recent["priors"].startswith("0 of")
    folder.write(tmp_path / "a", [case("x", "")])
    with pytest.warns(WetreadWarning, match="name no patient"):
        rows = preflight.look(build(SftConfig, None, [f"data.path={path}", *SMALL])).rows
    assert rows["patients"] == "1 of 61 studies name no patient; leaks between them cannot be seen"


def test_what_policies_are_scored_on_and_looked_at_by_gets_them_too(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    folder.write(old, [case("a", "p", "2090-01-01", "test"), case("c", "q", "2090-01-01", "val"), case("e", "r")])
    folder.write(new, [case("b", "p", "2090-01-09", "test"), case("d", "q", "2090-01-09", "val"), case("f", "r")])
    for setting, wanted in (("kept", {}), ("recent", {"b": "a", "d": "c"})):
        made = open_recipe(find("phantom"), [f"data.path=[{old}, {new}]", f"data.priors={setting}"])
        studies = [*stages.tested(made), *guarding._sample(made.stages[1].config)]
        assert {study.id for study in studies} == {"a", "b", "c", "d"}
        assert {study.id: study.prior.study for study in studies if study.prior} == wanted


def test_an_evaluation_may_look_for_them(tmp_path, capsys):
    path = without_priors(tmp_path / "a")
    systems = {}
    for setting in get_args(priors.Priors):
        out, table = tmp_path / setting, tmp_path / f"{setting}.json"
        arguments = ["evaluate", "--data", path, "--split", "train", "--limit", "9", "--priors", setting]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--resamples", "100", "--out", str(out), "--json", str(table)])
        assert ended.value.code == 0
        systems[setting] = {row["system"] for row in json.loads(table.read_text())["rows"]}
    assert "got the most recent earlier study" in capsys.readouterr().err
    assert systems["recent"] - systems["kept"] == {"copy prior"}
