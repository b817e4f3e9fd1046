"""What of a model is trained, and how it is held meanwhile: precision, low-rank adapters, image size, vLLM.

A model is saved whole however it was trained. An adapter (LoRA, Hu et al. 2021; in 4 bits QLoRA, Dettmers et al. 2023) is
merged into the weights that it was trained beside, read anew, so that weights held in 4 bits do not lose by it; weights that
several processes hold in parts are put together.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError, MissingError, RunError, UsageError
from wetread.models import transformers
from wetread.runs.store import RunFolder
from wetread.training import loop
from wetread.training.card import Card
from wetread.training.config import AdapterConfig, ComputeConfig, RlConfig, SftConfig, VllmConfig
from wetread.training.saving import save_policy, save_whole

LANGUAGE = ("language_model", "text_model")
"""Names under which models keep their language model."""


def check(adapter: AdapterConfig, compute: ComputeConfig, model: str = "") -> None:
    """Refuse what this machine cannot do, and an adapter beside weights that are random; ``model``: where training starts.

    Raises
    ------
    ConfigError
        The model is the tiny policy, which is built anew.
    MissingError
        bitsandbytes, a GPU or the attention kernels are absent.
    """
    import torch

    if model == "tiny" and adapter.kind != "none":
        raise ConfigError(f"adapter.kind={adapter.kind} needs a trained model; model=tiny begins with random weights.")

    gpu = torch.cuda.is_available()
    if adapter.kind == "qlora":
        if find_spec("bitsandbytes") is None:
            raise MissingError(
                "adapter.kind=qlora needs bitsandbytes, which is not installed: pip install 'wetread[gpu]', or set adapter.kind=lora."
            )
        if not gpu:
            raise MissingError("adapter.kind=qlora needs a GPU, and there is none; set adapter.kind=lora.")
    if compute.attention == "flash_attention_2" and (not gpu or find_spec("flash_attn") is None):
        raise MissingError(
            "compute.attention=flash_attention_2 needs a GPU and the package flash-attn; set it to sdpa or auto."
        )


def options(adapter: AdapterConfig, compute: ComputeConfig) -> dict[str, Any]:
    """Return what ``models.transformers.load`` is to be told: precision, attention, 4 bits."""
    import torch

    full = adapter.kind == "none"
    made: dict[str, Any] = {
        "dtype": {"auto": torch.float32 if full else "auto", "fp32": torch.float32, "bf16": torch.bfloat16}[
            compute.dtype
        ]
    }
    if compute.attention != "auto":
        made["attn_implementation"] = compute.attention
    if adapter.kind == "qlora":
        from transformers import BitsAndBytesConfig

        made["dtype"] = torch.bfloat16
        made["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        made["device_map"] = {"": torch.cuda.current_device()}
    return made


def load(name: str, adapter: AdapterConfig, compute: ComputeConfig) -> tuple[Any, Any]:
    """Return (model, processor) of a saved model, held as ``compute`` says; errors as ``models.transformers.load``."""
    check(adapter, compute)
    model, processor = transformers.load(name, **options(adapter, compute))
    scale_images(processor, compute.image_side)
    return model, processor


def scale_images(processor: Any, side: int) -> None:
    """Let ``processor`` make images of ``side`` × ``side`` pixels, or of that area where it keeps an image's shape; 0: as it is.

    Raises
    ------
    ConfigError
        The processor makes images of one fixed size, and that is another.
    """
    images = processor.image_processor
    if not side:
        return
    if hasattr(images, "merge_size"):  # Qwen-VL: any size, bounded by its area
        images.size = type(images.size)(shortest_edge=side * side, longest_edge=side * side)
        return
    made = images.size.get("height") or images.size.get("shortest_edge")
    if made != side:
        raise ConfigError(
            f"compute.image_side={side}, but this model takes images of {made} pixels and no other size; set it to 0."
        )


def lora(model: Any, adapter: AdapterConfig, *, dropout: bool, freeze_vision: bool) -> Any:
    """Return the ``peft.LoraConfig`` for a model, or None where there is no adapter.

    Raises
    ------
    ConfigError
        The layers that are to get one cannot be told.
    """
    if adapter.kind == "none":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout if dropout else 0.0,
        target_modules=targets(model, everything=adapter.target == "all" and not freeze_vision),
        bias="none",
    )


def targets(model: Any, *, everything: bool = False) -> list[str]:
    """Return the names of the linear layers that get an adapter: those of the language model, or of ``everything``.

    The layer that gives the logits gets none.
    """
    import torch

    found = [
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part is not model.get_output_embeddings()
    ]
    chosen = found if everything else [name for name in found if set(name.split(".")) & set(LANGUAGE)]
    if not chosen:
        raise ConfigError(
            f"adapter: no {' or '.join(LANGUAGE)} with linear layers in {type(model).__name__}; set adapter.target=all."
        )
    return chosen


def arguments(compute: ComputeConfig) -> dict[str, Any]:
    """Return the ``TrainingArguments`` that ``compute`` sets."""
    made: dict[str, Any] = {}
    if compute.dtype != "auto":
        made["bf16"] = compute.dtype == "bf16"
    if compute.gradient_checkpointing:
        made |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return made


def vllm_arguments(vllm: VllmConfig) -> dict[str, Any]:
    """Return the ``GRPOConfig`` options that let vLLM write the rollouts.

    Raises
    ------
    UsageError
        There is no GPU.
    MissingError
        vLLM is not installed.
    """
    if vllm.use == "none":
        return {"use_vllm": False}
    import torch

    if not torch.cuda.is_available():
        raise UsageError(f"vllm.use={vllm.use} needs a GPU, and there is none; set vllm.use=none.")
    if find_spec("vllm") is None:
        raise MissingError(
            f"vllm.use={vllm.use} needs vLLM, which is not installed: pip install 'wetread[gpu]', or set vllm.use=none."
        )
    made: dict[str, Any] = {"use_vllm": True, "vllm_mode": vllm.use}
    if vllm.use == "server":
        return {**made, "vllm_server_host": vllm.host, "vllm_server_port": vllm.port}
    return {**made, "vllm_gpu_memory_utilization": vllm.memory}


def finish(run: RunFolder, stage: str, config: SftConfig | RlConfig, trainer: Any, processor: Any, card: Card) -> Path:
    """Save the policy that ``trainer`` has trained, whole, and note that ``stage`` is done; all processes must call it.

    Returns
    -------
    ``model`` in the run folder.

    Raises
    ------
    RunError
        The disk is full or the folder cannot be written.
    """
    target = run.path / "model"
    weights = gathered(trainer)

    def save() -> None:
        model = whole(trainer, weights, config.model, config.adapter, run.path)
        save_policy(model, processor, card, target)

    loop.finish(run, stage, save, steps=config.optim.steps)
    return target


def gathered(trainer: Any) -> Mapping[str, Any] | None:
    """Return the weights that processes hold in parts, whole on the first; None where each holds all. All must call it."""
    if not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
        return None
    weights: Mapping[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights


def whole(trainer: Any, weights: Mapping[str, Any] | None, name: str, adapter: AdapterConfig, out: Path) -> Any:
    """Return the trained model by itself, to be saved.

    Parameters
    ----------
    trainer
        After training.
    weights
        What ``gathered`` gave.
    name
        The model that training started from; an adapter is merged into it.
    adapter
        How it was trained.
    out
        Run folder; with ``adapter.keep`` the adapter is written to ``out/adapter``.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if adapter.kind == "none":
        if weights is None:
            return model
        made = type(model)(model.config)
        fill(made, weights)
        made.generation_config = model.generation_config
        return made

    def save(folder: Path) -> None:
        model.save_pretrained(folder, state_dict=weights)

    folder = out / "adapter"
    save_whole(save, folder)
    made = merged(name, folder)
    if not adapter.keep:
        shutil.rmtree(folder)
    return made


