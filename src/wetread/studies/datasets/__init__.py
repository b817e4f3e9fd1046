"""The field's data sets, one reader file each: the same ``Study`` out, whatever the layout.

A reader looks for its layout (``open``), then yields one ``Found`` or ``Dropped`` a row and never ends for a bad one. It
keeps the set's own ids and file names; ``wetread.runs.importing`` merges the rows of a study, replaces ids by pseudonyms and
writes the folder that training reads.
"""

from __future__ import annotations

from wetread.registry import Registry
from wetread.studies.datasets.base import DataSet, Dropped, Found, Opened, Place

__all__ = ["SETS", "DataSet", "Dropped", "Found", "Opened", "Place", "get"]

SETS = Registry(
    "data set",
    {
        "openi": "wetread.studies.datasets.openi:SET",
        "r2gen": "wetread.studies.datasets.r2gen:SET",
        "mimic-cxr": "wetread.studies.datasets.mimic:DICOM_SET",
        "mimic-cxr-jpg": "wetread.studies.datasets.mimic:JPG_SET",
        "chexpert-plus": "wetread.studies.datasets.chexpert_plus:SET",
        "rexgradient": "wetread.studies.datasets.rexgradient:SET",
        "padchest-gr": "wetread.studies.datasets.padchest_gr:SET",
        "cov-ctr": "wetread.studies.datasets.cov_ctr:SET",
        "rexrank": "wetread.studies.datasets.rexrank_file:SET",
        "llava": "wetread.studies.datasets.llava:SET",
        "table": "wetread.studies.datasets.table:SET",
    },
)
"""Name of a data set, as the command line takes it, to what is known of it."""


def get(name: str) -> DataSet:
    """Return the data set called ``name``; ``UsageError`` names those that exist."""
    found: DataSet = SETS[name]
    return found
