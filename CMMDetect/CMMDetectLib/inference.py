"""Networks run over a whole volume and over patches.

The U-Net is run level by level, each level in tiles that overlap by the reach of its convolutions. So memory does not
grow with the volume's full-resolution features, tiles without brain cost nothing in the decoder, and the result equals
that of one pass over the whole volume.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .devices import Compute
from .network_grid import Shape
from .networks import CandidateDetector, DoubleConvolution, Student, join, pool
from .progress import Tick

TILE_VOX = 96
SLAB_VOX = 16
"""Height of the decoder's slabs: tiles are fitted to the brain slab by slab, since its outline changes with height."""
REACH_VOX = 2
"""Reach of a level's two 3x3x3 convolutions beyond their output."""
KEPT_FEATURES_BYTES = 1 << 30
"""Full-resolution features up to this size are kept for the decoder; larger ones are computed twice."""
PATCH_VOX = 24
"""Pixels across a patch of stage 2; see `NetworkVoxel.patch_shape`."""
PATCH_BATCH = 32
MIRRORINGS = ((), (2,), (3,), (2, 3))
"""Axes of (N, C, I, J, K) patches, in the plane of the slices, along which stage 2 sees them mirrored."""

Region = tuple[slice, ...]
Network = TypeVar("Network", bound=nn.Module)


