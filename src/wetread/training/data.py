"""Studies as a `datasets.Dataset` that TRL's trainers read: chat turns and lazily decoded pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from wetread.models.transformers import to_picture
from wetread.prompts import Style
from wetread.records import Image, Study
from wetread.studies import folder
from wetread.training.config import DataConfig

CACHE_BYTES = 512 * 1024 * 1024
"""Decoded pictures kept in memory; beyond it the oldest go, so that large data sets stay on disk."""


class Pictures:
    """Decoded pictures, most recently used first, up to ``CACHE_BYTES``."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def get(self, study: str, image: Image) -> Any:
        """Return the picture (``PIL.Image``, RGB) of an image of a study."""
        key = (study, image.name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        picture = to_picture(image.pixels())
        self._kept[key] = picture
        self._bytes += picture.width * picture.height * 3
        while self._bytes > self._limit and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.width * old.height * 3
        return picture


class Examples:
    """Transform from row numbers to TRL examples; a picklable callable for ``Dataset.set_transform``."""

    def __init__(self, studies: Sequence[Study], style: Style, *, with_target: bool) -> None:
        self.studies = studies
        self.style = style
        self.with_target = with_target
        self.pictures = Pictures()

    def __call__(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Return the examples of the rows, column by column."""
        out: dict[str, list[Any]] = {"prompt": [], "images": [], "study": []}
        if self.with_target:
            out["completion"] = []
        for number in rows["row"]:
            study = self.studies[number]
            prompt = self.style.render(study)
            out["prompt"].append([{"role": "user", "content": prompt.text}])
            out["images"].append([self.pictures.get(study.id, image) for image in prompt.images])
            out["study"].append(study.id)
            if self.with_target and study.report is not None:
                out["completion"].append([{"role": "assistant", "content": self.style.target(study.report)}])
        return out


def select(config: DataConfig) -> list[Study]:
    """Return the studies with a reference report that ``config`` names.

    Raises
    ------
    MissingError
        No `studies.jsonl` in the folder.
    UsageError
        The split has no study with a report; names the splits that exist.
    """
    return folder.choose(folder.read(config.path), config.split, config.limit)


def as_dataset(studies: Sequence[Study], style: Style, *, with_target: bool) -> Any:
    """Return a ``datasets.Dataset`` with columns prompt, images, study and, ``with_target``, completion."""
    from datasets import Dataset

    data = Dataset.from_dict({"row": list(range(len(studies)))})
    data.set_transform(Examples(studies, style, with_target=with_target))
    return data
