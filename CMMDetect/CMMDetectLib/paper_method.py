"""The method of the paper: the networks of a bundle in stages 1 and 2."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import ModelBundle
from .clusters import ClusterMeasures
from .devices import Compute
from .inference import microbleed_probability, patch_probability
from .methods import Settings
from .preprocessing import PreparedScan
from .progress import Tick


class PaperMethod:
    """U-Net and student of a bundle, with its thresholds unless others are given."""

    def __init__(self, bundle: ModelBundle, compute: Compute, settings: Settings | None = None) -> None:
        self.settings = settings or bundle.settings
        self._bundle = bundle
        self._compute = compute

    def detect(self, channels: NDArray[np.float32], prepared: PreparedScan, tick: Tick) -> NDArray[np.float32]:
        """Run the U-Net over the whole volume (2.2)."""
        return microbleed_probability(self._bundle.detector(), channels, prepared.mask, self._compute, tick)

    def discriminate(
        self, channels: NDArray[np.float32], prepared: PreparedScan, clusters: ClusterMeasures, tick: Tick
    ) -> NDArray[np.float32]:
        """Run the student over a patch centered on each candidate (2.3.2), and weigh it with what stage 1 has said."""
        if not len(clusters.centroid_vox):
            return np.zeros(0, np.float32)
        student = self._bundle.student()
        probability = patch_probability(student, channels, clusters.centroid_vox, self._compute, tick)
        return self._bundle.description.calibration.apply(probability, clusters.peak)

    def describe(self) -> dict[str, Any]:
        """Give bundle, checksums, device and precision."""
        description = self._bundle.description
        return {
            "method": "paper",
            "bundle": {"name": description.name, "version": description.version, "sha256": self._bundle.sha256},
            "calibration": asdict(description.calibration),
            **self._compute.describe(),
        }
