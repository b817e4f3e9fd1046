"""The direct style: images and context in, the report out, nothing between.

The layout follows UniRG's description (arXiv 2601.17151, supplement): the task in one sentence, the context, the format
asked for. Which sections are asked for follows the reference where there is one (findings alone, impression alone or
both), else both. Which images, how much of the prior and which context are shown is said by ``Inputs``. The words are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from wetread.errors import StudyError, UsageError
from wetread.prompts import closer, tags
from wetread.prompts.guide import Guide
from wetread.records import Draft, Generation, Image, Inputs, Prior, Prompt, Report, Study, Thought

BOTH = ("findings", "impression")
HEADER = re.compile(r"(?:^|(?<=[\s.;:>*#]))[*#_ ]{0,16}(findings?|impressions?|conclusions?)[*_ ]*:[*_]*", re.IGNORECASE)
"""Header of findings or impression, whose name is the first group."""
_THOUGHT = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_NOTHING = {"", "none", "none.", "n/a", "n/a.", "[none]"}


def frontal(study: Study) -> Image:
    """Return the image that is drafted from: the first PA or AP view, else the first image (``StudyError`` where there is none)."""
    if not study.images:
        raise StudyError(f"the study {study.id} has no image to draft from; give its images, or leave it out.")
    return next((image for image in study.images if image.view in ("PA", "AP")), study.images[0])


def prior_frontal(prior: Prior) -> Image | None:
    """Return the prior's first PA or AP image, else its first of unknown view; None where it has only lateral ones."""
    found = [image for view in (("PA", "AP"), ("unknown",)) for image in prior.images if image.view in view]
    return found[0] if found else None


class OnePass:
    """What styles share that write a draft once."""

    passes = 1
    longest = 192
    views: tuple[str, ...] = ("report",)

    def again(self, prompt: Prompt, answer: str) -> Prompt:
        """Refuse: there is one pass (``UsageError``)."""
        raise UsageError(f"{type(self).__name__} has one pass; only the style reflected corrects itself.")


@dataclass(frozen=True)
class DirectStyle(OnePass):
    """``Findings: … Impression: …`` straight after the question."""

    inputs: Inputs = field(default_factory=Inputs)
    """What of a study is shown."""
    guide: Guide | None = None
    """Not used: nothing is thought before the report."""

    def render(self, study: Study, sections: Sequence[str] | None = None) -> Prompt:
        """Return the prompt of a study: the current images, then the prior's, the context, and the sections that are wanted.

        Parameters
        ----------
        study
            The study; must have at least one image.
        sections
            Sections to ask for; by default those of the reference report, or both where there is none.
        """
        return self.asked(study, sections)

    def asked(
        self, study: Study, sections: Sequence[str] | None, shown: str = "", before: str = "", after: str = ""
    ) -> Prompt:
        """Return the prompt with what another style shows above the form, and asks for ``before`` and ``after`` the report."""
        wanted = tuple(sections or (study.report.sections if study.report else ()) or BOTH)
        current, prior = self._images(study)
        near = closer.views(current[0]) if self.inputs.closer == "always" else ()
        form = " ".join(f"{name.capitalize()}: ..." for name in wanted)
        lines = [
            f"Draft the {' and '.join(wanted)} of this chest radiograph.",
            _order(current, near, prior),
            self._context(study, current[0].view if len(current) + len(near) + len(prior) == 1 else "unknown"),
            shown,
            f"Write: {before}{form}{after}",
        ]
        return Prompt(study.id, "\n".join(line for line in lines if line), (*current, *near, *prior))

    def _images(self, study: Study) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
        """Return the current images and the prior's, as many as are shown."""
        first = frontal(study)
        others = [image for image in study.images if image is not first] if self.inputs.images == "all" else []
        before = None
        if study.prior is not None and self.inputs.prior in ("image", "both"):
            before = prior_frontal(study.prior)
        return (first, *others)[: self.inputs.most_images], () if before is None else (before,)

    def _context(self, study: Study, view: str) -> str:
        """Return the context line; what is unknown is left out, not filled in."""
        shown = self.inputs
        facts = []
        if view != "unknown":
            facts.append(f"{view} view.")
        who = [
            study.sex if shown.sex and study.sex != "unknown" else "",
            f"{study.age} years" if shown.age and study.age is not None else "",
        ]
        if any(who):
            facts.append(", ".join(part for part in who if part) + ".")
        if shown.indication and study.indication.strip():
            facts.append(f"Indication: {study.indication.strip().rstrip('.')}.")
        if shown.comparison and study.comparison.strip():
            facts.append(f"Comparison: {study.comparison.strip().rstrip('.')}.")
        if study.prior is not None and study.prior.report and shown.prior in ("report", "both"):
            facts.append(f"Prior report: {self._prior_report(study.prior.report)}")
        return tags.plain(" ".join(facts))

    def _prior_report(self, report: Report) -> str:
        findings, impression = report.findings.strip(), report.impression.strip()
        said = {
            "impression": impression or findings,
            "findings": findings or impression,
            "all": report.text,
        }[self.inputs.prior_sections]
        words = said.split()
        most = self.inputs.prior_words
        return said if len(words) <= most else " ".join(words[:most]) + " ..."

    def target(self, report: Report, thought: Thought | None = None) -> str:
        """Return the report's one string, which but for tags in it is what metrics see; there is no place for a thought."""
        return tags.plain(report.text)

    def parse(self, generation: Generation, turn: int = 0) -> Draft:
        """Return the draft: sections by their headers, text without a header as findings.

        ``malformed`` when nothing is left or generation failed, ``truncated`` when the length limit ended it.
        """
        if generation.stop == "error":
            return Draft(generation.study, Report(), "malformed", generation.error or "generation failed")
        text = _THOUGHT.sub("", generation.text).strip()
        report = split_sections(text)
        if not report:
            return Draft(generation.study, Report(), "malformed", "the model wrote no report text")
        if generation.stop == "length":
            return Draft(generation.study, report, "truncated", f"cut at the limit of {generation.tokens} tokens")
        return Draft(generation.study, report)


STYLE = DirectStyle()


def split_sections(text: str) -> Report:
    """Return the report in ``text``: sections by header, text before any header as findings, repeated sections joined.

    >>> split_sections("Findings: Clear lungs. Impression: Normal.")
    Report(findings='Clear lungs.', impression='Normal.')
    >>> split_sections("Clear lungs.")
    Report(findings='Clear lungs.', impression='')
    >>> split_sections("**Impression:** None")
    Report(findings='', impression='')
    """
    kept: dict[str, list[str]] = {"findings": [], "impression": []}
    key, start = "findings", 0
    for match in HEADER.finditer(text):
        kept[key].append(text[start : match.start()])
        key = "findings" if match.group(1).lower().startswith("finding") else "impression"
        start = match.end()
    kept[key].append(text[start:])
    parts = {
        name: " ".join(" ".join(chunk.split()) for chunk in chunks if chunk.strip()) for name, chunks in kept.items()
    }
    cleaned = {
        name: "" if part.strip(" *_#").lower() in _NOTHING else part.strip(" *_#") for name, part in parts.items()
    }
    return Report(**cleaned)


def _order(current: Sequence[Image], near: Sequence[Image], prior: Sequence[Image]) -> str:
    """Return what the images are, in the order in which they are given; nothing where there is but one."""
    if len(current) + len(near) + len(prior) == 1:
        return ""
    named = [("current", image) for image in current] + [("closer", image) for image in near]
    named += [("prior", image) for image in prior]
    told = [when if image.view == "unknown" else f"{when} {image.view}" for when, image in named]
    return f"Images in order: {', '.join(told)}."
