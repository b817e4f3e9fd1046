"""What passes between a study and a draft: prompts, sampling, generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wetread.records.study import Image

Stop = Literal["end", "length", "error"]


@dataclass(frozen=True)
class Turn:
    """What went on in a conversation after its first question: an answer, and what was asked next."""

    answer: str
    """What the model said."""
    question: str
    """The next user turn, without image placeholders."""
    images: tuple[Image, ...] = ()
    """The images that go with it."""


@dataclass(frozen=True)
class Prompt:
    """One question to a model: images and text, and what was said since."""

    study: str
    """Id of the study."""
    text: str
    """The user turn, without image placeholders; the model's chat template puts them in."""
    images: tuple[Image, ...]
    """The images in the order in which the text speaks of them."""
    turns: tuple[Turn, ...] = ()
    """What was answered and asked since; the model's next words answer the last question."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts of all turns, in order."""
        return (self.text, *(text for turn in self.turns for text in (turn.answer, turn.question)))

    @property
    def all_images(self) -> tuple[Image, ...]:
        """Images of all turns, in order."""
        return (*self.images, *(image for turn in self.turns for image in turn.images))


@dataclass(frozen=True)
class Sampling:
    """How a model writes."""

    temperature: float = 0.0
    """0 is greedy; above 0 samples from the softmax of logits / temperature."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens whose probability reaches this is sampled from."""
    max_new_tokens: int = 192
    """Most tokens a completion may have; 0, where a prompt style writes: as many as that style usually needs."""
    batch_size: int = 32
    """Studies generated at once."""
    seed: int = 0
    """Seed of the sampling; without effect at temperature 0."""


@dataclass(frozen=True)
class Generation:
    """What a model wrote for one prompt, or why it wrote nothing."""

    study: str
    """Id of the study."""
    text: str = ""
    """The completion, special tokens removed."""
    stop: Stop = "end"
    """``end``: the model ended it; ``length``: the token limit did; ``error``: see ``error``."""
    tokens: int = 0
    """Completion length in tokens."""
    seconds: float = 0.0
    """Wall time of its batch divided by the batch's size."""
    error: str = ""
    """Why there is no text, in words."""
    earlier: tuple[Generation, ...] = ()
    """The passes before this one, the first first, where a draft was corrected."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "text": self.text,
            "stop": self.stop,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "error": self.error,
            **({"earlier": [one.to_json() for one in self.earlier]} if self.earlier else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Generation:
        """Return the generation that ``to_json`` wrote."""
        kept = {key: data[key] for key in ("study", "text", "stop", "tokens", "seconds", "error") if key in data}
        return cls(**kept, earlier=tuple(cls.from_json(one) for one in data.get("earlier", ())))
