"""The tiny policy: a LLaVA of a few million parameters, built here with its own tokenizer, for CPUs and tests.

It is a true ``LlavaForConditionalGeneration`` (a small residual tower, two-layer projector, Llama decoder), so everything
that runs on it runs on its larger relatives. A saved one opens with transformers' Auto classes once
``wetread.models.tower`` has been imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wetread.errors import ConfigError

PAD, BOS, EOS, IMAGE, USER, ASSISTANT, UNK = "<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>", "<unk>"
SPECIAL = (PAD, BOS, EOS, IMAGE, USER, ASSISTANT, UNK)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<assistant>{% else %}<user>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _size(default: int, low: int, high: int, multiple: int) -> int:
    """Return a field with its range; ``runs.config`` reads it."""
    made: int = field(default=default, metadata={"low": low, "high": high, "multiple": multiple})
    return made


@dataclass(frozen=True)
class TinyConfig:
    """Shape of the tiny policy."""

    image_size: int = _size(128, 32, 1024, 32)
    """Side of the square input, in pixels; a multiple of 32."""
    vision_width: int = _size(160, 20, 2560, 20)
    """Width of the vision tower's output; a multiple of 20, best of 160, whose layers suit a CPU's vector units."""
    warmup_steps: int = _size(0, 0, 10_000_000, 1)
    """Steps of 32 in which the tower learns labels read off the training reports, before the reports; 0: none."""
    text_width: int = _size(128, 64, 4096, 64)
    """Width of the language model; a multiple of 64."""
    text_layers: int = _size(3, 1, 48, 1)
    """Layers of the language model."""
    vocabulary: int = _size(1024, 300, 65536, 1)
    """Most entries of the byte-level BPE vocabulary trained on the reports."""
    max_positions: int = _size(768, 64, 32768, 1)
    """Longest sequence, image tokens included."""
    text_heads: int = _size(0, 0, 128, 1)
    """Attention heads of each layer, which divide its width; 0: one for every 64 of the width. More, smaller ones learn sooner to
    carry findings from a thought over into the report."""

    def __post_init__(self) -> None:
        if self.text_width % (2 * self.heads):
            raise ConfigError(
                f"tiny.text_heads={self.heads} does not divide tiny.text_width={self.text_width} into even parts; "
                f"set a divisor of {self.text_width // 2}, or 0."
            )

    @property
    def heads(self) -> int:
        """Attention heads of each layer."""
        return self.text_heads or max(1, self.text_width // 64)


def build_tokenizer(texts: Iterable[str], config: TinyConfig) -> Any:
    """Train a byte-level BPE tokenizer on ``texts``; any Unicode text can be encoded with it.

    Returns a ``PreTrainedTokenizerFast`` that pads on the left, with the chat template of the tiny policy.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[IMAGE, USER, ASSISTANT],
        padding_side="left",
        model_max_length=config.max_positions,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


Slots = list[list[int]]
"""Which of the tower's readings means what: a row a finding, a column an attribute, -1 where there is none."""


def build_processor(tokenizer: Any, config: TinyConfig, slots: Slots | None = None) -> Any:
    """Return the ``LlavaProcessor`` around ``tokenizer``; PIL image processing, so torchvision is not needed."""
    from transformers import LlavaProcessor, SiglipImageProcessorPil

    from wetread.models.tower import STRIDE

    count = len(slots) if slots else 1 + (config.image_size // STRIDE) ** 2

    size = {"height": config.image_size, "width": config.image_size}
    images = SiglipImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.25] * 3, do_convert_rgb=True)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=config.image_size,  # one "patch" and the rest: the tower's features do not lie on a grid
        num_additional_image_tokens=count - 1,
        vision_feature_select_strategy="full",
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any, config: TinyConfig, *, seed: int, slots: Slots | None = None) -> Any:
    """Return a freshly initialised ``LlavaForConditionalGeneration`` on the CPU; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from wetread.models.tower import TowerConfig

    vision = TowerConfig(image_size=config.image_size, hidden_size=config.vision_width, slots=slots)
    text = LlamaConfig(
        initializer_range=config.text_width
        ** -0.5,  # the usual 0.02 is for wide models: reading starts far later with it
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=3 * config.text_width,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    whole = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(whole)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model
