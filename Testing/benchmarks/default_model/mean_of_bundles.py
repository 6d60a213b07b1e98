"""Make a bundle with the mean weights of several bundles that were fine-tuned from one.

    python Testing/benchmarks/default_model/mean_of_bundles.py BUNDLE ... -o TARGET

Trainings that go on from one model at a low rate end near it, each with accidents of its own that their mean has less
of. Description, teacher and validation subjects are those of the last BUNDLE; the others may be untrained ones.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from release import SUBJECTS_FILE, validation_subjects
from torch import nn
from torch.optim.swa_utils import AveragedModel

from CMMDetectLib.bundle import ModelBundle, read_bundle, write_bundle
from CMMDetectLib.errors import CMMDetectError, InputError


def mean_of_bundles(bundles: Sequence[ModelBundle], target: Path) -> ModelBundle:
    """Write the bundle of the means.

    Raises
    ------
    InputError
        If widths or grids differ, or the last bundle does not come with its training.
    """
    last = bundles[-1]
    for bundle in bundles:
        if _shape(bundle) != _shape(last):
            raise InputError(f"{bundle.folder}: has not the width and the grid of {last.folder}")
    validation_subjects(last)
    networks = {
        "detector": _mean([bundle.detector() for bundle in bundles]),
        "student": _mean([bundle.student() for bundle in bundles]),
        "teacher": last.teacher(),
    }
    written = write_bundle(target, last.description, networks)
    shutil.copyfile(last.folder / SUBJECTS_FILE, target / SUBJECTS_FILE)
    return written


def _shape(bundle: ModelBundle) -> tuple[object, ...]:
    described = bundle.description
    return described.width, described.width_of_student, described.voxel


def _mean(networks: Sequence[nn.Module]) -> nn.Module:
    mean = AveragedModel(networks[0], use_buffers=True)
    for network in networks:
        mean.update_parameters(network)
    return mean.module


def main() -> None:
    """Write the bundle of the means, or say in one line why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        mean_of_bundles([read_bundle(folder) for folder in options.bundles], options.output)
    except CMMDetectError as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()
