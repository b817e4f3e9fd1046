"""Splits by patient: a keyed hash of the patient, so that a patient never sits in two splits and nobody has to store them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from wetread.errors import StudyError, UsageError
from wetread.records import Study

SHARES: Mapping[str, float] = {"train": 0.80, "val": 0.08, "test": 0.12}
"""Default shares of the three splits."""


def split_of(patient: str, key: str = "wetread", shares: Mapping[str, float] = SHARES) -> str:
    """Return the split of a patient: a number in 0..1 from BLAKE2b keyed with ``key``, cut by the shares in their order.

    Parameters
    ----------
    patient
        Pseudonymous key of the patient; must not be empty.
    key
        Any text of at most 64 bytes; another key gives another split.
    shares
        Split name to share, adding up to 1; 0 is allowed.

    Raises
    ------
    UsageError
        When ``patient`` is empty, the key is too long or the shares do not add up to 1.

    Examples
    --------
    >>> split_of("PHANTOM-0-000001") == split_of("PHANTOM-0-000001")
    True
    """
    if not patient:
        raise UsageError("a study without a patient key cannot be put in a split; give every study its patient.")
    if len(key.encode()) > 64:
        raise UsageError(f"the split key has {len(key.encode())} bytes; allowed are at most 64.")
    if min(shares.values(), default=-1.0) < 0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise UsageError(f"the split shares are {dict(shares)}; they must be 0 or more and add up to 1.")
    digest = hashlib.blake2b(patient.encode(), key=key.encode(), digest_size=8).digest()
    at = int.from_bytes(digest, "big") / 2**64
    for name, share in shares.items():
        at -= share
        if at < 0:
            return name
    return list(shares)[-1]


def patient_key(study: Study) -> tuple[str, str] | None:
    """Return the patient within the data set that the study comes from; None where the patient is not known."""
    return (study.source, study.patient) if study.patient else None


def unnamed(studies: Iterable[Study]) -> int:
    """Return how many studies name no patient; a patient who is in two splits by them is not seen."""
    return sum(not study.patient for study in studies)


def leaks(studies: Iterable[Study]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return every (source, patient) in more than one split, with those splits; studies without either are passed over.

    The same patient key in data of different sources is not the same patient. ``unnamed`` counts the studies without one.
    """
    seen: dict[tuple[str, str], set[str]] = {}
    for study in studies:
        key = patient_key(study)
        if key and study.split:
            seen.setdefault(key, set()).add(study.split)
    return {key: tuple(sorted(splits)) for key, splits in seen.items() if len(splits) > 1}


def check_leaks(studies: Iterable[Study]) -> None:
    """Refuse studies of which a patient sits in more than one split (``StudyError`` with the number of such patients)."""
    found = leaks(studies)
    if found:
        splits = ", ".join(sorted({split for splits in found.values() for split in splits}))
        raise StudyError(
            f"{len(found)} patients have studies in more than one split ({splits}); split by patient before training."
        )
