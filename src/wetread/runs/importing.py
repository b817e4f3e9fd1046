"""From a data set in its own layout to the folder that training reads.

Rows are read and merged into studies (``studies.datasets.stage``), those that cannot be used are counted with their reason,
priors are found by date, and each study is written once its images are there: a link to each file, or a copy. A killed import
is continued by the same command: what is listed is not written again. What a folder holds afterwards:

    studies.jsonl      the studies
    images/            links to the images, or copies of them
    dropped.jsonl      the rows and studies that were left out, each with its reason
    card.json          the data card
    README.md          the same for people, and for ``datasets.load_dataset(folder)``
    metadata.jsonl     where it is asked for: for ``load_dataset("imagefolder", data_dir=folder)``
    run.json, …        what made it
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from wetread.errors import RunError, StudyError, UsageError, nearest
from wetread.records import Study
from wetread.runs import importing_write as writing
from wetread.runs.store import RunFolder, disk_error, write_atomic, write_json
from wetread.studies import folder
from wetread.studies.anonymise import DEFAULT_KEY
from wetread.studies.datasets import DataSet, Dropped, Found, Opened, Place, card_text, splits_file
from wetread.studies.datasets.base import Row
from wetread.studies.datasets.card import Card, Counting
from wetread.studies.datasets.files import contents, is_there
from wetread.studies.datasets.stage import Stage
from wetread.studies.datasets.wording import Marks
from wetread.studies.priors import PriorCount, with_priors

Splits = Literal["official", "patient", "none"]
SPLITS: tuple[Splits, ...] = get_args(Splits)
DROPPED = "dropped.jsonl"
CARD = "card.json"
README = "README.md"
KIND = "data import"
_CHUNK = 256
_MIXED = "\nColumns of `meta` hold values of several kinds, so that `load_dataset` may fail on them.\n"
_READERS = 16
_PART = 16
_In = TypeVar("_In")
_Out = TypeVar("_Out")

Progress = Callable[[str, int, int], None]
"""Called with what is done (``read``, ``written``), how many there are done, and of how many (0: not known)."""


@dataclass(frozen=True)
class ImportConfig:
    """How a data set is imported."""

    split: Splits = "official"
    """``official``: the set's own, none where it has none; ``patient``: made anew by a hash of the patient; ``none``."""
    marks: Marks = "keep"
    """What becomes of marks of de-identification: ``keep``, ``remove``, or ``sentence`` (sentences that have one are removed)."""
    copy: bool = False
    """Whether image files are copied; else they are linked to."""
    keep_identifiers: bool = False
    """Whether the set's own ids and dates stay; else they are pseudonyms, and dates are shifted by patient."""
    limit: int = 0
    """Keep the first so many studies; 0: all."""
    labels: bool = True
    """Whether the card has labels."""
    imagefolder: bool = False
    """Whether ``metadata.jsonl`` is written."""
    key: bytes = field(default=DEFAULT_KEY, repr=False)
    """Secret of the pseudonyms."""

    def to_json(self) -> dict[str, Any]:
        """Return what decides what is written; of the key a digest."""
        return {
            "split": self.split,
            "marks": self.marks,
            "copy": self.copy,
            "keep_identifiers": self.keep_identifiers,
            "limit": self.limit,
            "key": hashlib.blake2b(self.key, digest_size=6).hexdigest(),
        }


@dataclass
class Tally:
    """What an import has counted."""

    rows: int = 0
    """Rows read, usable or not."""
    studies: int = 0
    """Studies found among them."""
    kept: int = 0
    """Studies in the folder."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Reason to the rows and studies that were left out for it."""
    notes: Counter[str] = field(default_factory=Counter)
    """What else was noticed, to how often."""
    dropped: list[dict[str, str]] = field(default_factory=list)
    """What was left out, one by one."""
    priors: PriorCount = field(default_factory=PriorCount)
    """What became of the studies whose priors were looked for."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, without what was left out one by one."""
        return {
            "rows": self.rows,
            "studies": self.studies,
            "kept": self.kept,
            "dropped": dict(self.reasons.most_common()),
            "notes": dict(self.notes),
            "priors": self.priors.to_json(),
        }


