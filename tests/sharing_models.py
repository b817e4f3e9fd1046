"""Tiny random vision-language models of many kinds, and made-up inputs for them; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

IMAGE, VIDEO, VISION_START, VISION_END = 90, 91, 92, 93
VOCABULARY = 96
TEXT = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SIGLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
CLIP = {**SIGLIP, "projection_dim": 16}


def _made(model: Callable[[Any], Any], config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = model(config)
    return made.train()


def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**CLIP),
        text_config=LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
    )
    return _made(LlavaForConditionalGeneration, config)


def llava_next() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**CLIP), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE, vision_feature_layer=-1,
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )  # fmt: skip
    return _made(LlavaNextForConditionalGeneration, config)


def llava_onevision() -> Any:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**SIGLIP), text_config=Qwen2Config(**TEXT), image_token_index=IMAGE, video_token_index=VIDEO,
        vision_feature_layer=-1, vision_feature_select_strategy="full",
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )  # fmt: skip
    return _made(LlavaOnevisionForConditionalGeneration, config)


def idefics3() -> Any:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig

    config = Idefics3Config(
        vision_config=SIGLIP, text_config=LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    )
    return _made(Idefics3ForConditionalGeneration, config)


def smolvlm() -> Any:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config=SIGLIP, text_config=LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    )
    return _made(SmolVLMForConditionalGeneration, config)


_QWEN_IDS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
}  # fmt: skip
_QWEN_TEXT = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}}


def qwen2_vl() -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=_QWEN_TEXT, vision_config=vision, **_QWEN_IDS)
    return _made(Qwen2VLForConditionalGeneration, config)


def qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=_QWEN_TEXT, vision_config=vision, **_QWEN_IDS)
    return _made(Qwen2_5_VLForConditionalGeneration, config)


def qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32,
        "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16,
    }  # fmt: skip
    text = {**_QWEN_TEXT, "head_dim": 16}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_QWEN_IDS)
    return _made(Qwen3VLForConditionalGeneration, config)


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {**TEXT, "head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    config = Gemma3Config(text_config=text, vision_config=SIGLIP, mm_tokens_per_image=4, image_token_index=IMAGE)
    return _made(Gemma3ForConditionalGeneration, config)


def paligemma() -> Any:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        vision_config={**SIGLIP, "model_type": "siglip_vision_model", "projection_dim": 32},
        text_config={**TEXT, "model_type": "gemma", "head_dim": 16}, image_token_index=IMAGE, projection_dim=32,
        hidden_size=32,
    )  # fmt: skip
    return _made(PaliGemmaForConditionalGeneration, config)


def internvl() -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    vision = {**SIGLIP, "image_size": [16, 16], "patch_size": [8, 8], "model_type": "internvl_vision"}
    config = InternVLConfig(
        vision_config=vision, text_config={**TEXT, "model_type": "qwen2"}, image_token_id=IMAGE, image_seq_length=1
    )
    return _made(InternVLForConditionalGeneration, config)


MODELS: dict[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (
        llava, llava_next, llava_onevision, idefics3, smolvlm, qwen2_vl, qwen2_5_vl, qwen3_vl, gemma3, paligemma, internvl,
    )
}  # fmt: skip


def pixels(name: str, kinds: list[int]) -> dict[str, Any]:
    """Return what ``get_image_features`` of the model ``name`` takes for images of these kinds; equal kinds, equal images."""
    made = torch.Generator().manual_seed(1)
    if name.startswith("qwen"):
        grids = [[1, 4, 4], [1, 4, 8], [1, 4, 4]]
        patches = [torch.randn(16 * (1 + (grid[2] == 8)), 3 * 2 * 4 * 4, generator=made) for grid in grids]
        return {
            "pixel_values": torch.cat([patches[kind] for kind in kinds]),
            "image_grid_thw": torch.tensor([grids[kind] for kind in kinds]),
        }
    shape = {
        "llava_next": (3, 3, 16, 16), "llava_onevision": (3, 3, 16, 16), "idefics3": (2, 3, 16, 16),
        "smolvlm": (2, 3, 16, 16),
    }.get(name, (3, 16, 16))  # fmt: skip
    images = torch.randn(3, *shape, generator=made)
    out = {"pixel_values": images[kinds].clone()}
    if name in ("llava_next", "llava_onevision"):
        out["image_sizes"] = torch.tensor([[16, 32], [32, 16], [16, 32]])[kinds]
    if name in ("llava", "llava_next", "llava_onevision", "internvl"):
        out |= {
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default" if "llava_o" not in name else "full",
        }
    return out


def inputs(name: str, model: Any, kinds: list[int], samples: int, words: list[list[int]]) -> dict[str, Any]:
    """Return ids, mask and pixels of ``samples`` that share ``kinds`` evenly, each with its images before its words."""
    given = pixels(name, kinds)
    with torch.no_grad():
        features = model.base_model.get_image_features(**given, return_dict=True).pooler_output
    each = len(kinds) // samples
    rows = []
    for place in range(samples):
        row = [1]
        for entry in features[place * each : (place + 1) * each]:
            count = len(entry) if entry.ndim == 2 else entry.shape[0]
            row += [VISION_START, *[IMAGE] * count, VISION_END]
        rows.append([*row, *words[place]])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    out = {"input_ids": ids, "attention_mask": (ids != 0).long(), **given}
    for key in ("vision_feature_layer", "vision_feature_select_strategy"):
        out.pop(key, None)
    if name.startswith("qwen"):
        out["mm_token_type_ids"] = (ids == IMAGE).long()
    if name in ("gemma3", "paligemma"):
        out["token_type_ids"] = (ids == IMAGE).long() if name == "gemma3" else torch.zeros_like(ids)
    return out
