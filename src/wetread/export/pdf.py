"""A report as PDF: A4, the banner on top, who wrote it on every page, the same bytes for the same document."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from wetread.export.fonts import BOLD, PLAIN, runs, shown
from wetread.export.wording import Line, Reading, one_line, read
from wetread.records import Document
from wetread.records.document import moment

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

MARGIN = 57
"""Margin left, right and above, in points (1/72 inch; 20 mm)."""
FOOT = 62
"""Margin below, in points; the footer stands in it."""
_INK, _SOFT, _RULE = "#1d2126", "#565d66", "#d8d6d0"
_DRAFT = ("#fdf3d8", "#b98a00", "#4a3800")
_VERIFIED = ("#e3f1e7", "#2a7a4b", "#123f22")
_SIGNS = {"+": "#7c150c", "?": "#5e4100", "-": "#17663a"}


def as_pdf(document: Document) -> bytes:
    """Return a report as PDF. It identifies the patient by nothing but what the document shows.

    Raises
    ------
    MissingError
        ``WETREAD_FONT`` names what is no TrueType font.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    reading = read(document)
    out = BytesIO()
    pdf = BaseDocTemplate(
        out,
        pagesize=A4,
        invariant=1,
        title=f"{reading.title}: {reading.study}",
        author=one_line(document.author),
        subject=reading.banner,
        creator="wetread",
        lang="en",
    )
    width, height = A4
    frame = Frame(
        MARGIN,
        FOOT,
        width - 2 * MARGIN,
        height - MARGIN - FOOT,
        leftPadding=0,
        rightPadding=0,
        topPadding=0,
        bottomPadding=0,
    )
    pdf.addPageTemplates(PageTemplate("page", frame, onPageEnd=lambda canvas, _: _footer(canvas, reading, width)))
    pdf.build(list(_story(reading, width - 2 * MARGIN)), canvasmaker=_numbered(document.time))
    return out.getvalue()


def markup(text: str, bold: bool = False) -> str:
    """Return ``text`` as ReportLab's paragraph markup, each stretch in the font that draws it."""
    parts = []
    for font, words in runs(text):
        shown = escape(words, quote=False).replace("\t", " " * 4).replace("\n", "<br/>")
        own = BOLD if bold and font == PLAIN else font
        parts.append(shown if own == PLAIN else f'<font name="{own}">{shown}</font>')
    return "".join(parts)


def _style(name: str, size: float, **more: Any) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    options = {
        "fontName": PLAIN,
        "fontSize": size,
        "leading": size * 1.4,
        "textColor": _INK,
        "splitLongWords": 1,
        "embeddedHyphenation": 0,
        "allowWidows": 0,
        "allowOrphans": 0,
    }
    return ParagraphStyle(name, **(options | more))


def _story(reading: Reading, width: float) -> Iterator[Flowable]:
    from reportlab.platypus import Paragraph, Spacer

    head = _style("head", 11, spaceBefore=12, spaceAfter=3, keepWithNext=1)
    body = _style("body", 10.5, spaceAfter=4)
    soft = _style("soft", 8.5, textColor=_SOFT, spaceAfter=4)
    yield Paragraph(markup(reading.title, bold=True), _style("title", 17, spaceAfter=10))
    yield from _banner(reading, width)
    yield Spacer(0, 8)
    yield from _facts(reading, width)
    for title, text in reading.sections:
        yield Paragraph(markup(title, bold=True), head)
        for paragraph in text.split("\n"):
            if paragraph.strip():
                yield Paragraph(markup(paragraph), body)
    if reading.groups:
        yield Paragraph(markup("Findings by region", bold=True), head)
        yield Paragraph(markup("Read from the report by rules: + present, ? uncertain, - absent."), soft)
    region = _style("region", 9, textColor=_SOFT, spaceBefore=4, spaceAfter=1, keepWithNext=1)
    item = _style("item", 9.5, leftIndent=14, firstLineIndent=-14, spaceAfter=1.5)
    for group in reading.groups:
        yield Paragraph(markup(group.title, bold=True), region)
        for line in group.lines:
            yield Paragraph(_item(line), item)
    notes = [*reading.notes]
    if any(shown(text) != text for _, text in reading.sections):
        notes.append(
            "Characters that this page cannot draw are written as [U+4E2D]; the text and HTML forms show them."
        )
    if notes:
        yield Paragraph(markup("Notes", bold=True), head)
        for note in notes:
            yield Paragraph(markup(note), soft)


