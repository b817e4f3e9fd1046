"""LoRA on a Qwen3-VL: what is trained, what is saved, how it resumes; and what is refused where it cannot be had."""

import dataclasses
from pathlib import Path

import pytest

from qwen_files import qwen
from wetread.errors import ConfigError, MissingError, RunError, UsageError
from wetread.models import open_model
from wetread.runs.config import build
from wetread.studies import folder
from wetread.training import adapters, rl, sft
from wetread.training.config import AdapterConfig, ComputeConfig, RlConfig, SftConfig, VllmConfig

ROOT = Path(__file__).resolve().parent.parent
LORA = ("adapter.kind=lora", "adapter.rank=4")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    return qwen(tmp_path_factory.mktemp("model") / "qwen", [study.report.text for study in folder.read(data)])


def config(data: Path, model: Path, *more: str) -> SftConfig:
    few = ("optim.steps=4", "optim.batch=4", "optim.rate=0.01", "checkpoint_every=2", "compute.image_side=64")
    return build(SftConfig, None, [f"data.path={data}", f"model={model}", *few, *more])


def weights(folder_: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder_ / "model.safetensors")


@pytest.fixture(scope="module")
def trained(data, model, tmp_path_factory) -> Path:
    return sft.train(config(data, model, *LORA, "adapter.keep=true"), tmp_path_factory.mktemp("lora") / "run")


@pytest.mark.slow
def test_the_saved_policy_is_whole_and_only_the_language_model_has_changed(model, trained):
    before, after = weights(model), weights(trained)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("language_model" in name for name in changed)
    assert open_model(str(trained)).name == "run-train-sft"
    assert "LoRA of rank 4" in (trained / "README.md").read_text()


@pytest.mark.slow
def test_a_kept_adapter_merges_into_the_same_weights(model, trained):
    kept = trained.parent / "adapter"
    assert (kept / "adapter_model.safetensors").is_file()
    made = adapters.merged(str(model), kept).state_dict()
    saved = weights(trained)
    assert all(made[name].equal(value) for name, value in saved.items() if name in made)
    assert len(saved.keys() & made.keys()) > 20


@pytest.mark.slow
def test_an_adapter_resumes_to_the_same_weights(data, model, trained, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, numbers):
        if done == 3:
            raise Stopped

    made = config(data, model, *LORA, "adapter.keep=true")
    with pytest.raises(Stopped):
        sft.train(made, tmp_path / "run", stop)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "adapter_model.safetensors").is_file()
    again, once = weights(sft.train(made, tmp_path / "run")), weights(trained)
    assert all(again[name].equal(value) for name, value in once.items())


@pytest.mark.slow
def test_rl_with_an_adapter_takes_the_policy_it_starts_from_as_reference(data, trained, tmp_path):
    settings = (
        f"data.path={data}",
        f"model={trained}",
        "reward=unirg_step1",
        "optim.steps=2",
        "optim.batch=8",
        "group.kl=0.03",
    )
    few = ("group.rollouts=4", "group.max_new_tokens=16", "optim.rate=0.01", "compute.dtype=bf16", "guard.every=0")
    out = rl.train(
        build(RlConfig, None, [*settings, *few, *LORA, "compute.gradient_checkpointing=true"]), tmp_path / "run"
    )
    from wetread.runs.store import JsonLines

    steps = [one for one in JsonLines(tmp_path / "run" / "events.jsonl").read() if one["event"] == "rl.step"]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-3)  # nothing learned yet, so the reference is the start
    assert steps[1]["kl"] > 1e-4
    assert not (tmp_path / "run" / "adapter").exists()
    assert open_model(str(out))


@pytest.mark.slow
def test_bf16_on_a_cpu_holds_the_weights_so(data, model, tmp_path):
    import torch

    made = config(data, model, "compute.dtype=bf16", "optim.steps=1", "compute.gradient_checkpointing=true")
    saved = weights(sft.train(made, tmp_path / "run"))
    assert {value.dtype for value in saved.values()} == {torch.bfloat16}


def test_layers_that_get_an_adapter(model):
    from wetread.models.transformers import skeleton

    made, _ = skeleton(str(model))
    assert next(made.parameters()).device.type == "meta"
    language = adapters.targets(made)
    assert language
    assert all("language_model" in name for name in language)
    assert set(language) < set(adapters.targets(made, everything=True))
    assert not any("lm_head" in name for name in adapters.targets(made, everything=True))
    assert adapters.lora(made, AdapterConfig(), dropout=True, freeze_vision=False) is None
    assert adapters.lora(made, AdapterConfig("lora"), dropout=False, freeze_vision=False).lora_dropout == 0


def test_precision_and_attention():
    import torch

    assert adapters.options(AdapterConfig(), ComputeConfig())["dtype"] == torch.float32
    assert adapters.options(AdapterConfig("lora"), ComputeConfig())["dtype"] == "auto"
    made = adapters.options(AdapterConfig(), ComputeConfig("bf16", attention="sdpa"))
    assert made == {"dtype": torch.bfloat16, "attn_implementation": "sdpa"}
    assert adapters.arguments(ComputeConfig()) == {}
    assert adapters.arguments(ComputeConfig("fp32")) == {"bf16": False}


def test_what_is_absent_is_one_line(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="bitsandbytes") as caught:
        adapters.check(AdapterConfig("qlora"), ComputeConfig())
    assert caught.value.exit_code == 3
    with pytest.raises(MissingError, match="flash"):
        adapters.check(AdapterConfig(), ComputeConfig(attention="flash_attention_2"))
    with pytest.raises(UsageError, match="needs a GPU"):
        adapters.vllm_arguments(VllmConfig("colocate"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(MissingError, match="not installed"):
        adapters.vllm_arguments(VllmConfig("server"))


def test_vllm_is_told_where_it_is(monkeypatch):
    import torch

    assert adapters.vllm_arguments(VllmConfig()) == {"use_vllm": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(adapters, "find_spec", lambda name: object())
    from trl.trainer.grpo_config import GRPOConfig

    known = {one.name for one in dataclasses.fields(GRPOConfig)}
    for use in ("colocate", "server"):
        made = adapters.vllm_arguments(VllmConfig(use))
        assert made["vllm_mode"] == use
        assert set(made) <= known


def test_a_model_of_one_image_size_is_not_scaled(model):
    from types import SimpleNamespace

    fixed = SimpleNamespace(image_processor=SimpleNamespace(size={"height": 336, "width": 336}))
    adapters.scale_images(fixed, 336)
    with pytest.raises(ConfigError, match="336 pixels"):
        adapters.scale_images(fixed, 512)


def test_weights_held_in_parts_fill_a_model_whole_or_not_at_all():
    import torch

    from sharing_models import MODELS

    trained = MODELS["paligemma"]()  # its head is tied to its embeddings
    whole = trained.state_dict()
    tied = "lm_head.weight"
    assert whole[tied].data_ptr() == trained.get_input_embeddings().weight.data_ptr()
    made = type(trained)(trained.config)
    adapters.fill(made, {name: value for name, value in whole.items() if name != tied})
    assert all(torch.equal(value, whole[name]) for name, value in made.state_dict().items())
    lost = next(name for name in whole if "vision_tower" in name)
    with pytest.raises(RunError, match=r"1 are missing \(model\.vision_tower") as caught:
        adapters.fill(made, {name: value for name, value in whole.items() if name != lost})
    assert "not known" not in str(caught.value)
    with pytest.raises(RunError, match=rf"missing \(.* …\) and {len(whole)} are not known \(_orig_mod\."):
        adapters.fill(made, {f"_orig_mod.{name}": value for name, value in whole.items()})
    neither = {name: value for name, value in whole.items() if value.data_ptr() != whole[tied].data_ptr()}
    with pytest.raises(RunError, match="are missing"):  # tied to one that is missing too
        adapters.fill(made, neither)


def test_the_tiny_policy_gets_no_adapter(data, tmp_path):
    with pytest.raises(ConfigError, match="random weights"):
        sft.train(build(SftConfig, None, [f"data.path={data}", "adapter.kind=lora"]), tmp_path / "run")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_files(path):
    from accelerate.commands.config.config_args import load_config_from_file

    made = load_config_from_file(str(path))
    assert made.distributed_type.value == {"ddp_cpu": "MULTI_GPU", "fsdp2": "FSDP"}.get(path.stem, "DEEPSPEED")
    if path.stem == "fsdp2":
        from accelerate.commands.launch import launch_command_parser

        options = {action.dest for action in launch_command_parser()._actions}
        assert set(made.fsdp_config) <= options
        assert made.fsdp_config["fsdp_version"] == 2
    if path.stem.startswith("deepspeed"):
        assert made.deepspeed_config["zero_stage"] == int(path.stem[-1])
