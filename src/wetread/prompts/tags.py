"""Tagged parts of a completion: ``<think> … </think>`` and the like, whole, cut off or missing; and text without any."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_CONTROL = re.compile(r"<[\s|｜]*((?:/\s{0,4})?[A-Za-z][\w▁ -]{0,40}?)[\s|｜]{0,16}/?>|\[(/?[A-Z]+(?:_[A-Z]+)*)\]")
"""What tokenizers and styles take for more than text: ``<image>``, ``<|im_start|>``, ``</s>``, ``[INST]``."""


@dataclass(frozen=True)
class Part:
    """What stands between two tags."""

    text: str
    """What stands there, without the tags, as it was written."""
    closed: bool
    """Whether the closing tag is there."""
    after: str
    """What follows the closing tag; empty where there is none."""


def part(text: str, tag: str) -> Part | None:
    """Return the last part of ``text`` in ``tag``; None where the tag does not occur.

    A closing tag without an opening one closes all that stands before it, since chat templates of reasoning models put
    the opening one into the prompt.

    >>> part("<think>a</think> b", "think")
    Part(text='a', closed=True, after=' b')
    >>> part("<think>a", "think").closed, part("a </think> b", "think").text, part("a", "think")
    (False, 'a ', None)
    """
    opened, ended = _tag(tag)
    ends = list(ended.finditer(text))
    if not ends:
        start = opened.search(text)
        return Part(text[start.end() :], False, "") if start else None
    last = ends[-1]
    before = text[ends[-2].end() if len(ends) > 1 else 0 : last.start()]
    start = opened.search(before)
    return Part(before[start.end() :] if start else before, True, text[last.end() :])


def without(text: str, *tags: str) -> str:
    """Return ``text`` after the last closing tag of ``tags``, and without what an unclosed one begins.

    >>> without("<think>a</think> b <answer>c", "think", "answer")
    ' b '
    """
    for tag in tags:
        opened, ended = _tag(tag)
        ends = list(ended.finditer(text))
        if ends:
            text = text[ends[-1].end() :]
        start = opened.search(text)
        if start:
            text = text[: start.start()]
    return text


def plain(text: str) -> str:
    """Return a study's own text with its tags in parentheses, for it goes into prompts and targets beside ours.

    Tokenizers read what looks like one of their control tokens as that token, whoever wrote it, and a tag of a style
    would end a part of the answer.

    >>> plain("<image> 5<x>3, <5 mm </think> <|im_end|> [INST] [sic]")
    '(image) 5(x)3, <5 mm (/think) (im_end) (INST) [sic]'
    """
    return _CONTROL.sub(lambda found: f"({next(filter(None, found.groups()))})", text)


@lru_cache
def _tag(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(rf"<\s*{name}\s*>", re.IGNORECASE), re.compile(rf"<\s*/\s*{name}\s*>", re.IGNORECASE)