def _item(line: Line) -> str:
    quote = f' <font color="{_SOFT}" size="8.5">“{markup(line.quote)}”</font>' if line.quote else ""
    sign = f'<font name="{BOLD}" color="{_SIGNS[line.sign]}">{line.sign}</font>'
    return f"{sign}&nbsp;&nbsp;{markup(line.said)}{quote}"


def _banner(reading: Reading, width: float) -> Iterator[Flowable]:
    from reportlab.platypus import Paragraph, Table, TableStyle

    paper, rule, ink = _VERIFIED if reading.verified else _DRAFT
    cells = [
        [Paragraph(markup(reading.banner, bold=True), _style("banner", 12, textColor=ink))],
        [Paragraph(markup(reading.banner_more), _style("more", 9, textColor=ink))],
    ]
    look = [
        ("BACKGROUND", (0, 0), (-1, -1), paper),
        ("LINEBEFORE", (0, 0), (0, -1), 3, rule),
        ("LEFTPADDING", (0, 0), (-1, -1), 10),
        ("TOPPADDING", (0, 0), (-1, 0), 7),
        ("BOTTOMPADDING", (0, 0), (-1, 0), 1),
        ("TOPPADDING", (0, 1), (-1, 1), 0),
        ("BOTTOMPADDING", (0, 1), (-1, 1), 7),
    ]
    yield Table(cells, colWidths=[width], style=TableStyle(look))


def _facts(reading: Reading, width: float) -> Iterator[Flowable]:
    from reportlab.platypus import Paragraph, Table, TableStyle

    label, value = _style("label", 9, textColor=_SOFT), _style("value", 9)
    rows = [[Paragraph(markup(name), label), Paragraph(markup(said), value)] for name, said in reading.facts]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 0.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
        ("LINEBELOW", (0, -1), (-1, -1), 0.6, _RULE),
    ]
    yield Table(rows, colWidths=[62, width - 62], style=TableStyle(look), splitInRow=1)


def _footer(canvas: Any, reading: Reading, width: float) -> None:
    from reportlab.platypus import Paragraph

    canvas.saveState()
    canvas.setStrokeColor(_RULE)
    canvas.setLineWidth(0.6)
    canvas.line(MARGIN, FOOT - 12, width - MARGIN, FOOT - 12)
    said = reading.footer if len(reading.footer) <= 240 else f"{reading.footer[:240]}…"
    foot = Paragraph(markup(said), _style("footer", 7.5, textColor=_SOFT))
    _, used = foot.wrap(width - 2 * MARGIN - 70, FOOT)
    foot.drawOn(canvas, MARGIN, FOOT - 16 - used)
    canvas.restoreState()


def _numbered(time: str) -> type:
    """Return a canvas that writes "page 1 of 2", and ``time`` as the file's date, so that the bytes tell nothing else."""
    from reportlab.pdfgen.canvas import Canvas

    stamp = moment(time).strftime("D:%Y%m%d%H%M%SZ")

    class Numbered(Canvas):
        """A canvas that knows the number of pages when they are written."""

        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self._held: list[dict[str, Any]] = []
            self.setDateFormatter(lambda *_: stamp)

        def showPage(self) -> None:
            """Keep the page until the number of pages is known."""
            self._held.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            """Write the pages, each with its number."""
            for number, page in enumerate(self._held, start=1):
                self.__dict__.update(page)
                self.setFont(PLAIN, 7.5)
                self.setFillColor(_SOFT)
                self.drawRightString(self._pagesize[0] - MARGIN, FOOT - 24, f"page {number} of {len(self._held)}")
                super().showPage()
            super().save()

    return Numbered
