"""Processors: text and images to model inputs. Those that also take videos open without what only videos need."""

from __future__ import annotations

from typing import Any


def open_processor(name: str, config: Any) -> Any:
    """Return the processor of ``name``, a folder or hub id whose model config is ``config``.

    Some models (Qwen-VL) have a processor with a part for videos, which needs torchvision. A radiograph is no video:
    without torchvision the processor is opened without that part.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.utils import is_torchvision_available

    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if is_torchvision_available() or kind is None or not any("video" in part for part in kind.get_attributes()):
        return AutoProcessor.from_pretrained(name)
    return without_video(kind).from_pretrained(name)


def without_video(kind: Any) -> Any:
    """Return the processor class ``kind`` without its part for videos; what it saves is a ``kind`` again."""

    class Still(kind):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in super().get_attributes() if "video" not in part]

    Still.__name__ = Still.__qualname__ = kind.__name__
    Still.__module__ = kind.__module__
    return Still
