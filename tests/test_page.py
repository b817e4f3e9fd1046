"""The result page: one file, well formed, silent on the network, honest about what it was measured on."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from wetread.errors import RunError, UsageError
from wetread.review import (
    Cell,
    Column,
    Curve,
    DraftView,
    Example,
    Line,
    Mark,
    PageData,
    Picture,
    TableRow,
    render_page,
    write_page,
)
from wetread.review.charts import line_chart, tick_text, ticks
from wetread.review.page import best_rows, segments

VOID = frozenset({"meta", "img", "br", "hr", "link", "input", "line", "path"})


class Reader(HTMLParser):
    """Reads a page strictly: every element must close in order; collects what the tests ask about."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> closes {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def png(seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(values).save(out, format="PNG")
    return out.getvalue()


REFERENCE = "Findings: Small left pleural effusion. No pneumothorax. Impression: Left effusion."
DRAFT = "Findings: Right pleural effusion. Cardiomegaly. Impression: Effusion."


def sample() -> PageData:
    columns = (Column("Finding F1", "higher", 3, "micro"), Column("Errors", "lower", 2), Column("Length", "one", 2))
    rows = (
        TableRow("Template", (Cell(0.1, 0.08, 0.12), Cell(3.0, 2.9, 3.1), Cell(0.5))),
        TableRow("SFT", (Cell(0.7, 0.68, 0.72), Cell(1.5, 1.4, 1.6), Cell(0.98))),
        TableRow("SFT+RL", (Cell(0.75, 0.73, 0.77), Cell(1.25, 1.2, 1.3), Cell(None, note="no report was readable"))),
    )
    gain = TableRow("SFT+RL − SFT", (Cell(0.05, 0.03, 0.07), Cell(-0.25, -0.3, -0.2), Cell(0.01, -0.02, 0.04)))
    missed = Mark(10, 37, "omitted finding", "pleural effusion, left")
    drafts = (
        DraftView(
            "SFT",
            DRAFT,
            (Mark(10, 32, "wrong location", "right, not left"), Mark(34, 46, "false finding", "cardiomegaly")),
            (missed,),
            {"wrong location": ("right, not left",), "false finding": ("cardiomegaly",)},
            "F1 0.40",
        ),
        DraftView("SFT+RL", REFERENCE, (), (missed,)),
    )
    example = Example("ph-0001", (Picture(png(), "PA"), Picture(png(1), "prior")), REFERENCE, drafts, "Cough, 54 F")
    lines = (Line("train", (0, 1, 2), (3.0, math.nan, 1.0)), Line("val", (2,), (1.1,)))
    curve = Curve("SFT loss", "step", "nats", lines)
    return PageData(
        "wetread demo", columns, rows, (gain,), (curve,), (example,), {"Seed": "7"}, "seed: 7\n", ("It got better.",)
    )


