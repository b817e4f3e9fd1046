"""GRPO that does for a group once what its rollouts share: the image, the prompt, and the preparation of both.

TRL repeats a prompt for each of its rollouts and from then on treats the copies as strangers. This trainer prepares a
distinct prompt once, prefills it once (``wetread.training.decoding``), and in the loss runs it once
(``wetread.training.prefix``). What is sampled comes from the same distribution; log-probabilities, losses and gradients are
those of the plain trainer up to the order of float additions. The first batch is computed both ways; where they disagree,
or the model keeps no plain cache, prompts stay unshared, and ``on_sharing`` is told why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from wetread.training.decoding import Ended, from_shared_prompts
from wetread.training.features import Features
from wetread.training.prefix import Images, NotShareable, SharedPrompts, together
from wetread.training.preparing import digest
from wetread.training.scored import score_labels_only, take_plans
from wetread.training.sharing import share_images

TOLERANCE = 1e-3
"""Most that a log-probability of the first batch may differ between the two ways."""
COARSE = 0.25
"""The same where anything is computed in half precision."""
CHECKED = 8
"""Samples of the first batch that are computed both ways."""

OnSharing = Callable[[Mapping[str, str]], None]
"""Called with what is shared: ``images``, ``prefill`` and ``loss``, each "on" or why not."""


class GroupedTrainer(GRPOTrainer):
    """``GRPOTrainer`` with shared images and prompts; its options, and ``on_sharing``."""

    def __init__(self, *, on_sharing: OnSharing | None = None, **options: Any) -> None:
        super().__init__(**options)
        score_labels_only(self.model)
        take_plans(self.model)
        memory = None if self.is_deepspeed_enabled or self.is_fsdp_enabled else Features()
        images = share_images(self.model, memory)
        if self.ref_model is not None:
            score_labels_only(self.ref_model)
            take_plans(self.ref_model)
            self.ref_model.requires_grad_(False)  # nobody trains it, so its features may be kept
            share_images(self.ref_model, memory)
        self._on_sharing = on_sharing
        self.drawn: Callable[[int], Tensor] | None = None
        """Numbers that the rollouts' tokens are drawn by, (rollouts, tokens); None: torch's generator draws."""
        self.ended: Ended | None = None
        """Told of rollouts as soon as they have ended, where prompts are prefilled together."""
        self._which: list[int] | None = None
        self._proved = False
        self.sharing = {
            "images": "on" if images else "the model has no get_image_features",
            "prefill": self._why_no_prefill() or "on",
            "loss": self._why_no_prompts() or "on",
        }
        """What is shared: "on", or why not."""

    def _why_no_prefill(self) -> str | None:
        if self.use_vllm:
            return "vLLM generates, and shares prefixes itself"
        if self.use_transformers_continuous_batching:
            return "continuous batching generates"
        if self.generation_config.cache_implementation is not None:
            return f"cache_implementation is {self.generation_config.cache_implementation}"
        if self.generation_config.num_beams not in (None, 1):
            return "beams are searched"
        return self._why_sharded()

    def _why_no_prompts(self) -> str | None:
        if self.args.activation_checkpointing:
            return "gradient checkpointing keeps no keys and values"
        if self.aux_loss_enabled:
            return "the router's loss counts every position"
        return self._why_sharded()

    def _why_sharded(self) -> str | None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            return "weights are sharded, and processes must make the same calls"
        if self.tools:
            return "tools may add images to a completion"
        return None

    def train(self, *args: Any, **options: Any) -> Any:
        """Tell what is shared, then train."""
        self._tell()
        return super().train(*args, **options)

    def _tell(self) -> None:
        if self._on_sharing is not None:
            self._on_sharing(dict(self.sharing))

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Deal the rollouts of an optimiser step so that a prompt's are in as few micro-batches as can be."""
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        made = self._buffered_inputs
        if made is before or made is None or len(made) == 1 or not self._any_deal_will_do():
            return inputs
        try:
            self._buffered_inputs = together(made)
        except NotShareable:
            return inputs
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _any_deal_will_do(self) -> bool:
        """Whether the sum over an optimiser step's micro-batches is the same however rollouts are dealt to them."""
        args: Any = self.args
        whole = args.steps_per_generation == args.gradient_accumulation_steps and self.num_iterations == 1
        additive = self.loss_type in ("grpo", "dapo", "dr_grpo", "cispo") and not self._entropy_bonus_enabled
        return whole and additive and self.top_entropy_quantile >= 1.0

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """Prepare the distinct prompts; TRL gets them repeated, without the pixels, which only generation needs."""
        if self.sharing["prefill"] != "on":
            self._which = None
            return super()._tokenize_prompts(prompts)
        first, which = distinct_messages(prompts)
        ids, images, fields = super()._tokenize_prompts([prompts[place] for place in first])
        self._which = which
        return [ids[k] for k in which], images and [images[k] for k in which], fields

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, *args: Any, **options: Any
    ) -> Any:
        """Generate the rollouts of the distinct prompts that ``_tokenize_prompts`` found."""
        which = self._which
        if which is None:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, *args, **options
            )
        first = [which.index(kind) for kind in range(max(which) + 1)]
        model = self.accelerator.unwrap_model(self.model_wrapped)
        uniform = self.drawn(len(which)) if self.drawn is not None else None
        with from_shared_prompts(model, which, uniform, self.ended):
            return super()._generate_single_turn(
                [prompt_ids[place] for place in first],
                images and [images[place] for place in first],
                multimodal_fields, num_generations, *args, **options,
            )  # fmt: skip

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **options: Any
    ) -> Any:
        """Return log-probabilities and entropies of the completions, (B, C) each, with each prompt run once."""
        plain = super()._get_per_token_logps_and_entropies
        args = (model, input_ids, attention_mask, logits_to_keep)
        if self.sharing["loss"] != "on" or not bool(attention_mask[:CHECKED, -logits_to_keep:].any()):
            return plain(*args, **options)
        if not self._proved:
            why = self._disagreement(plain, *args, options)
            if why:
                self.sharing["loss"] = why
                self._tell()
                return plain(*args, **options)
            self._proved = True
        return self._with_shared_prompts(*args, **options)

    def _disagreement(
        self, plain: Callable[..., Any], model: Any, ids: Tensor, mask: Tensor, completion: int, options: dict[str, Any]
    ) -> str | None:
        """Compute the first samples of a batch both ways and return how they differ, or None."""
        places = range(min(CHECKED, len(ids)))
        whole, ids, mask = ids, ids[: len(places)], mask[: len(places)]
        with torch.no_grad():
            try:
                few = {**options, **Images.of(whole, options).choose(places).fields}
                few |= {key: few[key][: len(places)] for key in ("num_images", "num_tiles") if few.get(key)}
                ours = self._with_shared_prompts(model, ids, mask, completion, **few)[0]
            except NotShareable as error:
                return str(error)
            most = float((ours - plain(model, ids, mask, completion, **few)[0]).abs().max())
        exact = not (self.args.bf16 or self.args.fp16) and next(model.parameters()).dtype == torch.float32
        if most <= (TOLERANCE if exact else COARSE):
            return None
        return f"log-probabilities of the first batch differ by {most:.2g}"

    def _with_shared_prompts(
        self, model: Any, ids: Tensor, mask: Tensor, completion: int, *,
        batch_size: int | None = None, compute_entropy: bool = False, compute_aux_loss: bool = False, **given: Any,
    ) -> Any:  # fmt: skip
        del compute_aux_loss  # sharing is off where there is one
        images = Images.of(ids, given)
        size = batch_size or len(ids)
        made = []
        for start in range(0, len(ids), size):
            places = list(range(start, min(start + size, len(ids))))
            plan = SharedPrompts(ids[places], mask[places], completion, images.choose(places))
            made.append(self._scores(model, plan, compute_entropy))
        logps, entropies = zip(*made, strict=True)
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None

    def _scores(self, model: Any, plan: SharedPrompts, entropy: bool) -> tuple[Tensor, Tensor | None]:
        with self.accelerator.autocast():
            out = model(**plan.inputs, shift_labels=plan.labels, fused_lm_head=True, plan=plan)
        return plan.unsort(out.log_probs), plan.unsort(out.entropy) if entropy else None


def distinct_messages(prompts: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Return the places of the first of each kind of equal prompts, and for every prompt the number of its kind.

    Prompts are lists of messages or strings; pictures in them are compared by their pixels.

    >>> distinct_messages(["a", "b", "a"])
    ([0, 1], [0, 1, 0])
    """
    seen: dict[int, Any] = {}
    kinds: dict[Any, int] = {}
    first: list[int] = []
    which: list[int] = []
    for place, prompt in enumerate(prompts):
        kind = kinds.setdefault(_key(prompt, seen), len(kinds))
        if kind == len(first):
            first.append(place)
        which.append(kind)
    return first, which


def _key(part: Any, seen: dict[int, Any]) -> Any:
    """Return a hashable stand-in for a part of a prompt; a picture met before is not looked at again."""
    if isinstance(part, Mapping):
        return tuple((name, _key(part[name], seen)) for name in sorted(part))
    if isinstance(part, list | tuple):
        return tuple(_key(one, seen) for one in part)
    if isinstance(part, Image):
        if id(part) not in seen:
            seen[id(part)] = digest(part)
        return seen[id(part)]
    return part
