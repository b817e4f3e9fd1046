"""Five rewordings of a report that leave its meaning as it is: sentences reordered, synonyms, case and spacing, a sentence twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from edit_text import Mention, Sentence, join
from edits import Edit

from wetread.records import Report

SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("pleural effusion", "effusion"),
    ("pleural effusions", "effusions"),
    ("cardiomegaly", "cardiac enlargement", "enlargement of the heart"),
    ("enlarged heart", "enlarged cardiac silhouette"),
    ("widened mediastinum", "wide mediastinum"),
    ("mediastinal widening", "widening of the mediastinum"),
    ("pulmonary edema", "lung edema"),
    ("pulmonary vascular congestion", "vascular congestion"),
    ("pulmonary vascular engorgement", "vascular engorgement"),
    ("copd", "chronic obstructive pulmonary disease", "chronic obstructive lung disease"),
    ("emphysematous changes", "emphysematous change", "emphysema"),
    ("hyperinflation", "hyperexpansion", "overinflation"),
    ("hyperinflated", "hyperexpanded", "overinflated"),
    ("low lung volumes", "reduced lung volumes", "diminished lung volumes"),
    ("atelectasis", "atelectatic change"),
    ("consolidation", "airspace consolidation"),
    ("infiltrates", "infiltration"),
    ("pulmonary nodule", "lung nodule"),
    ("pulmonary nodules", "lung nodules"),
    ("pulmonary mass", "lung mass"),
    ("pulmonary masses", "lung masses"),
    ("pulmonary fibrosis", "lung fibrosis"),
    ("bronchial wall thickening", "peribronchial thickening", "peribronchial cuffing"),
    ("calcified lung nodule", "calcified pulmonary nodule"),
    ("prior granulomatous disease", "old granulomatous disease", "remote granulomatous disease"),
    ("blunted costophrenic angle", "blunted costophrenic sulcus"),
    ("blunting of the costophrenic angle", "blunting of the costophrenic sulcus"),
    ("pleural thickening", "thickening of the pleura"),
    ("hilar prominence", "hilar fullness"),
    ("aortic tortuosity", "tortuosity of the aorta"),
    ("aortic calcification", "calcification of the aorta"),
    ("hiatal hernia", "hiatus hernia"),
    ("elevated hemidiaphragm", "raised hemidiaphragm"),
    ("rib fracture", "fractured rib", "broken rib"),
    ("rib fractures", "fractured ribs", "broken ribs"),
    ("scoliosis", "scoliotic curvature"),
    ("osteophytes", "osteophytosis"),
    ("disc space narrowing", "disk space narrowing"),
    ("subcutaneous emphysema", "subcutaneous air", "subcutaneous gas", "soft tissue emphysema", "surgical emphysema"),
    ("free air", "free intraperitoneal air", "pneumoperitoneum"),
    ("endotracheal tube", "ET tube", "tracheal tube"),
    ("nasogastric tube", "NG tube"),
    ("orogastric tube", "OG tube"),
    ("central venous catheter", "central venous line", "central line", "central catheter"),
    ("PICC", "PICC line", "PICC catheter"),
    ("dialysis catheter", "hemodialysis catheter"),
    ("pacemaker", "cardiac pacemaker", "pacer"),
    ("chest tube", "thoracostomy tube", "chest drain"),
    ("sternotomy wires", "sternal wires", "median sternotomy wires"),
    ("valve replacement", "valve prosthesis"),
    ("airspace disease", "air space disease", "airspace process"),
)
"""Phrases of one finding that say the same, nothing more and nothing less: no kind, cause, place or grade is added or lost,
and each group keeps its number. All of a group are terms of one finding in the knowledge file (the test holds this)."""
_GROUPS = {phrase.lower(): group for group in SYNONYMS for phrase in group}
WORDS: tuple[tuple[str, ...], ...] = (
    ("mild", "slight"),
    ("mildly", "slightly"),
    ("unchanged", "stable"),
    ("no evidence of", "no sign of"),
)
"""Other words that are exchanged in sentences that name a finding. "Left-sided" and "left" are, right before its name."""

_JOINS = frozenset({"and", "or", "/", "&", "nor"})


def reorder(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Exchange two sentences of a section in which no sentence leans on the one before it; list numbers stay in place."""
    sections = [[i for i, s in enumerate(sentences) if s.section == section] for section in (0, 1)]
    free = [places for places in sections if len(places) > 1 and not any("back" in sentences[i].cues for i in places)]
    if not free:
        return None
    one, two = rng.sample(rng.choice(free), 2)
    after = list(sentences)
    after[one] = Sentence(sentences[one].section, sentences[one].mark, "").with_text(sentences[two].text)
    after[two] = Sentence(sentences[two].section, sentences[two].mark, "").with_text(sentences[one].text)
    changed = ((sentences[one].text, sentences[two].text),)
    return (
        Edit("sentences reordered", join(after), frozenset(), False, changed) if after[one] != sentences[one] else None
    )


