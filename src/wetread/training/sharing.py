"""Each image is encoded once, not once per rollout.

In GRPO a group of rollouts shares its image, and TRL hands the same pixels to the model once for each of them. Here the
vision tower sees every run of equal images once; its features are then repeated. Values and gradients are those of the
plain path up to the order of float additions.
"""

from __future__ import annotations

from typing import Any


def share_images(model: Any) -> bool:
    """Let ``model`` encode runs of equal images once; return whether it is of a kind that can.

    Models whose ``pixel_values`` hold one image a row, shape (images, channels, height, width), and whose features come
    as one entry an image can (LLaVA and its relatives). Others are left as they are.
    """
    inner = getattr(model, "model", model)
    if not hasattr(inner, "get_image_features") or getattr(inner, "_shares_images", False):
        return False
    original = inner.get_image_features

    def shared(pixel_values: Any = None, **options: Any) -> Any:
        import torch

        plain = pixel_values is None or pixel_values.ndim != 4 or pixel_values.shape[0] < 2
        if plain or any(isinstance(value, torch.Tensor) for value in options.values()):
            return original(pixel_values=pixel_values, **options)
        first, run = runs(pixel_values)
        if first.shape[0] == pixel_values.shape[0]:
            return original(pixel_values=pixel_values, **options)
        out = original(pixel_values=first, **options)
        features = out.pooler_output
        if len(features) != first.shape[0]:  # not one entry an image: no way to tell whose is whose
            return original(pixel_values=pixel_values, **options)
        out.pooler_output = [features[i] for i in run]
        return out

    inner.get_image_features = shared
    inner._shares_images = True
    return True


def runs(pixel_values: Any) -> tuple[Any, list[int]]:
    """Return the first image of each run of equal rows, and for every row the number of its run.

    Parameters
    ----------
    pixel_values
        Tensor of shape (rows, channels, height, width).

    >>> import torch
    >>> first, run = runs(torch.tensor([1.0, 1.0, 2.0, 1.0]).reshape(4, 1, 1, 1))
    >>> first.flatten().tolist(), run
    ([1.0, 2.0, 1.0], [0, 0, 1, 2])
    """
    import torch

    flat = pixel_values.flatten(1)
    new = torch.ones(flat.shape[0], dtype=torch.bool, device=flat.device)
    new[1:] = (flat[1:] != flat[:-1]).any(dim=1)
    return pixel_values[new], (new.cumsum(0) - 1).tolist()
