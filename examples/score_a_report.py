"""What does a report claim, and how does a draft differ from it? No weights, no network."""

from wetread import metrics
from wetread.knowledge import differences, extract
from wetread.records import Report

reference = Report(
    "There is a small left pleural effusion. No pneumothorax. The heart is normal.", "Small left effusion."
)
draft = Report("There is a large right pleural effusion. No pneumothorax.", "Large right effusion.")

for finding in extract(reference):
    print(finding.presence, finding.severity, finding.side, finding.name)
for error in differences(reference, draft):
    print(error.kind, "significant" if error.significant else "not significant", error.finding)
for name in ("findings_f1", "entity_f1", "bleu_2_rexrank"):
    (score,) = metrics.get(name)([draft], [reference])
    print(name, score.value)
