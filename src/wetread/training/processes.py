"""The processes that share one training: how many there are, which one this is, and how they wait for each other.

They find each other by the variables that `torchrun`, `accelerate launch` and `wetread train --processes` set, and speak
NCCL where there is a GPU, gloo elsewhere. Without those variables there is one process and nothing here costs anything.
The first process alone writes the run folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from wetread.errors import ConfigError

PATIENCE = timedelta(hours=12)
"""How long processes wait for each other. torch's own 10 or 30 minutes end a training whose first process asks a slow judge,
looks at a large sample or saves to a slow disk while the others wait. A process that dies is not waited for: its launcher
ends the others at once."""


def state() -> Any:
    """Return accelerate's ``PartialState``; the first call joins the processes.

    It must come before a trainer makes its own, whose ``ddp_timeout`` is then without effect, as the group is there already.
    """
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def count() -> int:
    """Return how many processes train together."""
    return int(state().num_processes)


def rank() -> int:
    """Return which of them this is, from 0."""
    return int(state().process_index)


def main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def wait() -> None:
    """Return once every process is here."""
    state().wait_for_everyone()


def leave() -> None:
    """Part, once all that is done together is done; all must call it.

    A process that ends inside the group is at times torn down while the group's own threads still run, and aborts.
    """
    import torch

    if count() > 1 and torch.distributed.is_initialized():
        wait()
        torch.distributed.destroy_process_group()


@contextmanager
def first() -> Iterator[None]:
    """Run the block in the process that writes, and only then in the others."""
    with state().main_process_first():
        yield


def agreed(flag: bool) -> bool:
    """Return whether ``flag`` is set in any process, so that all of them stop or none does."""
    if count() == 1:
        return flag
    import torch

    flags = torch.tensor([float(flag)], device=state().device)
    torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
    return bool(flags.item())


def told(made: list[Any]) -> list[Any]:
    """Return what the first process has made; what the others give counts for nothing, but has the same length."""
    if count() > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(made)
    return made


def gathered(made: Any) -> list[Any]:
    """Return what every process has made, in their order."""
    if count() == 1:
        return [made]
    from accelerate.utils import gather_object

    return list(gather_object([made]))


def share(batch: int, name: str) -> int:
    """Return how many of a batch of samples each process takes.

    Raises
    ------
    ConfigError
        The batch cannot be dealt evenly; ``name`` is what the message calls it.
    """
    if batch % count():
        raise ConfigError(
            f"{count()} processes cannot share {name}={batch} evenly; choose a number of processes that divides it."
        )
    return batch // count()
