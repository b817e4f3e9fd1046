"""What all tests share: the data folder, the seed, one thread a process, no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch or the hub: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples in every run, so that a red test is red for everyone; no deadline, since machines differ.
settings.register_profile("wetread", derandomize=True, deadline=None, database=None)
settings.load_profile("wetread")


@pytest.fixture(scope="session")
def wetread_data() -> Path:
    """Folder of the development data, which is not part of the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("WETREAD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the development data are not here; set WETREAD_DATA to their folder")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 phantom studies of 64 pixels, all splits together."""
    from wetread.studies import phantom

    path = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write(path, 60, seed=5, size=64)
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for torch, whose sums else depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seed() -> int:
    """The seed that every test uses."""
    return 20270105


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A random generator that starts afresh in every test."""
    return np.random.default_rng(seed)
