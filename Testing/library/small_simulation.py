"""One simulated scan, so small that it takes a second or two."""

from CMMDetectTrainLib.simulation.modulation import LEAN
from CMMDetectTrainLib.simulation.protocols import Protocol
from CMMDetectTrainLib.simulation.simulate import SimulatedScan, simulate_scan

SMALL = Protocol(
    "small", spacing_mm=(2.0, 2.0, 4.0), shape=(96, 112, 30), apodization=0.5, tilt_deg=10.0, qsm_method="true"
)


def simulate_small(seed: int = 4) -> SimulatedScan:
    return simulate_scan(SMALL, seed=seed, lesions=6, detail=LEAN)
