"""What must not be among the training studies: patients, studies and priors that a test will meet.

Patients and studies are told apart within a namespace, the data set's name (``Study.source``): two folders of one data set
share its keys, and a key of another data set is somebody else's. Studies that do not say their source share one namespace.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from wetread.errors import StudyError
from wetread.records import Image, Study
from wetread.studies.priors import is_later
from wetread.studies.splits import patient_key

TAIL = 16_384
"""Bytes at the end of an image file by which equal pictures are looked for before any is decoded."""


def check_priors(train: Iterable[Study], others: Iterable[Study]) -> None:
    """Refuse a training study whose prior is one of ``others``, is another patient's, or is later than itself.

    Parameters
    ----------
    train
        The studies that are trained on.
    others
        The studies of other splits and of data that is tested on.

    Raises
    ------
    StudyError
        Names the first such study and says how many there are.
    """
    train = list(train)
    elsewhere = {_key(study): study for study in others}
    known = {_key(study): study for study in train} | elsewhere
    tested, foreign, later = [], [], []
    for study in train:
        if study.prior is None:
            continue
        key = (study.source, study.prior.study)
        if key in elsewhere:
            tested.append(study.id)
        before = known.get(key)
        if before is not None and before.patient and study.patient and before.patient != study.patient:
            foreign.append(study.id)
        if is_later(study.prior.date, study.date):
            later.append(study.id)
    for found, what in (
        (tested, "a prior that is tested on; its report would be trained on"),
        (foreign, "a prior of another patient"),
        (later, "a prior that is later than the study"),
    ):
        if found:
            raise StudyError(
                f"{len(found)} training studies, the first {found[0]}, have {what}. Give each study the most recent "
                "earlier study of the same patient and split, or none."
            )


def check_held_out(train: Sequence[Study], held_out: Sequence[Study]) -> None:
    """Refuse training studies of which the patient, the study, or report and picture together are also held out.

    Raises
    ------
    StudyError
        Says what is in both, how often, and what to do.
    """
    theirs = {key for study in held_out if (key := patient_key(study))}
    patients = {key for study in train if (key := patient_key(study)) in theirs}
    ids = {_key(study) for study in held_out} & {_key(study) for study in train}
    if patients or ids:
        found = f"{len(patients)} patients" if patients else f"{len(ids)} studies"
        raise StudyError(
            f"{found} of the held-out data are also trained on; leave them out of one of the two. "
            "If they only happen to have the same key, give the two data sets different `source` names."
        )
    check_copies(train, held_out, "held-out study")


def check_copies(train: Sequence[Study], others: Sequence[Study], what: str) -> None:
    """Refuse training studies that have report and picture of one of ``others``, whatever their keys say.

    Parameters
    ----------
    train
        The studies that are trained on.
    others
        Studies that must not be among them.
    what
        What the message calls one of ``others``.

    Raises
    ------
    StudyError
        Names the first two and says how many there are.
    """
    theirs = {words for study in others if (words := _said(study))}
    learned = [study for study in train if _said(study) in theirs]  # most are not, and no file of theirs is read
    shared = {_said(study) for study in learned}
    both = [*(study for study in others if _said(study) in shared), *learned]
    outside = {id(study) for study in others}
    pairs = [pair for pair in equal_pairs(both) if (id(pair[0]) in outside) != (id(pair[1]) in outside)]
    if pairs:
        first, second = pairs[0]
        raise StudyError(
            f"{len(pairs)} training studies have report and picture of a {what}, the first {second.id} those of "
            f"{first.id}; leave them out of one of the two."
        )


def equal_pairs(studies: Sequence[Study]) -> Iterator[tuple[Study, Study]]:
    """Yield (earlier, later) for every study that has the report and a picture of an earlier one in the list.

    Reports are compared by their words, in any case. Pictures are compared only between studies with equal reports: first
    the ends of their files, then their pixels; the same picture in another file format is not found, and a picture that
    cannot be read is passed over.
    """
    same: dict[str, list[Study]] = defaultdict(list)
    for study in studies:
        if study.report:
            same[_said(study)].append(study)
    for group in same.values():
        if len(group) < 2:
            continue
        seen: dict[bytes, list[tuple[Study, Image]]] = defaultdict(list)
        for study in group:
            earlier = _earlier(study, seen)
            if earlier is not None:
                yield earlier, study


def _earlier(study: Study, seen: dict[bytes, list[tuple[Study, Image]]]) -> Study | None:
    """Return the first study in ``seen`` that has one of this study's pictures, and add this study's to it."""
    found: Study | None = None
    for image in study.images:
        mark = _mark(image)
        if mark is None:
            continue
        found = found or next((other for other, held in seen[mark] if _equal(held, image)), None)
        seen[mark].append((study, image))
    return found


def _said(study: Study) -> str:
    """Return the words of a study's report, in any case; empty where it has none."""
    return " ".join(study.report.text.casefold().split()) if study.report else ""


def _key(study: Study) -> tuple[str, str]:
    return study.source, study.id


def _mark(image: Image) -> bytes | None:
    """Return what equal pictures have in common and most others have not; None where the picture cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    path = image.file
    try:
        if path is None:
            digest.update(image.pixels().tobytes())
        else:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                digest.update(file.read())
    except (OSError, StudyError):
        return None
    return digest.digest()


def _equal(first: Image, second: Image) -> bool:
    if first.file is not None and first.file == second.file:
        return True
    try:
        return bool(np.array_equal(first.pixels(), second.pixels()))
    except StudyError:
        return False
