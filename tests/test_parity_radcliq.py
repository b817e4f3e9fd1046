"""RadCliQ against the published models' own outputs."""

import json
import os
from pathlib import Path

import pytest
import torch

from wetread import metrics
from wetread.metrics.radcliq import PARTS, RADCLIQ_V0, RADCLIQ_V1, V0, V1
from wetread.records import Report, Score

PARITY = Path(os.environ.get("WETREAD_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity")) / "radcliq"
COLUMNS = ("radgraph_combined", "bertscore", "semb_score", "bleu_score")
pytestmark = pytest.mark.skipif(
    not (PARITY / "expected.json").is_file(),
    reason="the parity folder is not here; name it with WETREAD_PARITY",
)


def expected():
    return json.loads((PARITY / "expected.json").read_text(encoding="utf-8"))


def joined(entry, values):
    """The value of a composite for four part scores."""
    (score,) = entry.combine({part: [Score(part, value)] for part, value in zip(PARTS, values, strict=True)})
    return score.value


@pytest.mark.parametrize(("name", "entry"), [("RadCliQ_v0", RADCLIQ_V0), ("RadCliQ_v1", RADCLIQ_V1)])
def test_parity_radcliq(name, entry):
    data = expected()
    for values, value in zip(data["inputs"], data[name], strict=True):
        assert joined(entry, values) == pytest.approx(value, abs=1e-9)
    assert joined(entry, data["identity"]["inputs"]) == pytest.approx(data["identity"][name[-2:]], abs=1e-9)


def test_parity_radcliq_constants():
    for name, model in (("v0", V0), ("v1", V1)):
        data = expected()[name]
        assert (list(model.mean), list(model.scale), list(model.coefficient)) == (
            data["mean"],
            data["scale"],
            data["coef"],
        )
        assert model.intercept == data["intercept"]


def test_parity_radcliq_of_the_official_parts():
    for pairs in expected()["end_to_end"]["per_model_type"].values():
        for pair in pairs.values():
            values = [pair[column] for column in COLUMNS]
            assert joined(RADCLIQ_V0, values) == pytest.approx(pair["RadCliQ_v0"], abs=1e-9)
            assert joined(RADCLIQ_V1, values) == pytest.approx(pair["RadCliQ_v1"], abs=1e-9)


def test_parity_radcliq_through_its_own_parts(monkeypatch):
    """Identical reports with and without relations, one report alone, sixteen equal references: the same numbers."""
    torch.set_num_threads(1)
    monkeypatch.setenv("WETREAD_CACHE", "off")
    entry = metrics.get("radcliq_v1", weights=PARITY.parent)
    pairs = json.loads((PARITY.parent / "nlg" / "pairs.json").read_text(encoding="utf-8"))["iu"][:4]
    drafts, references = [Report(pair["hyp"]) for pair in pairs], [Report(pair["ref"]) for pair in pairs]
    together = [
        score.value for score in entry([*drafts, *references, Report()], [*references, *references, references[0]])
    ]
    for value in together[4:8]:
        assert min(abs(value + 1.4406902828), abs(value + 0.8180821177)) < 1e-5
    assert together[8] > 10  # the empty draft
    for place in range(4):
        assert entry([drafts[place]], [references[place]])[0].value == pytest.approx(together[place], abs=1e-5)
    group = entry([drafts[0], *references * 5][:16], [references[0]] * 16)
    assert group[0].value == pytest.approx(together[0], abs=1e-5)
