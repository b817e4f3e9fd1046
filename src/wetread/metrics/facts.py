"""What a report claims, read once per report and process.

Several metrics ask the same report the same questions, and in RL every group of rollouts shares one reference, so the
answers are kept. The cache changes no score: reading a report depends on nothing but its text.
"""

from __future__ import annotations

from functools import lru_cache

from wetread.knowledge import Difference, differences, extract, label_set, load
from wetread.records import Finding, Report

CACHE_SIZE = 16_384
"""Reports kept per process: a few GRPO batches with their references."""


def findings_of(report: Report) -> tuple[Finding, ...]:
    """Return every finding that the report claims present, absent or uncertain; ``extract`` keeps its own cache."""
    return extract(report)


@lru_cache(maxsize=CACHE_SIZE)
def present_of(report: Report) -> frozenset[str]:
    """Return the names of the findings that the report claims present; hedged ones are not among them."""
    return frozenset(finding.name for finding in findings_of(report) if finding.presence == "present")


def is_abnormal(report: Report) -> bool:
    """Tell whether the report claims a finding that is more than a tube, a line or a device."""
    known = load().findings
    return any(name not in known or known[name].chexpert != "Support Devices" for name in present_of(report))


@lru_cache(maxsize=CACHE_SIZE)
def labels_of(report: Report) -> tuple[tuple[str, int], ...]:
    """Return the CheXpert-14 labels that the report mentions: 1 positive, 0 negative, -1 uncertain; blanks left out."""
    return tuple(
        (label, value) for label, value in label_set("chexpert14", findings_of(report)).items() if value is not None
    )


@lru_cache(maxsize=CACHE_SIZE)
def differences_of(reference: Report, draft: Report) -> tuple[Difference, ...]:
    """Return the differences of the draft from the reference."""
    return tuple(differences(findings_of(reference), findings_of(draft)))
