"""Readability: formulas, word list, what is not scored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread import metrics, rewards
from wetread.errors import UsageError
from wetread.metrics.readability import dale_chall, familiar, flesch_kincaid, syllables
from wetread.records import Report

LAY = Report("The heart is not large. There is no air or water around the lungs.")
JARGON = Report("Cardiomediastinal silhouette unremarkable. Bibasilar subsegmental atelectasis without pneumothorax.")


def test_formulas_are_the_published_ones():
    # 5 words, 1 sentence, 5 syllables, no unfamiliar word
    assert flesch_kincaid("The heart is not large.") == pytest.approx(0.39 * 5 + 11.8 * 1 - 15.59)
    assert dale_chall("The heart is not large.") == pytest.approx(0.0496 * 5)
    # 4 words, 1 sentence, 1 unfamiliar word: 25 % are, so the constant is added
    assert dale_chall("There is no pneumothorax") == pytest.approx(15.79 * 0.25 + 0.0496 * 4 + 3.6365)


@pytest.mark.parametrize("name", ["fkgl", "dcrs"])
def test_lay_words_read_more_easily(name):
    lay, jargon = metrics.get(name)([LAY, JARGON], [JARGON, LAY])
    assert lay.value < jargon.value
    assert metrics.get(name).aggregate([lay, jargon]) == pytest.approx((lay.value + jargon.value) / 2)


@pytest.mark.parametrize("name", ["fkgl", "dcrs"])
def test_without_words_there_is_no_grade(name):
    (score,) = metrics.get(name)([Report(" 1. ")], [LAY])
    assert score.value is None
    assert score.reason


@pytest.mark.parametrize("name", ["fkgl", "dcrs"])
def test_reading_ease_is_no_reward_by_itself(name):
    with pytest.raises(UsageError, match="draft alone"):
        rewards.get(name)
    assert name not in rewards.names()


@pytest.mark.parametrize("word", ["arms", "looked", "stopping", "larger", "carried", "Heart", "heart's"])
def test_regular_endings_stay_familiar(word):
    assert familiar(word)


@given(st.text(min_size=1, max_size=40))
def test_any_text_has_syllables(word):
    assert syllables(word) >= 1
