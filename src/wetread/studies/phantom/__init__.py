"""Phantom studies: procedural chest radiographs with reports, whose findings are known exactly.

Nothing made from them is clinical; every table and page says that it was measured on phantoms.
"""

from wetread.studies.phantom.catalogue import FINDINGS
from wetread.studies.phantom.config import PhantomConfig
from wetread.studies.phantom.write import FORMATS, generate, make_study, write

__all__ = ["FINDINGS", "FORMATS", "PhantomConfig", "generate", "make_study", "write"]
