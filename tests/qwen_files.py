"""A Qwen3-VL of a few thousand random parameters with its processor in a folder, made without a download."""

from __future__ import annotations

from pathlib import Path

WORDS = (
    "Findings: Clear lungs. Impression: Normal. Draft the findings and impression of this chest radiograph. Write: ..."
)
VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")


def qwen(folder: Path, texts=(), *, positions: int = 2048, seed: int = 0) -> Path:
    """Save the model and its processor, with a vocabulary trained on ``texts``; return the folder."""
    import torch
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    from wetread.models import tiny
    from wetread.models.processors import without_video

    tokenizer = tiny.build_tokenizer([WORDS, *texts], tiny.TinyConfig(vocabulary=500))
    tokenizer.add_special_tokens({"additional_special_tokens": list(VISION)})
    start, image, end, video = tokenizer.convert_tokens_to_ids(list(VISION))
    template = tiny.CHAT_TEMPLATE.replace("<image>", "".join(VISION[:3]))
    images = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    )
    processor = without_video(Qwen3VLProcessor)(image_processor=images, tokenizer=tokenizer, chat_template=template)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": positions,
            "rope_parameters": {"rope_type": "default", "mrope_section": [8, 4, 4], "rope_theta": 10000.0},
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64, "patch_size": 16,
            "spatial_merge_size": 2, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
