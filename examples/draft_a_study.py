"""From a picture file to a draft report in Python; here with the model that needs no weights."""

import tempfile
from pathlib import Path

from wetread import models, prompts
from wetread.records import Sampling
from wetread.studies import open_study, phantom

with tempfile.TemporaryDirectory() as folder:
    phantom.write(Path(folder), 1, seed=7)  # a phantom radiograph, so that there is a file to read
    picture = next(Path(folder).rglob("*.png"))
    study = open_study(picture)
    model = models.open_model("template")  # or a folder: models.open_model("runs/demo/model")
    style = prompts.get(model.style)
    (generation,) = model.generate([style.render(study)], Sampling())
    draft = style.parse(generation)
    print(draft.parse, "|", draft.report.text)
