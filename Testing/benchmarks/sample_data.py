"""Recreate the sample scan that ships with the module.

    python Testing/benchmarks/sample_data.py

The head comes from the MNI152 maps of nilearn, everything else from physics, so that nobody's data are shown. The same
seed gives the same file. The truth is written to standard output as JSON.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from CMMDetectLib.scan import Modality, write_image
from CMMDetectTrainLib.simulation.protocols import find_protocol
from CMMDetectTrainLib.simulation.simulate import simulate_scan

RESOURCES = Path(__file__).resolve().parents[2] / "CMMDetect" / "Resources"
SAMPLE = RESOURCES / "SampleData" / "CMMDetectSample_swi.nii.gz"
THUMBNAIL = RESOURCES / "Icons" / "CMMDetectSample.png"
PROTOCOL = "fast"
SEED = 11
LESIONS = 6
LEVELS = 400
"""Gray levels up to the brightest tissue: the noise is several of them, and more would only make the file larger."""


def write_thumbnail(image: np.ndarray, brain: np.ndarray) -> None:
    """Draw the slab through the middle of the brain that Slicer's Sample Data shows."""
    middle = int(np.median(np.nonzero(brain)[2]))
    slab = image[:, :, middle - 1 : middle + 3].min(axis=2)
    imsave(THUMBNAIL, slab.T[::-1], cmap="gray", vmin=0, vmax=float(np.percentile(slab, 99.8)))


def main() -> None:
    # to ask for help must not write the sample anew
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    simulated = simulate_scan(find_protocol(PROTOCOL), SEED, LESIONS)
    image = simulated.images[Modality.SWI]
    scale = LEVELS / float(np.percentile(image[simulated.brain], 99.5))
    SAMPLE.parent.mkdir(parents=True, exist_ok=True)
    write_image(SAMPLE, np.rint(image * scale).astype(np.int16), simulated.grid.affine)
    write_thumbnail(image, simulated.brain)
    truth = [asdict(record) for record in simulated.truth[Modality.SWI].records]
    print(json.dumps(truth, indent=1, default=str))


if __name__ == "__main__":
    main()
