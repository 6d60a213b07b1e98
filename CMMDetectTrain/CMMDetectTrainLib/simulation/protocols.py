"""Acquisition protocols: published ones by name, and random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality


@dataclass(frozen=True)
class Protocol:
    """How a scan is acquired and reconstructed.

    Attributes
    ----------
    field_t : field strength, T
    te_ms, tr_ms, flip_deg : echo time, repetition time and flip angle of the spoiled gradient echo
    spacing_mm : voxel spacing (i, j in plane; k between slices)
    shape : voxels along i, j and k
    three_dimensional : whether slices are phase-encoded (3D), instead of selectively excited (2D)
    snr : signal of white matter over the standard deviation of the noise in one channel
    resolution : acquired share of k-space along i and j; the rest is filled with zeros
    apodization : from 0 (none, with ringing) to 1 (full Hann window over the acquired k-space)
    tilt_deg : largest angle between slice normal and the main field
    swi_filter : high-pass filter of the phase: 'hann', 'gaussian' or 'none' (magnitude without phase mask)
    swi_width_mm : full width in space of the low-pass filter that the high-pass filter subtracts
    swi_power : how often the phase mask is applied
    swi_mask : 'linear', 'triangular', 'tanh' or 'symmetric'
    qsm_method : 'true' (true susceptibility) or 'tkd' (inverted from the field)
    qsm_blur_vox : standard deviation of additional Gaussian smoothing
    bias : standard deviation of the logarithm of the receive field
    ghost : amplitude of a motion ghost relative to the image
    slice_resolution : as ``resolution``, along k of a 3D acquisition
    noise_spread : spatial variation of the noise (parallel imaging), standard deviation of its logarithm; 0 for none
    contrast : exponent on the signals of tissues relative to that of white matter; 1 for tabulated relaxation times
    """

    name: str
    field_t: float = 3.0
    te_ms: float = 20.0
    tr_ms: float = 27.0
    flip_deg: float = 15.0
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 3.0)
    shape: tuple[int, int, int] = (256, 288, 48)
    three_dimensional: bool = True
    snr: float = 30.0
    resolution: tuple[float, float] = (1.0, 1.0)
    apodization: float = 0.3
    tilt_deg: float = 15.0
    swi_filter: str = "hann"
    swi_width_mm: float = 12.0
    swi_power: int = 4
    swi_mask: str = "linear"
    qsm_method: str = "tkd"
    qsm_blur_vox: float = 0.4
    bias: float = 0.12
    ghost: float = 0.0
    slice_resolution: float = 1.0
    noise_spread: float = 0.0
    contrast: float = 1.0


PRESETS: Mapping[str, Protocol] = {
    preset.name: preset
    for preset in (
        Protocol("ukbb"),
        Protocol(
            "oxvasc",
            te_ms=15,
            tr_ms=504,
            flip_deg=20,
            spacing_mm=(0.8, 0.9, 5.0),
            shape=(272, 256, 25),
            three_dimensional=False,
            resolution=(0.8, 0.7),
        ),
        Protocol(
            "tich2",
            field_t=1.5,
            te_ms=40,
            tr_ms=50,
            spacing_mm=(0.9, 0.9, 2.0),
            shape=(240, 256, 72),
            snr=25,
            resolution=(1.0, 0.75),
        ),
        Protocol(
            "shk",
            te_ms=24,
            tr_ms=30,
            spacing_mm=(0.45, 0.45, 2.0),
            shape=(448, 512, 72),
            resolution=(0.8, 0.7),
            snr=25,
        ),
        Protocol("aibl", te_ms=20, tr_ms=27, flip_deg=20, spacing_mm=(0.94, 0.94, 1.75), shape=(200, 240, 80)),
        Protocol(
            "valdo",
            te_ms=25,
            tr_ms=45,
            spacing_mm=(0.49, 0.49, 0.8),
            shape=(416, 480, 176),
            snr=18,
            resolution=(0.8, 0.8),
        ),
        Protocol(
            "crb",
            te_ms=32,
            tr_ms=700,
            flip_deg=20,
            spacing_mm=(0.45, 0.45, 6.0),
            shape=(464, 512, 23),
            three_dimensional=False,
            resolution=(0.6, 0.5),
            snr=40,
        ),
        Protocol(
            "mars",
            field_t=1.5,
            te_ms=40,
            tr_ms=800,
            flip_deg=20,
            spacing_mm=(0.9, 0.9, 5.0),
            shape=(232, 256, 26),
            three_dimensional=False,
            resolution=(0.9, 0.7),
            snr=35,
        ),
        Protocol(
            "7t",
            field_t=7.0,
            te_ms=15,
            tr_ms=24,
            flip_deg=11,
            spacing_mm=(0.5, 0.5, 1.0),
            shape=(400, 464, 144),
            snr=25,
        ),
        Protocol("fast", te_ms=20, tr_ms=27, spacing_mm=(1.0, 1.0, 2.5), shape=(192, 224, 56)),
    )
}
# field T, (TE low, high) ms
FIELDS = ((1.5, (22.0, 42.0), 0.25), (3.0, (9.0, 32.0), 0.60), (7.0, (8.0, 20.0), 0.15))
THREE_DIMENSIONAL = {Modality.SWI: 0.9, Modality.T2STAR: 0.5, Modality.QSM: 0.95, None: 0.5}
"""Share of random protocols that are 3D. 2D acquisitions, mostly with slices of 4 mm and more, are rare for SWI and
QSM but as common as 3D for T2*. None is for scans from which all three modalities are made."""
HEAD_MM = (200.0, 235.0, 150.0)


def find_protocol(name: str) -> Protocol:
    """Return the preset with a name.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    try:
        return PRESETS[name.lower()]
    except KeyError:
        raise InputError(f"unknown protocol '{name}': choose random, {', '.join(PRESETS)}") from None


