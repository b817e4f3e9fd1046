"""From files and data sets to studies. Nothing of pydicom or Pillow is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wetread.studies.open import Problem, find_studies, open_study
    from wetread.studies.resize import to_square

__all__ = ["Problem", "find_studies", "open_study", "to_square"]

_HOMES = {
    "Problem": "wetread.studies.open",
    "find_studies": "wetread.studies.open",
    "open_study": "wetread.studies.open",
    "to_square": "wetread.studies.resize",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
