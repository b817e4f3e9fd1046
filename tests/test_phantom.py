"""The phantom: the same bytes for the same seed, patients and priors that hold together, shares near what is promised."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.errors import ConfigError, UsageError
from wetread.studies.phantom import FINDINGS, PhantomConfig, generate, make_study
from wetread.studies.phantom.anatomy import sample_body, sample_pose
from wetread.studies.phantom.catalogue import SPEC, SPECS, Lesion
from wetread.studies.phantom.patients import BLOCK, locate
from wetread.studies.phantom.render import Exposure, render
from wetread.studies.phantom.sites import SITE
from wetread.studies.splits import check_leaks, leaks

STUDIES = list(generate(2000, seed=0))
CLEAN = Exposure(gamma=1.0, contrast=1.0, brightness=0.0, noise=0.0, border=(0.0, 0.0, 0.0, 0.0))


def present(study):
    return [finding for finding in study.findings if finding.presence == "present"]


def draw(*lesions, size=128, person="one"):
    rng = Random(person)
    body, pose = sample_body(rng, "male", 60), sample_pose(rng, "PA")
    return render(body, pose, lesions, SITE["A"], CLEAN, size, (1, 2)).astype(float) / 255


def lesion(name, **changes):
    spec = SPEC[name]
    first = Lesion(name, spec.sides[0], spec.zones[0], "moderate" if spec.graded else "")
    return replace(first, **changes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 10_000))
def test_a_study_is_a_pure_function_of_seed_and_index(seed, index):
    one = make_study(seed, index, 64)
    (other,) = generate(1, seed, 64, start=index)
    assert one == other
    assert np.array_equal(one.images[0].pixels(), other.images[0].pixels())


def test_a_range_is_the_same_however_it_is_shared_out():
    whole = list(generate(40, seed=7, size=64))
    parts = [*generate(13, seed=7, size=64), *generate(27, seed=7, size=64, start=13)]
    assert whole == parts
    assert [a.images[0].pixels().tobytes() for a in whole] == [b.images[0].pixels().tobytes() for b in parts]


def test_another_seed_gives_other_studies():
    assert make_study(0, 5).report != make_study(1, 5).report or make_study(0, 5).age != make_study(1, 5).age


@pytest.mark.parametrize("size", [64, 100, 128, 300])
def test_pixels_are_grey_values_of_the_asked_size(size):
    pixels = make_study(0, 3, size).images[0].pixels()
    assert pixels.shape == (size, size) and pixels.dtype == np.float32
    assert 0.0 <= pixels.min() < 0.2 and 0.8 < pixels.max() <= 1.0


def test_size_changes_the_grain_but_not_the_anatomy():
    small, large = make_study(0, 0, 128).images[0].pixels(), make_study(0, 0, 512).images[0].pixels()
    coarse = [picture.reshape(32, n, 32, n).mean(axis=(1, 3)) for picture, n in ((small, 4), (large, 16))]
    assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.98


def test_pixels_travel_to_other_processes():
    image = pickle.loads(pickle.dumps(STUDIES[0])).images[0]
    assert np.array_equal(image.pixels(), STUDIES[0].images[0].pixels())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.2, 1 / 3, 0.7]))
def test_every_index_has_its_place_with_a_patient(seed, share):
    places = [locate(seed, index, share) for index in range(3 * BLOCK)]
    assert len(set(places)) == len(places)
    for (patient, visit, visits), (after, nth, _) in pairwise(places):
        assert 0 <= visit < visits <= 4
        assert (after, nth) == ((patient, visit + 1) if visit + 1 < visits else (patient + 1, 0))


def test_shares_are_those_promised():
    normal = sum(not present(study) for study in STUDIES) / len(STUDIES)
    assert 0.24 < normal < 0.36
    counts = [len(present(study)) for study in STUDIES if present(study)]
    assert max(counts) <= 4 and 1.8 < np.mean(counts) < 2.4
    assert 0.32 < sum(study.prior is not None for study in STUDIES) / len(STUDIES) < 0.35
    names = Counter(finding.name for study in STUDIES for finding in present(study))
    assert set(names) == set(FINDINGS) and len(FINDINGS) == 28
    assert all(0.025 < count / len(STUDIES) < 0.15 for count in names.values())
    sites = Counter(study.site for study in STUDIES)
    assert sorted(round(sites[site.name] / len(STUDIES) - site.share, 1) for site in SITE.values()) == [0, 0, 0]


def test_patients_stay_in_one_split_and_the_unseen_site_is_only_tested():
    check_leaks(STUDIES)
    moved = [STUDIES[1].with_split("train"), STUDIES[2].with_split("test")]
    assert list(leaks(moved)) == [("phantom", STUDIES[1].patient)]
    for study in STUDIES:
        assert study.split in ("train", "val", "test")
        assert study.meta["unseen_site"] == (study.site == SITE["C"].name)
        assert study.split == "test" or not study.meta["unseen_site"]


def test_priors_are_the_study_before_of_the_same_patient():
    by_id = {study.id: study for study in STUDIES}
    with_prior = [study for study in STUDIES if study.prior]
    assert with_prior
    for study in with_prior:
        before = by_id[study.prior.study]
        assert before.patient == study.patient and before.date < study.date == study.date[:10]
        assert (before.sex, before.site, before.split) == (study.sex, study.site, study.split)
        assert study.prior.report == before.report and study.prior.images == before.images
        assert study.prior.date in study.comparison
        assert before.age <= study.age
    early = by_id[with_prior[0].prior.study]
    assert np.array_equal(with_prior[0].prior.images[0].pixels(), early.images[0].pixels())


def test_change_follows_from_the_prior():
    order = ["", "mild", "moderate", "severe"]
    by_id = {study.id: study for study in STUDIES}
    seen = Counter()
    for study in STUDIES:
        changes = {finding.name: finding for finding in study.findings if finding.change}
        assert study.prior or not changes
        if not study.prior:
            continue
        before = {finding.name: finding for finding in present(by_id[study.prior.study])}
        for name, finding in changes.items():
            seen[finding.change] += 1
            assert (name not in before) == (finding.change == "new")
            if finding.change == "resolved":
                assert finding.presence == "absent"
            elif name in before and finding.severity:
                step = order.index(finding.severity) - order.index(before[name].severity)
                assert step == {"increased": 1, "decreased": -1, "unchanged": 0}[finding.change]
            if name in before:
                assert (finding.side, finding.location) == (before[name].side, before[name].location)
        assert {name for name in before if SPEC[name].course in ("acute", "growing", "steady")} <= set(changes)
    assert set(seen) == {"new", "increased", "decreased", "unchanged", "resolved"}


def test_truth_keeps_to_the_catalogue():
    for study in STUDIES:
        names = [finding.name for finding in study.findings]
        assert len(set(names)) == len(names)
        assert set(study.meta["conspicuity"]) == {finding.name for finding in present(study)}
        assert all(0.02 < value <= 1.0 for value in study.meta["conspicuity"].values())
        for finding in study.findings:
            spec = SPEC[finding.name]
            assert finding.side in spec.sides and finding.location in spec.zones
            assert bool(finding.severity) == (spec.graded and finding.presence == "present")
            assert finding.presence == "absent" or study.age >= spec.least_age
        assert study.date.startswith("209")


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_shows_and_fades_with_conspicuity(name):
    without = draw()
    change = [np.abs(draw(lesion(name, conspicuity=c)) - without) for c in (0.05, 0.3, 1.0)]
    total = [picture.sum() for picture in change]
    assert total[0] < total[1] < total[2]
    assert change[2].max() > 0.12 and change[0].max() < 0.12


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "left" in spec.sides], ids=lambda spec: spec.name)
def test_the_patients_right_is_on_the_left_of_the_picture(spec):
    without = draw()
    change = {side: np.abs(draw(lesion(spec.name, side=side)) - without) for side in ("left", "right")}
    for side, picture in change.items():
        halves = {"right": picture[:, :64].sum(), "left": picture[:, 64:].sum()}
        if spec.name in ("central venous catheter", "pacemaker"):  # both end in or near the heart
            other = change["left" if side == "right" else "right"]
            assert halves[side] > (other[:, :64] if side == "right" else other[:, 64:]).sum()
        else:
            assert halves[side] > 2 * halves["left" if side == "right" else "right"]


@pytest.mark.parametrize("name", ["lung opacity", "nodule", "mass", "consolidation", "calcified granuloma"])
def test_focal_findings_lie_in_their_zone(name):
    without = draw()
    rows = []
    for zone in SPEC[name].zones:
        change = np.abs(draw(lesion(name, side="right", zone=zone)) - without).sum(axis=1)
        rows.append((change * np.arange(128)).sum() / change.sum())
    assert rows[0] + 10 < rows[1] < rows[2] - 10


@pytest.mark.parametrize("name", ["cardiomegaly", "pulmonary edema", "pneumothorax", "pleural effusion"])
def test_drawn_size_follows_severity(name):
    without = draw()
    area = [np.abs(draw(lesion(name, severity=grade)) - without).sum() for grade in ("mild", "moderate", "severe")]
    assert area[0] * 1.25 < area[1] and area[1] * 1.2 < area[2]


@pytest.mark.parametrize("name", ["lung opacity", "consolidation", "atelectasis", "mass"])
def test_drawn_size_follows_extent(name):
    without = draw()
    area = [np.abs(draw(lesion(name, extent=extent)) - without).sum() for extent in (0.7, 1.0, 1.4)]
    assert area[0] < area[1] < area[2]


def test_config_limits_what_is_drawn():
    assert not any(present(study) for study in generate(100, config=PhantomConfig(prevalence=0)))
    loud = generate(100, config=PhantomConfig(conspicuity=(0.9, 1.0)))
    assert all(value > 0.8 for study in loud for value in study.meta["conspicuity"].values())
    assert {study.site for study in generate(60, config=PhantomConfig(sites=("B",)))} == {SITE["B"].name}
    assert not any(study.prior for study in generate(60, config=PhantomConfig(prior_share=0)))
    config = PhantomConfig(noise=0.5, sites=("A", "C"))
    assert PhantomConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("values", "told"),
    [({"prevalence": 9}, "0.0 to 1.4"), ({"sites": ["X"]}, "A, B and C"), ({"conspicuity": [1, 0]}, "least"),
     ({"noises": 1}, "'noise'")],
)  # fmt: skip
def test_config_refuses_what_it_cannot_do(values, told):
    with pytest.raises(ConfigError, match=told):
        PhantomConfig.from_json(values)


@pytest.mark.parametrize("arguments", [(-1, 0, 128), (1, -1, 128), (1, 0, 63), (1, 0, 1025)])
def test_generate_refuses_numbers_out_of_range(arguments):
    with pytest.raises(UsageError):
        generate(*arguments)
