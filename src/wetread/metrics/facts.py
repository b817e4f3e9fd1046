"""What a report claims, read once per report and process.

Several metrics ask the same report the same questions, and in RL every group of rollouts shares one reference, so the
answers are kept. The cache changes no score: reading a report depends on nothing but its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from wetread.knowledge import Difference, contradicted, differences, extract, label_set, load, without
from wetread.records import Finding, Report

T = TypeVar("T")
CACHE_SIZE = 16_384
"""Reports kept per process: a few GRPO batches with their references."""


def findings_of(report: Report) -> tuple[Finding, ...]:
    """Return every finding that the report claims present, absent or uncertain; ``extract`` keeps its own cache."""
    return extract(report)


def present(findings: Sequence[Finding]) -> frozenset[str]:
    """Return the names of the findings that are claimed present; hedged ones are not among them."""
    return frozenset(finding.name for finding in findings if finding.presence == "present")


def positive(findings: Sequence[Finding]) -> frozenset[str]:
    """Return the CheXpert-14 labels that are present or uncertain."""
    return frozenset(label for label, value in label_set("chexpert14", findings).items() if value)


def present_of(report: Report) -> frozenset[str]:
    """Return the names of the findings that the report claims present, be they denied elsewhere."""
    names: frozenset[str] = _read(present, report, frozenset())
    return names


def pair_of(read: Callable[[Sequence[Finding]], T], draft: Report, reference: Report) -> tuple[T, T]:
    """Return what ``read``, a module-level function, finds in a draft and in its reference.

    What the draft both claims and denies is not credited to it: see ``knowledge.contradicted``.
    """
    names = contradicted(findings_of(draft), findings_of(reference))
    return _read(read, draft, names), _read(read, reference, frozenset())


@lru_cache(maxsize=4 * CACHE_SIZE)
def _read(read: Callable[[Sequence[Finding]], T], report: Report, names: frozenset[str]) -> T:
    return read(without(findings_of(report), names))


def is_abnormal(report: Report) -> bool:
    """Tell whether the report claims a finding that is more than a tube, a line or a device."""
    known = load().findings
    return any(name not in known or known[name].chexpert != "Support Devices" for name in present_of(report))


def labels(findings: Sequence[Finding]) -> tuple[tuple[str, int], ...]:
    """Return the CheXpert-14 labels that are mentioned: 1 positive, 0 negative, -1 uncertain; blanks left out."""
    return tuple((label, value) for label, value in label_set("chexpert14", findings).items() if value is not None)


@lru_cache(maxsize=CACHE_SIZE)
def differences_of(reference: Report, draft: Report) -> tuple[Difference, ...]:
    """Return the differences of the draft from the reference."""
    return tuple(differences(findings_of(reference), findings_of(draft)))
