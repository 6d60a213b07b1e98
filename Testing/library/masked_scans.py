"""A small brain with the label map of its microbleeds, as files of a data set."""

from pathlib import Path

import nibabel as nib
import numpy as np

import phantoms
from small_scans import LESIONS_MM, SHAPE, SPACING_MM, stripped_brain

AFFINE = phantoms.affine(SPACING_MM)
UNKNOWN_TO_TRUTH = len(LESIONS_MM)
"""Label of a lesion that no mask of `write_masked_set` has: finding it is a false positive."""


def lesion_labels() -> np.ndarray:
    """The label map of all microbleeds of the brain."""
    labels = np.zeros(SHAPE, np.int16)
    for number, (*center, diameter) in enumerate(LESIONS_MM, 1):
        labels[phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter) > 0.3] = number
    return labels


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write_masked_set(folder: Path) -> Path:
    """Write two subjects with the same brain: the mask of one has two of its three lesions, that of the other none."""
    labels = lesion_labels()
    known = (labels > 0) & (labels != UNKNOWN_TO_TRUTH)
    for subject, mask in {"sub-01": known.astype(np.uint8), "sub-02": np.zeros(SHAPE, np.uint8)}.items():
        save(folder / subject / "swi" / f"{subject}_swi.nii.gz", stripped_brain())
        save(folder / "derivatives" / "masks" / subject / f"{subject}_swi_microbleeds.nii.gz", mask)
    rows = ["participant_id\tprotocol\tfield_t", "sub-01\tukbb\t3.0", "sub-02\toxvasc\tn/a"]
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder
