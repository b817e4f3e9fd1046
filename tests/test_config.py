"""Configs: defaults, YAML, --set, and what is said of mistakes."""

import dataclasses
import typing

import pytest

from wetread.errors import ConfigError, MissingError
from wetread.runs.config import build, to_dict
from wetread.training.config import OptimConfig, RlConfig, SftConfig


def test_defaults_and_round_trip(tmp_path):
    config = build(SftConfig)
    assert config == SftConfig()
    import yaml

    (tmp_path / "c.yaml").write_text(yaml.safe_dump(to_dict(config)))
    assert build(SftConfig, tmp_path / "c.yaml") == config


def test_file_then_set(tmp_path):
    (tmp_path / "c.yaml").write_text("optim:\n  rate: 1e-4\n  steps: 7\nseed: 3\n")
    config = build(SftConfig, tmp_path / "c.yaml", ["optim.steps=9", "model=tiny"])
    assert (config.optim.rate, config.optim.steps, config.seed) == (1e-4, 9, 3)


def test_a_group_keeps_what_its_parent_sets():
    config = build(RlConfig, None, ["optim.steps=5"])
    assert config.optim == dataclasses.replace(RlConfig().optim, steps=5)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optim.stepz=3", "Did you mean 'optim.steps'"),
        ("optim.rate=0", "out of range"),
        ("optim.rate=nan", "out of range"),
        ("optim.rate=fast", "not of type float"),
        ("optim.steps=1.5", "not of type int"),
        ("optim.schedule=cosin", "Did you mean 'cosine'"),
        ("optim.steps", "not key=value"),
        ("seed=-1", "at least 0"),
        ("seed=[", "not YAML"),
    ],
)
def test_mistakes_are_one_line(setting, said):
    with pytest.raises(ConfigError) as caught:
        build(SftConfig, None, [setting])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_key_lists_the_keys():
    with pytest.raises(ConfigError, match=r"checkpoint_every"):
        build(SftConfig, None, ["zzz=1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\noptim:\n  steps: 2\n  rate: 0.1\n  steps: 3\n", r"c\.yaml, line 5: the key 'steps' is set already, in line 3"),
        ("seed: 1\n'seed': 2\n", r"line 2: the key 'seed' is set already, in line 1"),
        ("guard: {rules: [{of: a, side: below, side: above}]}\n", "the key 'side' is set already"),
        ("model: &a [*a]\n", r"line 1: what the anchor \(&\) names contains itself"),
        ("model: 2027-02-30\n", r"c\.yaml: not YAML"),
    ],
)  # fmt: skip
def test_what_yaml_would_pass_over_is_refused(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        build(SftConfig, tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_anchors_and_merges_stay_allowed(tmp_path):
    (tmp_path / "c.yaml").write_text("<<: {seed: 3}\n<<: {model: tiny}\noptim: &o {rate: 0.1}\nseed: 4\n")
    config = build(SftConfig, tmp_path / "c.yaml")
    assert (config.seed, config.model, config.optim.rate) == (4, "tiny", 0.1)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(MissingError, match="no config file"):
        build(SftConfig, tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line"):
        build(SftConfig, tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping"):
        build(SftConfig, tmp_path / "list.yaml")


@pytest.mark.parametrize("cls", [SftConfig, RlConfig])
def test_configs_stay_small(cls):
    """No config that knows everything: each group has one concern and at most 20 fields."""
    waiting = [cls]
    while waiting:
        group = waiting.pop()
        assert len(dataclasses.fields(group)) <= 20, group
        hints = typing.get_type_hints(group)
        waiting += [kind for kind in hints.values() if dataclasses.is_dataclass(kind)]


def test_a_run_is_as_long_as_steps_or_epochs_say():
    assert OptimConfig(steps=7).counted(100, 10).steps == 7
    assert OptimConfig(epochs=3).counted(100, 40).steps == 8
    assert OptimConfig().counted(100, 40).steps == 3
    with pytest.raises(ConfigError, match="give one of them"):
        build(SftConfig, None, ["optim.steps=5", "optim.epochs=1"])


def test_a_batch_may_count_prompts():
    config = build(RlConfig, None, ["optim.batch=4", "group.rollouts=16", "group.batch_of=prompts"])
    assert config.in_completions().optim.batch == 64
    assert config.in_completions().in_completions() == config.in_completions()


def test_a_reward_is_a_name_or_a_mapping():
    made = build(RlConfig, None, ["reward={name: mine, terms: [{metric: rouge_l}]}", "reward.floor=-2"])
    assert made.reward == {"name": "mine", "terms": [{"metric": "rouge_l"}], "floor": -2}
    assert build(RlConfig, None, ["reward=rouge_l"]).reward == "rouge_l"


def test_a_group_is_no_value():
    with pytest.raises(ConfigError, match="group of keys"):
        build(SftConfig, None, ["optim=3"])