def paraphrase(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Say every finding that has a synonym by another word of the same meaning, and some of the words around it."""
    after = [_reworded(sentence, rng) for sentence in sentences]
    changed = tuple((a.text, b.text) for a, b in zip(sentences, after, strict=True) if a.text != b.text)
    return Edit("synonyms", join(after), frozenset(), False, changed) if changed else None


def _reworded(sentence: Sentence, rng: Random) -> Sentence:
    text = sentence.text
    for mention in sorted(sentence.mentions, key=lambda item: -item.first):
        others = _others(sentence, mention)
        if others:
            start, end = sentence.span(mention.first, mention.last)
            new = rng.choice(others)
            new = new.upper() if text[start:end].isupper() and not new.isupper() else new
            text = text[:start] + (new[:1].upper() + new[1:] if text[start].isupper() else new) + text[end:]
        text = _resided(sentence, mention.first - 1, text)
    if sentence.mentions:
        for group in WORDS:
            old = rng.choice(group)
            pattern = re.compile(rf"(?<![\w-]){re.escape(old)}(?![\w-])", re.IGNORECASE)
            new = rng.choice([word for word in group if word != old])
            text = pattern.sub(lambda m, new=new: new[:1].upper() + new[1:] if m.group()[0].isupper() else new, text, 1)
    return sentence if text == sentence.text else sentence.with_text(text)


def _resided(sentence: Sentence, at: int, text: str) -> str:
    """Write "left-sided" for "left" right before a finding, and the other way round."""
    if at < 0 or at in sentence.blocked:
        return text
    start, end = sentence.tokens[at].start, sentence.tokens[at].end
    if sentence.tokens[at].word in ("left", "right"):
        return f"{text[:end]}-sided{text[end:]}"
    if sentence.tokens[at].word == "sided" and text[start - 1] == "-":
        return text[: start - 1] + text[end:]
    return text


def _others(sentence: Sentence, mention: Mention) -> list[str]:
    """Return other phrases for a finding; none where it shares a word with its neighbour ("pleural effusion or thickening")."""
    phrase = sentence.words(mention.first, mention.last)
    group = _GROUPS.get(phrase, ())
    words = [token.word for token in sentence.tokens]
    before = words[mention.first - 1] if mention.first else ""
    after = words[mention.last + 1] if mention.last + 1 < len(words) else ""
    starts = {other.first for other in sentence.mentions}
    if before in _JOINS or (after in _JOINS and mention.last + 2 not in starts):
        return []
    return [word for word in group if word.lower() != phrase and before not in ("space", *word.lower().split())]


def respace(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Write the report in capitals or in small letters, with double spaces, or with a line break for each sentence."""
    report = join(list(sentences))
    how = rng.choice((str.upper, str.lower, str.title, _double, _lines, _wrapped))
    draft = Report(how(report.findings), how(report.impression))
    return (
        Edit("case and spacing", draft, frozenset(), False, ((report.text, draft.text),)) if draft != report else None
    )


def _double(text: str) -> str:
    return text.replace(" ", "  ")


def _lines(text: str) -> str:
    return re.sub(r"(?<=[.!?]) ", "\n", text)


def _wrapped(text: str, width: int = 40) -> str:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= width and not re.fullmatch(r"\d{1,2}[.)]?", word):
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def duplicate(sentences: Sequence[Sentence], rng: Random) -> Edit | None:
    """Say one sentence twice in a row; not one that leans on the sentence before it."""
    places = [i for i, s in enumerate(sentences) if "back" not in s.cues]
    if not places:
        return None
    at = rng.choice(places)
    again = Sentence(sentences[at].section, "", sentences[at].text)
    draft = join([*sentences[: at + 1], again, *sentences[at + 1 :]])
    return Edit("sentence twice", draft, frozenset(), False, ((again.text, f"{again.text} {again.text}"),))