def test_page_is_well_formed_and_asks_nothing_of_the_network() -> None:
    html = render_page(sample())
    page = read(html)
    assert page.wrong == [] and page.open == []
    assert len(page.ids) == len(set(page.ids)), "ids are unique"
    assert not re.search(r"https?://|@import|url\(", html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:image/png").startswith("data:image/png")
        assert "href" not in attributes and "srcset" not in attributes
        if "aria-labelledby" in attributes:
            assert set((attributes["aria-labelledby"] or "").split()) <= set(page.ids)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy


def test_page_says_what_it_was_measured_on_and_what_it_is_not() -> None:
    html = render_page(sample())
    assert re.search(r"<title>[^<]*phantom data</title>", html)
    text = read(html).text
    assert "Research tool." in text and "for a radiologist to verify" in text and "nothing here is clinical" in text
    assert "real films" in read(render_page(replace(sample(), measured_on="real films"))).text


def test_every_picture_has_words_and_every_chart_a_title_and_description() -> None:
    html = render_page(sample())
    assert all(attributes.get("alt") for tag, attributes in read(html).tags if tag == "img")
    assert html.count("<svg") == html.count("<desc") == 1
    assert "train: 3 at 0, 1 at 2." in html


def test_hostile_text_is_shown_as_text_everywhere() -> None:
    hostile = '<script>alert("x")</script>&\'"'
    drafts = (DraftView(hostile, hostile, (Mark(0, 8, hostile, hostile),), (), {hostile: (hostile,)}, hostile),)
    lines = (Line(hostile, (0,), (1,)), Line(hostile + "2", (0,), (1,)))
    base = sample()
    data = replace(
        base,
        title=hostile,
        columns=(Column(hostile, note=hostile),),
        rows=(TableRow(hostile, (Cell(1.0, note=hostile),), hostile),),
        differences=(),
        curves=(Curve(hostile, hostile, hostile, lines, hostile),),
        examples=(Example(hostile, (Picture(png(), hostile),), hostile, drafts, hostile),),
        made={hostile: hostile},
        config=hostile,
        summary=(hostile,),
        sample=hostile,
        measured_on=hostile,
    )
    html = render_page(data)
    page = read(html)
    assert "<script" not in html
    assert page.wrong == [] and page.open == []
    assert not any(tag == "script" for tag, _ in page.tags)
    assert 'alert("x")' in page.text


def test_wrong_findings_are_marked_in_the_draft_and_omitted_ones_in_the_reference() -> None:
    html = render_page(sample())
    assert '<mark class="wrong" title="wrong location: right, not left">Right pleural effusion</mark>' in html
    assert '<mark class="false" title="false finding: cardiomegaly">Cardiomegaly.' not in html
    assert '<mark class="false" title="false finding: cardiomegaly">Cardiomegaly</mark>' in html
    assert '>Small left pleural effusion</mark><span class="tag">SFT, SFT+RL</span>' in html
    text = read(html).text
    assert "2 errors" in text and "no errors found" in text


def test_table_marks_the_best_and_says_whether_a_difference_excludes_zero() -> None:
    html = render_page(sample())
    assert "<strong>0.750</strong>" in html and "<strong>1.25</strong>" in html and "<strong>0.98</strong>" in html
    assert html.count("<strong>0.") + html.count("<strong>1.") == 3
    text = read(html).text
    assert "n/a" in text
    assert "+0.050 +0.030 to +0.070 excludes 0, better" in text
    assert "−0.25 −0.30 to −0.20 excludes 0, better" in text
    assert "+0.01 −0.02 to +0.04 includes 0" in text


def test_a_loss_is_called_a_loss() -> None:
    worse = TableRow("b − a", (Cell(-0.05, -0.07, -0.03), Cell(0.3, 0.2, 0.4), Cell(0.2, 0.1, 0.3)))
    text = read(render_page(replace(sample(), differences=(worse,)))).text
    assert text.count("excludes 0, worse") == 2
    assert "excludes 0, better" not in text


def test_empty_page_still_renders() -> None:
    page = read(render_page(PageData("wetread evaluate", (), ())))
    assert page.wrong == [] and page.open == []


def test_writing_replaces_the_page_whole_and_is_deterministic(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "index.html"
    assert write_page(target, sample()) == target
    first = target.read_bytes()
    write_page(target, sample())
    assert target.read_bytes() == first
    assert [path.name for path in target.parent.iterdir()] == ["index.html"]


def test_a_page_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written") as caught:
        write_page(tmp_path / "file" / "index.html", sample())
    assert "\n" not in str(caught.value)


def test_what_cannot_be_right_is_refused() -> None:
    with pytest.raises(ValueError, match="0 <= start < end"):
        Mark(4, 4, "false finding")
    with pytest.raises(ValueError, match="2 xs but 1 ys"):
        Line("loss", (0, 1), (1,))
    with pytest.raises(ValueError, match="1 cells; the table has 0 columns"):
        PageData("x", (), (TableRow("SFT", (Cell(1.0),)),))
    with pytest.raises(UsageError, match="character 9 of 3"):
        segments("abc", [Mark(0, 9, "false finding")])


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), max_size=6))
def test_segments_join_to_the_text_and_cover_each_mark(text: str, pairs: list[tuple[int, int]]) -> None:
    marks = [Mark(start, end, "false finding") for start, end in pairs if start < end <= len(text)]
    pieces = segments(text, marks)
    assert "".join(piece.text for piece in pieces) == text
    for place, mark in enumerate(marks):
        assert "".join(piece.text for piece in pieces if place in piece.marks) == text[mark.start : mark.end]
        assert sum(place in piece.ending for piece in pieces) == 1


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    places = ticks(low, low + span)
    assert 1 <= len(places) <= 8
    assert all(low - span * 1e-6 <= place <= low + span * (1 + 1e-6) for place in places)
    step = places[1] - places[0] if len(places) > 1 else 1.0
    assert len({tick_text(place, step) for place in places}) == len(places)


def test_rows_that_tie_as_shown_are_all_best() -> None:
    rows = (TableRow("a", (Cell(0.7001),)), TableRow("b", (Cell(0.7004),)), TableRow("c", (Cell(0.6),)))
    assert best_rows(0, "higher", rows, 3) == {0, 1}
    assert best_rows(0, "", rows, 3) == frozenset()


def test_chart_draws_gaps_lone_points_and_long_lines() -> None:
    gap = line_chart(Curve("t", "x", "y", (Line("a", (0, 1, 2, 3), (1, math.nan, 2, 3)),)), "k")
    path = re.search(r'class="line s0" d="([^"]+)"', gap)
    assert path is not None and path.group(1).count("M") == 2
    assert "nothing recorded" in line_chart(Curve("t", "x", "y", ()), "k")
    steps = tuple(range(5000))
    long = line_chart(Curve("t", "x", "y", (Line("a", steps, steps),)), "k")
    assert len(long) < 30_000
    flat = line_chart(Curve("t", "x", "y", (Line("a", (1,), (0,)),)), "k")
    assert "nan" not in flat and "inf" not in flat


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` as WCAG 2 defines it, 0 to 1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_the_contrast_that_wcag_aa_asks_for(scheme: int) -> None:
    style = render_page(sample()).split("<style>")[1].split("</style>")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]))

    def contrast(front: str, back: str) -> float:
        light, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    text = [(front, back) for front in ("ink", "soft", "link", "gain", "loss") for back in ("paper", "card")]
    text += [("banner-ink", "banner"), ("false-ink", "false"), ("wrong-ink", "wrong"), ("omitted-ink", "omitted")]
    text += [("omitted-ink", "card"), ("omitted-ink", "paper")]
    assert {pair: contrast(*pair) for pair in text if contrast(*pair) < 4.5} == {}
    lines = [(f"s{number}", "card") for number in range(6)]
    assert {pair: contrast(*pair) for pair in lines if contrast(*pair) < 3} == {}
