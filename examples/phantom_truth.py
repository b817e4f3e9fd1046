"""Phantom studies: the findings are known exactly, and the report says just that."""

from wetread.knowledge import extract
from wetread.studies import phantom

for study in phantom.generate(3, seed=11):
    assert study.findings is not None and study.report is not None
    truth = sorted((f.name, f.side, f.severity) for f in study.findings if f.presence == "present")
    claimed = sorted((f.name, f.side, f.severity) for f in extract(study.report) if f.presence == "present")
    print(study.id, study.site, study.images[0].pixels().shape)
    print("  truth  ", truth)
    print("  report ", study.report.text)
    assert truth == claimed
