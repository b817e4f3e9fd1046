"""What people read: the result page of a run, one self-contained HTML file. Standard library and jinja2 only."""

from wetread.review.data import (
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
)
from wetread.review.page import render_page, write_page

__all__ = [
    "Cell", "Column", "Curve", "DraftView", "Example", "Line", "Mark", "PageData", "Picture", "TableRow",
    "render_page", "write_page",
]  # fmt: skip