def fused(network: Network, compute: Compute) -> Network:
    """Return a copy for inference: batch normalization folded into the convolutions, on the device, channels last."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, DoubleConvolution):
            for place in (0, 3):
                convolution, normalization = cast(nn.Conv3d, block[place]), cast(nn.BatchNorm3d, block[place + 1])
                block[place] = fuse_conv_bn_eval(convolution, normalization)
                block[place + 1] = nn.Identity()
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.to(compute.device, compute.dtype)


@torch.inference_mode()
def microbleed_probability(
    detector: CandidateDetector,
    channels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    compute: Compute,
    tick: Tick,
    tile_vox: int = TILE_VOX,
) -> NDArray[np.float32]:
    """Run stage 1's network over a volume.

    Parameters
    ----------
    detector : network, in any mode; it is not changed
    channels : (C, I, J, K)
    mask : (I, J, K)
        The probability is computed inside the mask; elsewhere it is 0.
    compute : device and precision
    tick : called with the finished fraction of the work, 0 to 1; an exception that it raises ends the run
    tile_vox : edge of a tile, even; it affects memory and time, not the result

    Returns
    -------
    (I, J, K) float32
        Probability of the class microbleed.
    """
    return _VolumeRun(fused(detector, compute), channels, mask, compute, tick, tile_vox).probability()


@torch.inference_mode()
def microbleed_probabilities(
    detector: CandidateDetector,
    channels: NDArray[np.float32],
    masks: NDArray[np.bool_],
    compute: Compute,
) -> NDArray[np.float32]:
    """Run stage 1's network over a batch of small volumes at once, without which a narrow network is slow.

    Parameters
    ----------
    detector, compute : as in `microbleed_probability`; so is the result for each volume
    channels : (N, C, I, J, K)
    masks : (N, I, J, K)

    Returns
    -------
    (N, I, J, K) float32
    """
    network = fused(detector, compute)
    batch = torch.from_numpy(channels).to(compute.device, compute.dtype, memory_format=torch.channels_last_3d)
    probability = torch.softmax(network(batch).float(), dim=1)[:, 1].cpu().numpy()
    return np.asarray(probability * masks, np.float32)


class _VolumeRun:
    """The levels of one pass, each in tiles."""

    def __init__(
        self,
        network: CandidateDetector,
        channels: NDArray[np.float32],
        mask: NDArray[np.bool_],
        compute: Compute,
        tick: Tick,
        tile_vox: int,
    ) -> None:
        self.extractor, self.segmentor = network.extractor, network.segmentor
        self.mask = torch.from_numpy(mask)
        self.compute = compute
        self.tick = tick
        self.tile_vox = tile_vox
        self.shape = mask.shape
        self.volume = torch.from_numpy(channels)[None]

    def probability(self) -> NDArray[np.float32]:
        full, half_input = self._encode_full()
        half = self._convolve_level(self.extractor.at_half, half_input)
        quarter = self._convolve_level(self.extractor.at_quarter, pool(half))
        self.tick(0.4)
        return self._decode_full(full, self._decode_half(half, quarter))

    def _features(self, channels: int, shape: Sequence[int]) -> Tensor:
        empty = torch.zeros((1, channels, *shape), dtype=self.compute.dtype, device=self.compute.device)
        return empty.contiguous(memory_format=torch.channels_last_3d)

    def _input(self, region: Region) -> Tensor:
        tile = self.volume[:, :, *region].to(self.compute.device, self.compute.dtype)
        return self.extractor.project(tile.contiguous(memory_format=torch.channels_last_3d))

    def _encode_full(self) -> tuple[Tensor | None, Tensor]:
        width = self.extractor.at_full.outputs
        size = int(np.prod(self.shape)) * width * torch.finfo(self.compute.dtype).bits // 8
        kept = self._features(width, self.shape) if size <= KEPT_FEATURES_BYTES else None
        pooled = self._features(width, [(size + 1) // 2 for size in self.shape])
        for core, done in self._tiles(self.shape):
            features = _convolve(self.extractor.at_full, self._input(_grow(core, self.shape)), core, self.shape)
            if kept is not None:
                kept[:, :, *core] = features
            pooled[:, :, *_halved(core)] = pool(features)
            self.tick(0.25 * done)
        return kept, pooled

    def _convolve_level(self, block: DoubleConvolution, source: Tensor) -> Tensor:
        shape = source.shape[2:]
        result = self._features(block.outputs, shape)
        for core, _ in self._tiles(shape):
            result[:, :, *core] = _convolve(block, source[:, :, *_grow(core, shape)], core, shape)
        return result

    def _decode_half(self, half: Tensor, quarter: Tensor) -> Tensor:
        shape = half.shape[2:]
        result = self._features(self.segmentor.at_half.outputs, shape)
        brain = F.max_pool3d(self.mask[None, None].float(), 2, ceil_mode=True)
        # the next level reaches one voxel of this level beyond the brain
        needed = F.max_pool3d(brain, 3, stride=1, padding=1)[0, 0] > 0
        for core, done in self._tiles_around(needed):
            region = _grow(core, shape)
            upsampled = self.segmentor.up_half(quarter[:, :, *_halved(region)])
            joined = join(half[:, :, *region], upsampled)
            result[:, :, *core] = _convolve(self.segmentor.at_half, joined, core, shape)
            self.tick(0.4 + 0.15 * done)
        return result

    def _decode_full(self, full: Tensor | None, decoded_half: Tensor) -> NDArray[np.float32]:
        result = torch.zeros(self.shape)
        for core, done in self._tiles_around(self.mask):
            region = _grow(core, self.shape)
            upsampled = self.segmentor.up_full(decoded_half[:, :, *_halved(region)])
            joined = join(self._full_features(full, region), upsampled)
            features = _convolve(self.segmentor.at_full, joined, core, self.shape)
            logits = self.segmentor.logits(features)[0].float()
            result[core] = torch.softmax(logits, dim=0)[1].cpu() * self.mask[core]
            self.tick(0.55 + 0.45 * done)
        return result.numpy()

    def _full_features(self, kept: Tensor | None, region: Region) -> Tensor:
        if kept is not None:
            return kept[:, :, *region]
        return _convolve(self.extractor.at_full, self._input(_grow(region, self.shape)), region, self.shape)

    def _tiles(self, shape: Sequence[int]) -> Iterator[tuple[Region, float]]:
        """Yield the cores that cover a level, each with the fraction that is done after it."""
        cores = _cut(tuple(slice(0, size) for size in shape), (self.tile_vox,) * 3)
        for number, core in enumerate(cores, 1):
            yield core, number / len(cores)

    def _tiles_around(self, needed: Tensor) -> Iterator[tuple[Region, float]]:
        """Yield cores that cover the needed voxels of a level, slab by slab, each no wider than necessary."""
        cores: list[Region] = []
        for slab in _cut(tuple(slice(0, size) for size in needed.shape), (*needed.shape[:2], SLAB_VOX)):
            occupied = torch.nonzero(needed[slab].any(dim=2))
            if len(occupied):
                low, high = occupied.amin(dim=0).tolist(), occupied.amax(dim=0).tolist()
                # an even start coincides with a voxel boundary at the next lower resolution
                box = tuple(slice(start - start % 2, stop + 1) for start, stop in zip(low, high, strict=True))
                cores += _cut((*box, slab[2]), (self.tile_vox,) * 3)
        for number, core in enumerate(cores, 1):
            yield core, number / len(cores)


def _cut(region: Region, size_vox: Sequence[int]) -> list[Region]:
    """Cut a region into tiles of at most the given size."""
    parts = [
        [slice(start, min(start + size, part.stop)) for start in range(part.start, part.stop, size)]
        for part, size in zip(region, size_vox, strict=True)
    ]
    return list(product(*parts))


def _grow(core: Region, shape: Sequence[int]) -> Region:
    """Extend a region by the reach of two convolutions, up to the border of the volume."""
    return tuple(
        slice(max(part.start - REACH_VOX, 0), min(part.stop + REACH_VOX, size))
        for part, size in zip(core, shape, strict=True)
    )


def _halved(region: Region) -> Region:
    """Return the region at half the resolution; its start must be even."""
    return tuple(slice(part.start // 2, (part.stop + 1) // 2) for part in region)


def _convolve(block: DoubleConvolution, tile: Tensor, core: Region, shape: Sequence[int]) -> Tensor:
    """Run a double convolution on an extended tile and return its core.

    Zeros are padded only where a convolution reaches over the border of the volume, so that nothing is computed beyond
    what the core needs and every voxel of the core sees what it would see in the whole volume.
    """
    reach = REACH_VOX
    for layer in block:
        if isinstance(layer, nn.Conv3d):
            padding: list[int] = []
            for part, size in zip(reversed(core), reversed(shape), strict=True):
                padding += [int(part.start < reach), int(size - part.stop < reach)]
            tile = F.conv3d(F.pad(tile, padding), layer.weight, layer.bias)
            reach -= 1
        else:
            tile = layer(tile)
    return tile


@torch.inference_mode()
def patch_probability(
    student: Student,
    channels: NDArray[np.float32],
    centers_vox: NDArray[np.float64],
    shape: Shape,
    compute: Compute,
    tick: Tick,
) -> NDArray[np.float32]:
    """Run stage 2's network over patches centered on the candidates, padded with zeros beyond the volume.

    Every patch is classified as it is and mirrored, and the logits are averaged: a mirrored microbleed is still one,
    and the mean of four predictions errs less than one. The paper predicts once.

    Parameters
    ----------
    student : network, in any mode; it is not changed
    channels : (C, I, J, K)
    centers_vox : (N, 3)
    shape : voxels of a patch along each axis, 24 each in the paper
    compute : device and precision
    tick : called with the finished fraction of the work, 0 to 1; an exception that it raises ends the run

    Returns
    -------
    (N,) float32
        Probability of the class microbleed.
    """
    network = fused(student, compute)
    found: NDArray[np.float32] = np.zeros(len(centers_vox), np.float32)
    for start in range(0, len(centers_vox), PATCH_BATCH):
        batch = slice(start, start + PATCH_BATCH)
        patches = torch.from_numpy(cut_patches(channels, centers_vox[batch], shape))
        patches = patches.to(compute.device, compute.dtype, memory_format=torch.channels_last_3d)
        logits = torch.stack([network(patches.flip(axes)).float() for axes in MIRRORINGS]).mean(dim=0)
        found[batch] = torch.softmax(logits, dim=1)[:, 1].cpu().numpy()
        tick(min(start + PATCH_BATCH, len(centers_vox)) / len(centers_vox))
    return found


def cut_patches(channels: NDArray[np.float32], centers_vox: NDArray[np.float64], shape: Shape) -> NDArray[np.float32]:
    """Cut (N, C, *shape) patches out of (C, I, J, K) channels, padded with zeros beyond the volume.

    The center of a patch of even size is its voxel ``size / 2``.

    >>> volume = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1)
    >>> cut_patches(volume, np.array([[0.2, 0.0, 0.0]]), (2, 2, 2))[0, 0, :, 1, 1]
    array([0., 0.], dtype=float32)
    >>> cut_patches(volume, np.array([[3.6, 0.0, 0.0]]), (2, 2, 2))[0, 0, :, 1, 1]
    array([3., 4.], dtype=float32)
    """
    patches = np.zeros((len(centers_vox), channels.shape[0], *shape), np.float32)
    starts = np.rint(centers_vox).astype(int) - np.array(shape) // 2
    for patch, start in zip(patches, starts, strict=True):
        low = np.maximum(start, 0)
        high = np.minimum(start + shape, channels.shape[1:])
        inside = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        patch[:, *inside] = channels[:, *source]
    return patches
