"""Training on several GPUs: one process per GPU, started by ``torchrun`` and joined by torch's DDP."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# The functions of this module bind the process group that exists at import as a default argument. If torch's
# optimizers import it later, they keep the group and its threads alive until the interpreter exits, where a thread
# that frees a tensor aborts the process after its training is done. So it is imported here, before there is a group.
import torch.distributed.nn.functional
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import CMMDetectError

LONGEST_WAIT = datetime.timedelta(days=2)
"""Timeout of the other processes, which wait while the first one prepares scans or evaluates."""
Result = TypeVar("Result")


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` started; does nothing in a single process."""
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
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def from_first(work: Callable[[], Result]) -> Result:
    """Do some work in the first process only, and return its result, or raise its error, in all of them."""
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
    """Wrap a network so that the processes average their gradients."""
    if world() < 2:
        return network
    return DistributedDataParallel(network, [compute.device] if compute.device.type == "cuda" else None)


def equalize_buffers(network: nn.Module) -> None:
    """Copy the first process's batch normalization statistics, which each process computes itself, to all others."""
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
