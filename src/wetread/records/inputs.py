"""What of a study a model is shown: which images, how much of the prior, which context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from wetread.errors import ConfigError, nearest

Shown = Literal["frontal", "all"]
PriorShown = Literal["none", "report", "image", "both"]
PriorSections = Literal["impression", "findings", "all"]
Closer = Literal["none", "again", "always"]
MOST_IMAGES = 16
MOST_WORDS = 10_000


@dataclass(frozen=True)
class Inputs:
    """What of a study goes into its prompt. What a study lacks is left out, so a study without a prior has a prompt without.

    A model folder that wetread wrote says it in its manifest, so that drafting, evaluation and further training show a
    model what it was trained on.
    """

    images: Shown = "frontal"
    """``frontal``: the first PA or AP image alone; ``all``: that one first, then the others of the study."""
    most_images: int = 4
    """Most current images, 1 to 16."""
    prior: PriorShown = "report"
    """What of the most recent earlier study is shown: its report, its frontal image, both or nothing."""
    prior_sections: PriorSections = "impression"
    """``impression`` or ``findings``: that section, or the other where it is empty; ``all``: both, with their headers."""
    prior_words: int = 100
    """Words after which the prior report is cut, 1 to 10,000."""
    indication: bool = True
    """Whether the indication is told."""
    comparison: bool = True
    """Whether the comparison line is told."""
    age: bool = True
    """Whether the age is told."""
    sex: bool = True
    """Whether the sex is told."""
    closer: Closer = "none"
    """Four closer views of the frontal image: ``again`` shows them to a second look, ``always`` from the first on."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"inputs.{name}={getattr(self, name)!r} is not allowed. Allowed: {', '.join(allowed)}."
                )
        for name, most in (("most_images", MOST_IMAGES), ("prior_words", MOST_WORDS)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise ConfigError(f"inputs.{name}={value!r} is out of range; allowed is 1 to {most}.")
        for name in ("indication", "comparison", "age", "sex"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"inputs.{name}={getattr(self, name)!r} is not allowed; it is true or false.")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inputs:
        """Return what ``to_json`` wrote; ``ConfigError`` where it says what cannot be."""
        known = [one.name for one in fields(cls)]
        for key in data:
            if key not in known:
                raise ConfigError(f"unknown input {key!r}.{nearest(key, known)} There are: {', '.join(known)}.")
        return cls(**data)

    @property
    def words(self) -> str:
        """What is shown, in words."""
        images = "one frontal image" if self.images == "frontal" else f"up to {self.most_images} images"
        prior = {
            "none": "no prior",
            "report": "the prior's report",
            "image": "the prior's frontal image",
            "both": "the prior's frontal image and its report",
        }[self.prior]
        told = [name for name in ("indication", "comparison", "age", "sex") if getattr(self, name)]
        closer = {"none": (), "again": ("closer views in a second look",), "always": ("closer views",)}[self.closer]
        return ", ".join([images, *closer, prior, *told])


_CHOICES: dict[str, tuple[str, ...]] = {
    "images": get_args(Shown),
    "prior": get_args(PriorShown),
    "prior_sections": get_args(PriorSections),
    "closer": get_args(Closer),
}


@dataclass(frozen=True)
class InputConfig:
    """What a model shall be shown where that is to differ from what it was trained on; None: as the model says.

    The fields are those of ``Inputs``. A model that says nothing, such as one from a hub, is shown the defaults of ``Inputs``.
    """

    images: Shown | None = None
    """``frontal`` or ``all``."""
    most_images: int | None = field(default=None, metadata={"low": 1, "high": MOST_IMAGES})
    """Most current images."""
    prior: PriorShown | None = None
    """``none``, ``report``, ``image`` or ``both``."""
    prior_sections: PriorSections | None = None
    """``impression``, ``findings`` or ``all``."""
    prior_words: int | None = field(default=None, metadata={"low": 1, "high": MOST_WORDS})
    """Words after which the prior report is cut."""
    indication: bool | None = None
    """Whether the indication is told."""
    comparison: bool | None = None
    """Whether the comparison line is told."""
    age: bool | None = None
    """Whether the age is told."""
    sex: bool | None = None
    """Whether the sex is told."""
    closer: Closer | None = None
    """``none``, ``again`` or ``always``."""

    def over(self, base: Inputs) -> Inputs:
        """Return ``base`` with what is set here put in.

        >>> InputConfig(prior="none").over(Inputs(images="all")).images
        'all'
        """
        return replace(base, **{name: value for name, value in vars(self).items() if value is not None})
