"""Training on several GPUs: one process each, started by ``torchrun``, joined by torch's own DDP."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# The functions of this module have the group of that moment as default. Imported before there is one, as here, and not
# by torch's optimizers later on, they do not keep it, and its threads, alive until the interpreter ends: a thread that
# lets go of a tensor then aborts a process whose training is done.
import torch.distributed.nn.functional
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import CMMDetectError

LONGEST_WAIT = datetime.timedelta(days=2)
"""The other processes wait while the first one prepares scans or evaluates."""
Result = TypeVar("Result")


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` started; does nothing in a process that runs alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def from_first(work: Callable[[], Result]) -> Result:
    """Let the first process alone do some work, and give its result, or raise its error, in all of them."""
    if world() < 2:
        return work()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = work()
        except CMMDetectError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def shared(network: nn.Module, compute: Compute) -> nn.Module:
    """Let the processes average their gradients."""
    if world() < 2:
        return network
    return DistributedDataParallel(network, [compute.device] if compute.device.type == "cuda" else None)


def equalize_buffers(network: nn.Module) -> None:
    """Give all processes the first one's statistics of batch normalization, which each has counted by itself."""
    if world() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def summed(values: list[float], compute: Compute) -> list[float]:
    """Add up numbers over the processes."""
    if world() < 2:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=compute.device)
    dist.all_reduce(total)
    return [float(value) for value in total]
