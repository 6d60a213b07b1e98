"""The method of the paper: the networks of a bundle as stages 1 and 2."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import ModelBundle
from .detection import StageOne
from .devices import Compute
from .inference import PATCH_VOX, microbleed_probability, patch_probability
from .location import Location
from .methods import Settings
from .network_grid import NetworkGrid
from .preprocessing import PreparedScan
from .progress import Tick


class PaperMethod:
    """The U-Net and the student of a bundle, with its thresholds unless others are given."""

    extent = 0.5  # with which outlines agree best with those of simulated microbleeds

    def __init__(self, bundle: ModelBundle, compute: Compute, settings: Settings | None = None) -> None:
        self.settings = settings or bundle.settings
        self._bundle = bundle
        self._compute = compute

    def detect(self, channels: NDArray[np.float32], prepared: PreparedScan, tick: Tick) -> NDArray[np.float32]:
        """Run the U-Net over the whole volume (2.2)."""
        grid = self._grid(prepared)
        mask = grid.mask(prepared.mask)
        seen = grid.channels(channels, mask)
        probability = grid.back(microbleed_probability(self._bundle.detector(), seen, mask, self._compute, tick))
        return probability * prepared.mask

    def discriminate(
        self, channels: NDArray[np.float32], prepared: PreparedScan, found: StageOne, tick: Tick
    ) -> NDArray[np.float32]:
        """Run the student over a patch centered on each candidate (2.3.2); calibrate with stage 1 and the location."""
        clusters = found.clusters
        if not len(clusters.centroid_vox):
            return np.zeros(0, np.float32)
        grid = self._grid(prepared)
        seen, centers_vox = grid.channels(channels, grid.mask(prepared.mask)), grid.points(clusters.centroid_vox)
        shape = self._bundle.description.voxel.patch_shape(PATCH_VOX)
        probability = patch_probability(self._bundle.student(), seen, centers_vox, shape, self._compute, tick)
        location = Location.of(found.candidates, found.brain, prepared.scan.modality)
        return self._bundle.description.calibration.apply(probability, clusters.peak, location)

    def describe(self) -> dict[str, Any]:
        """Return bundle, checksums, device and precision."""
        description = self._bundle.description
        return {
            "method": "paper",
            "bundle": {"name": description.name, "version": description.version, "sha256": self._bundle.sha256},
            "calibration": asdict(description.calibration),
            **self._compute.describe(),
        }

    def _grid(self, prepared: PreparedScan) -> NetworkGrid:
        return NetworkGrid.of(prepared.mask.shape, prepared.spacing_mm, self._bundle.description.voxel)
