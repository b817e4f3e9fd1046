"""A metric for worker processes of tests, which does to its process what the draft says."""

import os
import signal
from pathlib import Path

from wetread.errors import MissingError
from wetread.metrics.entry import MEAN, MetricEntry
from wetread.records import MetricSpec, Score

VARIABLE = "WETREAD_TEST_FOLDER"


def obey(drafts, references):
    for draft in drafts:
        order, _, name = draft.findings.partition(" ")
        if order == "miss":
            raise MissingError("weights that are not there")
        if order == "err":
            raise ValueError("a fault of the metric")
        if order == "die" or order == "once":
            file = Path(os.environ[VARIABLE]) / name
            if order == "die" or not file.exists():
                with file.open("a") as deaths:
                    deaths.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
    return [Score("obey", float(len(draft.findings))) for draft in drafts]


OBEY = MetricEntry(MetricSpec("obey", "higher", (0.0, 1e9), frozenset(), "1", source="a test"), obey, MEAN)
