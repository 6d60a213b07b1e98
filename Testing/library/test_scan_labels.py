"""Brain masks and label maps on the grid of their scan."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import phantoms
from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import (
    Modality,
    Scan,
    read_labels,
    read_mask,
)
from nifti_files import ARRAY, OBLIQUE, save


@pytest.fixture
def scan() -> Scan:
    return Scan(ARRAY, OBLIQUE, Modality.SWI)


def test_a_mask_stored_in_another_order_of_axes_is_turned_onto_the_scan(tmp_path, scan):
    mask = ARRAY > 100
    image = nib.Nifti1Image(mask.astype(np.uint8), OBLIQUE)
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nib.save(turned, tmp_path / "mask.nii.gz")
    assert turned.shape != image.shape
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", scan), mask)


@pytest.mark.parametrize(
    ("array", "affine"),
    [
        (ARRAY[1:], OBLIQUE),
        (ARRAY, phantoms.affine((0.8, 0.9, 3.0), rotation_deg=(10, -20, 31))),
        (ARRAY, phantoms.affine((0.8, 0.9, 3.0), (10, -20, 30), origin_mm=(-60, -80, -39))),
        (ARRAY, phantoms.affine((0.8, 0.9, 2.9), rotation_deg=(10, -20, 30))),
    ],
)
def test_a_mask_on_another_grid_is_refused_and_not_resampled(tmp_path, scan, array, affine):
    path = save(tmp_path / "mask.nii.gz", (array > 100).astype(np.uint8), affine)
    with pytest.raises(InputError, match=r"mask\.nii\.gz.*another grid.*resample it to the scan"):
        read_mask(path, scan)


def test_an_empty_or_missing_mask_is_refused(tmp_path, scan):
    with pytest.raises(InputError, match="mask is empty"):
        read_mask(save(tmp_path / "mask.nii.gz", np.zeros(ARRAY.shape, np.uint8)), scan)
    with pytest.raises(InputError, match="no such file"):
        read_mask(tmp_path / "nowhere.nii.gz", scan)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".hdr"])
def test_a_mask_or_label_map_with_nan_is_refused_whatever_its_format(tmp_path, scan, suffix):
    nifti = save(tmp_path / "mask.nii.gz", np.ones(ARRAY.shape, np.float32))
    image = sitk.ReadImage(str(nifti))
    image[1, 1, 1] = np.nan
    sitk.WriteImage(image, str(tmp_path / f"nan{suffix}"))
    for read in (read_mask, read_labels):
        with pytest.raises(InputError, match=r"nan.*: NaN or infinite values in 1 voxel;"):
            read(tmp_path / f"nan{suffix}", scan)


def test_a_4d_mask_is_refused_without_naming_an_option_that_masks_have_not(tmp_path, scan):
    path = save(tmp_path / "mask.nii.gz", np.ones((*ARRAY.shape, 2), np.uint8))
    with pytest.raises(InputError, match=r"mask\.nii\.gz: 4D with 2 volumes; a 3D volume is needed$"):
        read_mask(path, scan)
    assert read_mask(save(tmp_path / "one.nii.gz", np.ones((*ARRAY.shape, 1), np.uint8)), scan).all()


def test_a_label_map_is_turned_onto_the_scan_and_may_be_empty(tmp_path, scan):
    labels = np.where(ARRAY > 100, 7, 0) + np.where(ARRAY > 120, 2, 0)
    image = nib.Nifti1Image(labels.astype(np.int16), OBLIQUE)
    nib.save(image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), tmp_path / "labels.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "labels.nii.gz", scan), labels)
    empty = read_labels(save(tmp_path / "none.nii.gz", np.zeros(ARRAY.shape, np.uint8)), scan)
    assert empty.shape == ARRAY.shape and not empty.any()


def test_labels_too_large_to_count_lesions_by_are_refused(tmp_path, scan):
    with pytest.raises(InputError, match=r"labels\.nii\.gz: labels up to 3e\+09 are too large"):
        read_labels(save(tmp_path / "labels.nii.gz", np.where(ARRAY > 100, 3e9, 0)), scan)


def test_a_label_map_on_another_grid_or_missing_is_refused_by_its_name(tmp_path, scan):
    with pytest.raises(InputError, match=r"labels\.nii\.gz: the label map lies on another grid"):
        read_labels(save(tmp_path / "labels.nii.gz", np.ones((3, 4, 5), np.uint8)), scan)
    with pytest.raises(InputError, match=r"no such file \(label map\)"):
        read_labels(tmp_path / "nowhere.nii.gz", scan)
