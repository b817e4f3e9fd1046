"""The model card that every training run writes: what it is, how it was made, what it is not."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

import wetread
from wetread.models import write_manifest
from wetread.prompts import Guide
from wetread.records import Inputs
from wetread.training.data import Samples

_CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [radiology, report-generation, wetread, research-only]
---

# {name}

Written by `wetread {verb}` (wetread {version}) on {date}.

**A research tool, not a medical device.** Its drafts are for a radiologist to verify. {data_warning}

## What it is

- Task: drafts the findings and impression of a chest radiograph, prompt style `{style}`.
- Started from: {base}
- Parameters: {parameters:,}
- Trained by: {how}
- Data: {studies}, split `{split}`.
- Is shown: {inputs}.

## Use

In this folder:

```
wetread draft RADIOGRAPH --model .
```

## How it was made

{library}, on {machine}.

```yaml
{config}```

## What it is not

Not validated on patients. Not for diagnosis, triage or any use without a reader. It can miss findings, invent them,
take the wrong side, and speak of changes against examinations it has not seen.
"""


def _shown(value: Any) -> Any:
    """Return a config without the folders in which its files lie on this machine: a card may be published.

    >>> _shown({"model": "/models/base", "data": ["mix/openi"], "rate": 0.1})
    {'model': 'base', 'data': ['mix/openi'], 'rate': 0.1}
    """
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if isinstance(value, str) and (
        value.startswith("~") or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    ):
        return PureWindowsPath(value).name
    return value


@dataclass(frozen=True)
class Card:
    """What a model card says of a training beyond what the model itself tells."""

    verb: str
    """Command that trained it: train sft, train rl."""
    how: str
    """Method and size of the training in one phrase."""
    base: str
    """What it started from."""
    samples: Samples
    """What it was trained on; phantom studies add a warning."""
    inputs: Inputs
    """What of a study it is shown."""
    config: Mapping[str, Any]
    """Effective config of the training."""
    guide: Guide | None = None
    """How it was taught to think; None: it was not."""

    def write(self, folder: Path, model: Any, target: Path) -> None:
        """Write ``README.md`` and ``wetread.json`` into a model folder; ``target`` is where that folder will stand."""
        import torch
        import transformers
        import trl

        sources = sorted({part.source for part in self.samples.parts})
        name = f"{target.parent.name}-{self.verb.replace(' ', '-')}"
        style = str(self.config.get("style", "direct"))
        warning = (
            "It was trained on **phantom studies** (procedural pictures) alone: it knows nothing of real patients, "
            "and what it writes about a real radiograph means nothing."
            if sources == ["phantom"]
            else ""
        )
        studies = "; ".join(
            f"{part.studies} studies from `{Path(part.folder).name}` ({part.source or 'unknown source'})"
            + (f", {part.samples} samples an epoch" if part.samples != part.studies else "")
            for part in self.samples.parts
        )
        text = _CARD.format(
            name=name,
            verb=self.verb,
            version=wetread.__version__,
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            data_warning=warning,
            style=style,
            base=self.base,
            parameters=sum(p.numel() for p in model.parameters()),
            how=self.how,
            studies=studies,
            inputs=self.inputs.words,
            split=self.config["data"]["split"],
            library=f"torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__}",
            machine=f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
            config=yaml.safe_dump(_shown(dict(self.config)), sort_keys=False),
        )
        (folder / "README.md").write_text(text, "utf-8")
        write_manifest(
            folder,
            name=name,
            style=style,
            inputs=self.inputs.to_json(),
            **({"guide": self.guide.to_json()} if self.guide else {}),
            modality="chest_xray",
            source=", ".join(sources),
            wetread=wetread.__version__,
        )