def fill(model: Any, weights: Mapping[str, Any]) -> None:
    """Put ``weights`` by name into ``model``, whose own are random; of tied weights one name is enough.

    Raises
    ------
    RunError
        A weight of the model is not among them, or one of them is none of the model's; names the first of each.
    """
    model.tie_weights()
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    result = model.load_state_dict(dict(weights), strict=False)
    filled = {places[name] for name in weights if name in places}
    missing = [name for name in result.missing_keys if places.get(name) not in filled]
    wrong = [
        f"{len(names)} {what} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
        for names, what in ((missing, "are missing"), (result.unexpected_keys, "are not known"))
        if names
    ]
    if wrong:
        raise RunError(
            f"the weights that the processes hold in parts do not make a {type(model).__name__}: of their names "
            f"{' and '.join(wrong)}. No model was saved, the checkpoints are kept; shard in another way, or not at all."
        )


def merged(name: str, adapter: Path) -> Any:
    """Return the model ``name`` with the adapter of a folder merged into its weights, on the CPU."""
    from peft import PeftModel

    base, _ = transformers.load(name)
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()


def words(adapter: AdapterConfig) -> str:
    """Return how a model is trained, in words.

    >>> words(AdapterConfig("lora"))
    'LoRA of rank 16 on the language model'
    """
    if adapter.kind == "none":
        return "no adapter"
    where = "the language model" if adapter.target == "language" else "all linear layers"
    return f"{'QLoRA' if adapter.kind == 'qlora' else 'LoRA'} of rank {adapter.rank} on {where}"
