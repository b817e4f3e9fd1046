"""The models: one protocol, and one function that opens any of them by name.

``template`` needs nothing. Everything else is an image-text-to-text model of the transformers library: a local folder
(the demo's ``runs/demo/model``) or a Hugging Face id.
"""

from __future__ import annotations

from wetread.models.base import (
    MANIFEST,
    Model,
    Progress,
    fingerprint,
    guide_of,
    inputs_of,
    read_manifest,
    taught,
    version,
    write_manifest,
)
from wetread.models.template import NORMAL, CopyModel, TemplateModel

__all__ = [
    "MANIFEST", "NORMAL", "CopyModel", "Model", "Progress", "TemplateModel", "fingerprint", "guide_of", "inputs_of", "open_model",
    "read_manifest", "taught", "version", "write_manifest",
]  # fmt: skip


def open_model(name: str, *, device: str = "auto") -> Model:
    """Return the model that ``name`` means.

    Parameters
    ----------
    name
        ``template``, a local folder with a saved model, or a Hugging Face id.
    device
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    MissingError
        When the folder or the id has no usable model, saying which file or extra is missing.
    UsageError
        When it is a model, but not image-text-to-text.
    """
    if name == "template":
        return TemplateModel()
    from wetread.models.transformers import TransformersModel  # heavy: torch

    return TransformersModel.open(name, device=device)
