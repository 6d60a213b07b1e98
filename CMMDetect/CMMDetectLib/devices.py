"""The processor and the precision that the networks run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
AMPERE = 8
"""First CUDA compute capability that multiplies bfloat16 at full speed."""


@dataclass(frozen=True)
class Compute:
    """A torch device and the precision of the convolutions; logits are always float32."""

    device: torch.device
    dtype: torch.dtype

    def describe(self) -> dict[str, str]:
        """Return device and precision for the run's provenance."""
        return {"device": str(self.device), "precision": str(self.dtype).removeprefix("torch.")}


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Choose the processor (CUDA, then MPS, then CPU) and the faster precision that it has in hardware.

    Parameters
    ----------
    device : 'auto', 'cpu', 'cuda' or 'mps'
    precision : 'auto', 'float32' or 'bfloat16'
        bfloat16 is two to five times faster on processors with hardware support and hundreds of times slower on those
        without, so 'auto' checks for it.

    Raises
    ------
    InputError
        If the machine has no such device.
    """
    import torch

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = next(kind for kind in ("cuda", "mps", "cpu") if found[kind]) if device == "auto" else device
    if not found.get(name, False):
        raise InputError(f"this machine has no device '{name}': choose --device auto or --device cpu")
    if precision == "auto":
        precision = "bfloat16" if _has_fast_bfloat16(name) else "float32"
    return Compute(torch.device(name), getattr(torch, precision))


def _has_fast_bfloat16(device: str) -> bool:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= AMPERE
    # private queries that an older or newer torch may lack
    queries = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return device == "cpu" and any(query is not None and query() for query in queries)
