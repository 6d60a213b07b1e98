"""The input channels of the networks."""

import numpy as np

import phantoms
from CMMDetectLib.channels import CHANNELS, input_channels
from CMMDetectLib.preprocessing import TISSUE_LEVEL, PreparedScan
from CMMDetectLib.progress import Progress
from CMMDetectLib.scan import Modality, Scan

SPACING_MM = (0.8, 0.8, 2.0)
SHAPE = (60, 60, 16)


def test_a_vein_is_gone_from_the_image_and_can_still_be_seen_beside_it():
    mask = np.ones(SHAPE, bool)
    middle = phantoms.center_of(SHAPE, SPACING_MM)
    course = phantoms.straight_line(middle, (1, 1, 0), 30)
    vein = phantoms.tube(SHAPE, SPACING_MM, course, 3.0)
    image = (TISSUE_LEVEL + 0.6 * vein + 0.01 * np.random.default_rng(0).normal(size=SHAPE)).astype(np.float32)
    scan = Scan(1 - image, phantoms.affine(SPACING_MM), Modality.T2STAR, "phantom")
    whole = (slice(None), slice(None), slice(None))
    channels = input_channels(PreparedScan(scan, whole, image, mask, "given", 1.0), Progress())
    without, _, with_vessels = channels
    assert channels.shape == (len(CHANNELS), *SHAPE)
    inside = vein > 0.7
    assert np.median(without[inside]) < TISSUE_LEVEL + 0.15
    assert np.median(with_vessels[inside]) > TISSUE_LEVEL + 0.4
    assert np.array_equal(with_vessels, image)