def draw_protocol(rng: np.random.Generator, preset: str | None = None, modality: Modality | None = None) -> Protocol:
    """Draw a protocol: a preset with random quality and processing, or a random one.

    Parameters
    ----------
    rng : random number generator
    preset : name of a preset, see `find_protocol`; None for a random protocol
    modality : modality to be made with a random protocol; None for all three
    """
    if preset is not None:
        return _with_random_quality(find_protocol(preset), rng)
    chances = [share for _, _, share in FIELDS]
    field_t, (shortest, longest), _ = FIELDS[rng.choice(len(FIELDS), p=chances)]
    three_dimensional = bool(rng.random() < THREE_DIMENSIONAL[modality])
    te_ms = float(rng.uniform(shortest, longest))
    spacing = draw_spacing(rng, three_dimensional)
    across, along, height = HEAD_MM
    protocol = Protocol(
        "random",
        field_t=field_t,
        te_ms=te_ms,
        tr_ms=float(te_ms + rng.uniform(5, 30) if three_dimensional else rng.uniform(400, 1200)),
        flip_deg=float(rng.uniform(8, 25)),
        spacing_mm=spacing,
        shape=(_even(across / spacing[0]), _even(along / spacing[1]), round(height / spacing[2])),
        three_dimensional=three_dimensional,
        snr=float(np.exp(rng.uniform(np.log(15), np.log(80)))),
        resolution=_draw_resolution(rng, spacing[0]),
        tilt_deg=float(rng.choice([10.0, 20.0, 35.0])),
    )
    return _with_random_processing(protocol, rng)


def draw_protocol_like(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    """Draw another random protocol with the same voxels and kind of excitation."""
    while (other := draw_protocol(rng)).three_dimensional != protocol.three_dimensional:
        pass
    return replace(
        other,
        spacing_mm=protocol.spacing_mm,
        shape=protocol.shape,
        tilt_deg=protocol.tilt_deg,
        resolution=_draw_resolution(rng, protocol.spacing_mm[0]),
    )


def draw_spacing(rng: np.random.Generator, three_dimensional: bool) -> tuple[float, float, float]:
    """Draw voxel spacings: 0.4-1.2 mm in plane; slices of 0.7-3.2 mm in 3D, or of 2-6 mm, mostly thick, in 2D."""
    in_plane = float(rng.uniform(0.4, 1.2))
    through = rng.uniform(max(0.7, in_plane), 3.2) if three_dimensional else rng.triangular(2.0, 5.5, 6.0)
    ratio = float(rng.uniform(0.9, 1.1)) if rng.random() < 0.15 else 1.0
    return round(in_plane, 4), round(in_plane * ratio, 4), round(float(through), 3)


def _with_random_quality(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    protocol = replace(protocol, snr=float(protocol.snr * np.exp(rng.normal(0.0, 0.2))))
    return _with_random_processing(protocol, rng)


def _with_random_processing(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    return replace(
        protocol,
        apodization=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.75 else 0.0,
        swi_filter=str(rng.choice(["hann", "gaussian", "none"], p=[0.59, 0.33, 0.08])),
        swi_width_mm=float(np.exp(rng.uniform(np.log(6.0), np.log(24.0)))),
        swi_power=int(rng.choice([2, 3, 4, 5, 6], p=[0.1, 0.1, 0.6, 0.1, 0.1])),
        swi_mask=str(rng.choice(["linear", "triangular", "tanh", "symmetric"], p=[0.7, 0.1, 0.15, 0.05])),
        qsm_method=str(rng.choice(["tkd", "true"], p=[0.6, 0.4])),
        qsm_blur_vox=float(rng.uniform(0.2, 0.9)),
        bias=float(rng.uniform(0.03, 0.25)),
        ghost=float(rng.uniform(0.02, 0.1)) if rng.random() < 0.1 else 0.0,
        slice_resolution=float(rng.uniform(0.5, 0.9)) if rng.random() < 0.25 else 1.0,
        noise_spread=float(rng.uniform(0.1, 0.5)) if rng.random() < 0.4 else 0.0,
        contrast=float(rng.uniform(0.4, 1.8)) if rng.random() < 0.5 else 1.0,
    )


def _draw_resolution(rng: np.random.Generator, in_plane_mm: float) -> tuple[float, float]:
    """Draw the acquired share of k-space, which is lower for small voxels, since scanners interpolate these."""
    if rng.random() < 0.4:
        return 1.0, 1.0
    low = float(np.clip(in_plane_mm / 1.1, 0.5, 0.9))
    first = float(rng.uniform(low, 1.0))
    return first, float(max(0.5, first * rng.uniform(0.8, 1.0)))


def _even(value: float) -> int:
    return 2 * round(value / 2)