@dataclass(frozen=True)
class Result:
    """What an import made."""

    card: Card
    """What is in the folder."""
    text: str
    """The card as Markdown."""
    body: dict[str, Any]
    """The card as JSON, as it stands in ``card.json``."""
    tally: Tally
    """What was counted on the way."""


def check_split(split: str) -> Splits:
    """Return ``split`` if it is one of ``SPLITS`` (``UsageError`` otherwise)."""
    found = next((one for one in SPLITS if one == split), None)
    if found is None:
        raise UsageError(f"unknown --split {split!r}.{nearest(split, SPLITS)} Allowed: {', '.join(SPLITS)}.")
    return found


def import_set(
    data_set: DataSet,
    place: Place,
    out: Path,
    config: ImportConfig,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Import a data set into the folder ``out``, new or continued.

    Raises
    ------
    MissingError
        A file or folder that is named is not there.
    StudyError
        The place does not look like the data set, or none of its studies can be used; says what was found.
    UsageError
        An option does not fit the set.
    RunError
        The folder was made by something else, or cannot be written.
    """
    data_set.check(place)
    opened = data_set.open(place)
    tally = Tally()
    if place.splits is not None:
        splits_file.check(place.splits)
        rows = partial(_with_splits, opened, data_set, place.splits, tally)
        opened = replace(opened, rows=rows, listings=(*opened.listings, place.splits))
    if (out / folder.LIST).exists() and not (out / "run.json").exists():
        raise RunError(f"{out.name} holds studies that no import wrote; choose an empty folder with --out.")
    made_by = {
        "set": data_set.name, "layout": opened.layout, "contents": _fingerprint(opened.listings),
        "images": place.look, "language": place.language, **config.to_json(),
    }  # fmt: skip
    if (out / "run.json").exists():
        RunFolder.open(out, KIND, made_by, alone=True)  # another import's folder is refused before anything is read
    try:
        with Stage(data_set.twice) as stage:
            _read(opened, stage, place, (data_set, config), tally, progress)
            run = RunFolder.open(out, KIND, made_by, alone=True)
            links, tally.priors = _priors(stage, config)
            _write(stage, out, (data_set, config), links, tally, progress)
        return _finish(out, run, data_set, config, tally)
    except OSError as error:
        raise disk_error(out, error) from error
    except sqlite3.Error as error:
        raise RunError(
            f"the temporary file of the import failed ({error}); give it room in the folder that SQLITE_TMPDIR names."
        ) from error


def _read(
    opened: Opened, stage: Stage, place: Place, what: tuple[DataSet, ImportConfig], tally: Tally, progress: Progress
) -> None:
    """Read the set into the stage and take out what cannot be used; ``StudyError`` where nothing is left."""
    data_set, config = what
    try:
        _gather(opened, stage, place, tally, lambda done: progress("read", done, opened.total))
    except OSError as error:
        name = Path(str(error.filename)).name if error.filename else place.root.name
        raise StudyError(f"{name}: cannot be read ({error.strerror or error}).") from error
    tally.studies = len(stage)
    for gone in stage.settle(images=place.look, limit=config.limit):
        _drop(tally, gone)
    if stage.other_texts:
        tally.notes["rows with another text of their study's report"] = stage.other_texts
    if not len(stage):
        raise _nothing(data_set, place, tally)


def _with_splits(opened: Opened, data_set: DataSet, path: Path, tally: Tally) -> Iterator[Row]:
    """Yield the rows of a set with the splits that a file says, in place of its own."""
    problems: list[Dropped] = []
    chosen = splits_file.read(path, data_set.key, problems)
    yield from problems
    for row in opened.rows():
        if isinstance(row, Dropped):
            yield row
            continue
        key = data_set.key(row.study.id)
        split = chosen.get(key, "")
        if key not in chosen:
            tally.notes["rows of studies that the file of splits does not name"] += 1
        if split is None:
            yield Dropped("a split that is none of train, val, test", row.where, row.study.id)
        else:
            yield replace(row, study=row.study.with_split(split))


def _fingerprint(paths: Iterable[Path]) -> str:
    """Return what stands for the files that say what is in the set; of a folder its names and sizes."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        if path.is_dir():
            listed = sorted((one.name, one.stat().st_size) for one in path.iterdir() if one.is_file())
            digest.update(repr(listed).encode())
        else:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _gather(opened: Opened, stage: Stage, place: Place, tally: Tally, moved: Callable[[int], None]) -> None:
    """Read every row into the stage, with those of its images that are there."""
    rows = opened.rows()
    with ThreadPoolExecutor(_READERS) as pool:
        while chunk := list(islice(rows, _CHUNK)):
            tally.rows += len(chunk)
            found = [row for row in chunk if isinstance(row, Found)]
            present = _present(found, pool) if place.look else {}
            for row in chunk:
                if isinstance(row, Dropped):
                    _drop(tally, row)
                    continue
                kept = _with_files(row, present)
                gone = len(row.study.images) - len(kept.study.images)
                if place.look and gone:
                    tally.notes["image files that are not there"] += gone
                stage.add(kept)
            moved(tally.rows)


def _present(found: Iterable[Found], pool: ThreadPoolExecutor) -> dict[Path, bool]:
    """Return which files are there and hold something."""
    files = list(dict.fromkeys(path for row in found for path in (*row.files, *row.prior_files) if path is not None))
    return dict(zip(files, _in_parts(pool, is_there, files), strict=True))


def _in_parts(pool: ThreadPoolExecutor, work: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
    """Return what comes of each item, in order; many at once, since on network disks each file waits."""
    parts = [items[start : start + _PART] for start in range(0, len(items), _PART)]
    return [out for done in pool.map(lambda part: [work(one) for one in part], parts) for out in done]


def _with_files(found: Found, present: dict[Path, bool]) -> Found:
    """Return a row with the images alone whose files are there."""
    pairs = [
        (image, file) for image, file in zip(found.study.images, found.files, strict=True) if file and present.get(file)
    ]
    study = replace(found.study, images=tuple(image for image, _ in pairs))
    prior_files: tuple[Path | None, ...] = ()
    if study.prior is not None:
        old = [
            (image, file)
            for image, file in zip(study.prior.images, found.prior_files, strict=True)
            if file and present.get(file)
        ]
        study = replace(study, prior=replace(study.prior, images=tuple(image for image, _ in old)))
        prior_files = tuple(file for _, file in old)
    return replace(found, study=study, files=tuple(file for _, file in pairs), prior_files=prior_files)


def _drop(tally: Tally, gone: Dropped) -> None:
    tally.reasons[gone.reason] += 1
    said = {"reason": gone.reason, "where": gone.where, "study": gone.study, "detail": gone.detail}
    tally.dropped.append({name: value for name, value in said.items() if value})


def _nothing(data_set: DataSet, place: Place, tally: Tally) -> StudyError:
    told = "; ".join(f"{count:,} {reason}" for reason, count in tally.reasons.most_common(4)) or "it has no rows"
    detail = next((one["detail"] for one in tally.dropped if "detail" in one), "")
    told += f" ({detail.rstrip('.')})" if detail else ""
    where = place.images or place.root
    hint = ""
    if place.look and tally.reasons.get("no image file"):
        hint = (
            f" Images are looked for as {data_set.images}; {where.name or where} has {contents(where)}. Name their folder "
            "with --images, or import the reports alone with --no-images."
        )
    return StudyError(f"no study of {place.root.name or place.root} can be used: {told}.{hint}")


def _priors(stage: Stage, config: ImportConfig) -> tuple[dict[tuple[str, str], writing.Link], PriorCount]:
    """Return the prior and the how many-th study of its patient each study is, and what was counted."""
    stubs = [
        Study(
            one.id,
            (),
            patient=one.patient,
            date=one.date,
            split=writing.final_split(one, config.split),
            prior=one.prior,
            source=one.source,
            meta=one.meta,
        )
        for one in (found.study for found in stage)
    ]
    numbers = writing.encounters(stubs)
    given, counts = with_priors(stubs)
    links = {}
    for study, number in zip(given, numbers, strict=True):
        named = study.prior.study if study.prior is not None else ""
        links[study.source, study.id] = writing.Link(named, number)
    return links, counts


def _write(
    stage: Stage, out: Path, what: tuple[DataSet, ImportConfig], links: dict[tuple[str, str], writing.Link],
    tally: Tally, progress: Progress,
) -> None:  # fmt: skip
    data_set, config = what
    writer = writing.Writer(out, data_set.name, config, writing.Ids(config.keep_identifiers, config.key))
    total = len(stage)
    (out / "images").mkdir(exist_ok=True)
    with folder.StudyLog(out) as log, ThreadPoolExecutor(_READERS) as pool:
        done = set(log.ids)
        seen: set[str] = set()
        studies = iter(stage)
        while chunk := list(islice(studies, _CHUNK)):
            made = []
            for found in chunk:
                link = links[found.study.source, found.study.id]
                before = stage.get(found.study.source, link.prior) if link.prior else None
                made.append(writer.made(found, link, before))
            twice = len(seen) + len(made) - len(seen | {one.study.id for one in made})
            if twice:
                raise RunError("two studies of the set have one pseudonym; give a --key-file of your own.")
            seen |= {one.study.id for one in made}
            fresh = [one for one in made if one.study.id not in done]
            # those of listed studies too: links lead to where the set was, which may have been moved
            files = list(dict.fromkeys(file for one in made for file in one.files))
            failed = {path for path in _in_parts(pool, writer.place, files) if path is not None}
            for one in fresh:
                study = one.without(failed)
                if one.study.images and not study.images:
                    _drop(tally, Dropped("image files that cannot be read", one.where, one.raw))
                    continue
                done.add(study.id)
                log.append(study)
            progress("written", len(seen), total)
    tally.kept = len(done)


def _finish(out: Path, run: RunFolder, data_set: DataSet, config: ImportConfig, tally: Tally) -> Result:
    """Write what was left out and the card; return the result."""
    write_atomic(out / DROPPED, (json.dumps(one, ensure_ascii=False) + "\n" for one in _pseudonymous(tally, config)))
    counting = Counting(labels=config.labels)
    for study in folder.iterate(out):
        counting.add(study)
    card = counting.card()
    meta = counting.shape.features()
    facts = ("name", "title", "reference", "context", "splits", "priors", "dropped", "modality")
    body = {
        "set": {name: getattr(data_set, name) for name in facts},
        "import": {**tally.to_json(), "choices": _choices(run.meta["config"], tally)},
        "data": card.to_json(),
    }
    text = card_text.markdown(card, data_set.title, data_set, body["import"])
    write_json(out / CARD, body)
    write_atomic(
        out / README, card_text.front_matter(data_set.title, meta) + text + ("" if meta is not None else _MIXED)
    )
    if config.imagefolder:
        write_atomic(out / "metadata.jsonl", _image_lines(folder.iterate(out)))
    if not run.done("imported"):
        run.event("imported", **tally.to_json())
    return Result(card, text, body, tally)


def _choices(made_by: dict[str, Any], tally: Tally) -> dict[str, str]:
    """Return in words how the set was imported."""
    marks = {"keep": "kept", "remove": "taken out", "sentence": "sentences with them taken out"}
    return {
        "layout": made_by["layout"],
        "splits": made_by["split"],
        "marks of de-identification (XXXX, ___)": marks[made_by["marks"]],
        "identifiers": "the set's own" if made_by["keep_identifiers"] else "pseudonyms; dates shifted by patient",
        "images": "not looked for" if not made_by["images"] else "copied" if made_by["copy"] else "linked to",
        "priors": tally.priors.words,
    }


def _pseudonymous(tally: Tally, config: ImportConfig) -> Iterator[dict[str, str]]:
    ids = writing.Ids(config.keep_identifiers, config.key)
    for one in tally.dropped:
        yield {**one, "study": ids.study(one["study"])} if one.get("study") else one


def _image_lines(studies: Iterable[Study]) -> Iterator[str]:
    """Yield one line a study for ``load_dataset("imagefolder")``: its pictures, its texts and what tells it apart."""
    for study in studies:
        report = study.report
        row = {
            "file_names": [image.name for image in study.images],
            "study": study.id, "patient": study.patient, "split": study.split,
            "views": [image.view for image in study.images],
            "indication": study.indication, "comparison": study.comparison,
            "findings": report.findings if report else "", "impression": report.impression if report else "",
        }  # fmt: skip
        yield json.dumps(row, ensure_ascii=False) + "\n"
