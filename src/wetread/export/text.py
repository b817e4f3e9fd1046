"""A report as plain text, Markdown and HTML; all of them self-contained, none with a script or a request to anywhere."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from wetread.export.wording import Reading, read
from wetread.records import Document

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH = 88
"""Columns of the plain text; longer words stand out."""
_INLINE = re.compile(r"([\\`*_\[\]<>&|~$])")
_AT_START = re.compile(r"^([#+\-=])|^(\d+)([.)])")


def as_text(document: Document) -> str:
    """Return a report as plain text of at most ``WIDTH`` columns, ending with a line break.

    The sections keep their own line breaks and are not wrapped, so that they read back as they were written.
    """
    reading = read(document)
    rule = "=" * WIDTH
    parts = [rule, reading.banner.upper() if not reading.verified else reading.banner]
    parts += [*textwrap.wrap(reading.banner_more, WIDTH), rule, "", reading.title, ""]
    indent = " " * 12
    for label, value in reading.facts:
        parts += textwrap.wrap(value, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent) or [label]
    for title, text in reading.sections:
        parts += ["", title.upper(), *text.split("\n")]
    if reading.groups:
        parts += ["", "FINDINGS BY REGION (read from the report by rules)"]
    for group in reading.groups:
        parts.append(group.title)
        for line in group.lines:
            quote = f'  "{line.quote}"' if line.quote else ""
            parts += textwrap.wrap(
                f"{line.sign} {line.said}{quote}", WIDTH, initial_indent="  ", subsequent_indent="      "
            )
    if reading.notes:
        parts += ["", "NOTES"]
        for note in reading.notes:
            parts += textwrap.wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ")
    parts += ["", rule, *textwrap.wrap(reading.footer, WIDTH)]
    return "\n".join(parts) + "\n"


def as_markdown(document: Document) -> str:
    """Return a report as Markdown (CommonMark), whatever a report's text may hold escaped, ending with a line break."""
    reading = read(document)
    lines = [f"# {escaped(reading.title)}", "", f"> **{escaped(reading.banner)}.** {escaped(reading.banner_more)}", ""]
    lines += [f"- {label}: {escaped(value)}" for label, value in reading.facts]
    for title, text in reading.sections:
        lines += ["", f"## {title}", "", *_paragraphs(text)]
    if reading.groups:
        lines += ["", "## Findings by region", "", "Read from the report by rules."]
    for group in reading.groups:
        lines += ["", f"### {escaped(group.title)}", ""]
        for line in group.lines:
            quote = f" (“{escaped(line.quote)}”)" if line.quote else ""
            lines.append(f"- `{line.sign}` {escaped(line.said)}{quote}")
    if reading.notes:
        lines += ["", "## Notes", "", *(f"- {escaped(note)}" for note in reading.notes)]
    lines += ["", "---", "", escaped(reading.footer)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return one line with everything escaped that Markdown would take for a mark.

    >>> print(escaped("1. a *big* <b>"))
    1\. a \*big\* \<b\>
    """
    return _AT_START.sub(r"\2\\\1\3", _INLINE.sub(r"\\\1", text))


def _paragraphs(text: str) -> Iterable[str]:
    """Yield the lines of a section; a line break is written as a hard one, an empty line begins a new paragraph."""
    paragraphs = re.split(r"\n\s*\n", text)
    for number, paragraph in enumerate(paragraphs, start=1):
        last = number == len(paragraphs)
        lines = [escaped(line.strip()) for line in paragraph.split("\n") if line.strip()]
        yield from (f"{line}\\" for line in lines[:-1])
        yield from lines[-1:]
        if not last:
            yield ""


def as_html(document: Document) -> str:
    """Return a report as one HTML page that asks nothing of the network."""
    return page([read(document)], read(document).title)


def page(readings: Sequence[Reading], title: str, failures: Sequence[tuple[str, str]] = ()) -> str:
    """Return one HTML page with several reports.

    Parameters
    ----------
    readings
        The reports in words (``wording.read``), in order.
    title
        Title of the page.
    failures
        Study and reason of those for which there is no report.
    """
    return _template().render(readings=readings, title=title, failures=failures)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # the other forms do not need it

    environment = Environment(
        loader=PackageLoader("wetread.export", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
