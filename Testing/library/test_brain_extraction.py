"""Brain extraction on an analytic head: contrasts, slices, coverage, orientation; HD-BET by a stand-in."""

import numpy as np
import pytest
from scipy import ndimage

from CMMDetectLib.bet import bet
from CMMDetectLib.brain_extraction import extract_brain
from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality, Scan
from head_phantom import affine_of, dice, head


def scan_of(array, spacing_mm, modality="swi"):
    return Scan(np.asarray(array, np.float32), np.diag([*spacing_mm, 1.0]), Modality(modality), "sub-01")


@pytest.fixture(scope="module")
def swi_head():
    return head("swi", (1.5, 1.5, 2.0))


@pytest.mark.parametrize("modality", ["swi", "t2star"])
@pytest.mark.parametrize(
    ("spacing_mm", "z_range_mm", "least"),
    [
        ((1.5, 1.5, 2.0), (-95, 95), 0.97),
        ((1.0, 1.0, 1.5), (-75, 85), 0.97),
        ((1.0, 1.0, 5.0), (-70, 85), 0.95),
        ((0.9, 0.9, 6.0), (-60, 84), 0.92),
        ((1.5, 1.5, 2.0), (-170, 95), 0.97),
        ((1.0, 1.0, 3.0), (-20, 40), 0.97),
        ((1.0, 1.0, 4.0), (0, 20), 0.97),
        ((1.5, 1.5, 3.0), (10, 100), 0.95),
    ],
    ids=["whole", "fine", "5-mm-slices", "6-mm-slices", "long-neck", "slab", "thin-slab", "top-of-the-head"],
)
def test_the_space_inside_the_skull_is_found(modality, spacing_mm, z_range_mm, least):
    phantom = head(modality, spacing_mm, z_range_mm)
    assert dice(bet(phantom.signal, spacing_mm), phantom.inside_skull) >= least


@pytest.mark.parametrize("modality", ["swi", "t2star"])
@pytest.mark.parametrize(
    ("spacing_mm", "z_range_mm"),
    [((1.5, 1.5, 2.0), (-95, 95)), ((1.0, 1.0, 5.0), (-70, 85)), ((1.5, 1.5, 2.0), (-170, 95))],
    ids=["whole", "5-mm-slices", "long-neck"],
)
def test_the_mask_does_not_run_out_into_the_face_where_the_skull_seems_open(modality, spacing_mm, z_range_mm):
    phantom = head(modality, spacing_mm, z_range_mm, open_base=True)
    scan = Scan(phantom.signal, affine_of(phantom, z_range_mm), Modality(modality), "sub-01")
    assert dice(extract_brain(scan)[0], phantom.inside_skull) >= 0.9


def test_no_little_blocks_that_look_like_microbleeds_stand_on_the_mask():
    phantom = head("swi", (1.0, 1.0, 1.5))
    mask = bet(phantom.signal, phantom.spacing_mm)
    disk = np.hypot(*np.mgrid[-3:4, -3:4]) <= 2.5
    pieces, _ = ndimage.label(mask & ~ndimage.binary_opening(mask, disk[:, :, None]))
    assert np.count_nonzero(np.bincount(pieces.ravel())[1:] >= 4) < 30


@pytest.mark.parametrize("modality", ["swi", "t2star"])
def test_noise_and_a_strong_receive_field_do_not_stop_it(modality):
    phantom = head(modality, (1.5, 1.5, 3.0), (-80, 85), noise=0.08, bias=-0.5)
    assert dice(bet(phantom.signal, phantom.spacing_mm), phantom.inside_skull) >= 0.95


def test_a_brain_cut_by_the_field_of_view_is_not_rounded_off(swi_head):
    first, last = 30, 70
    mask = bet(swi_head.signal[:, :, first:last], swi_head.spacing_mm)
    for found, truth in ((mask[:, :, 0], first), (mask[:, :, -1], last - 1)):
        assert dice(found, swi_head.inside_skull[:, :, truth]) > 0.95


def test_signal_voids_stay_in_the_mask(swi_head):
    mask = bet(swi_head.signal, swi_head.spacing_mm)
    assert np.count_nonzero(swi_head.voids) > 50
    assert mask[swi_head.voids & swi_head.inside_skull].all()


def test_lesions_at_the_rim_are_not_carved_out(swi_head):
    depth_mm = ndimage.distance_transform_edt(swi_head.inside_skull, swi_head.spacing_mm)
    rim = np.argwhere(np.abs(depth_mm - 5) < 0.7)
    rim = rim[(rim[:, 2] > 50) & (rim[:, 2] < 75)]
    signal = swi_head.signal.copy()
    centers = rim[:: len(rim) // 8]
    for center in centers:
        offset_mm = (np.indices(signal.shape).T - center) * swi_head.spacing_mm
        signal[(np.linalg.norm(offset_mm, axis=-1) < 3.5).T] = 0.02
    mask = bet(signal, swi_head.spacing_mm)
    assert all(mask[tuple(center)] for center in centers)


@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1, ::-1],
        lambda a: a.transpose(2, 0, 1),
        lambda a: a.transpose(1, 0, 2)[::-1],
    ],
    ids=["mirrored", "rotated", "sagittal", "transposed"],
)
def test_a_turned_head_gives_the_turned_mask(swi_head, turn):
    axes = turn(np.zeros((2, 3, 5))).shape
    turned_mm = [swi_head.spacing_mm[(2, 3, 5).index(size)] for size in axes]
    straight = bet(swi_head.signal, swi_head.spacing_mm)
    assert dice(bet(turn(swi_head.signal), turned_mm), turn(straight)) > 0.985


def test_intensities_may_have_any_scale_and_offset(swi_head):
    straight = bet(swi_head.signal, swi_head.spacing_mm)
    scaled = bet(3000 * swi_head.signal + 50, swi_head.spacing_mm)
    assert dice(straight, scaled) > 0.999


def test_an_unmasked_qsm_is_masked_by_its_noise(swi_head):
    rng = np.random.default_rng(0)
    noisy = swi_head.signal < 0.3
    chi = rng.normal(0, 0.03, noisy.shape) + noisy * rng.uniform(-0.5, 0.5, noisy.shape)
    mask, source = extract_brain(scan_of(chi, swi_head.spacing_mm, "qsm"))
    assert source == "quiet"
    assert dice(mask, swi_head.inside_skull) > 0.9


def test_a_qsm_that_does_not_show_its_background_asks_for_a_mask():
    chi = np.random.default_rng(0).normal(0, 0.03, (96, 96, 60))
    with pytest.raises(InputError, match=r"sub-01: no background noise.*--mask"):
        extract_brain(scan_of(chi, (2, 2, 2), "qsm"))


def test_an_unknown_method_lists_the_choices(swi_head):
    with pytest.raises(InputError, match="'fsl': choose bet or hd-bet"):
        extract_brain(scan_of(swi_head.signal, swi_head.spacing_mm), "fsl")


def test_hd_bet_that_is_not_installed_is_said_in_one_line(swi_head):
    with pytest.raises(InputError, match="HD-BET 2 is not installed"):
        extract_brain(scan_of(swi_head.signal, swi_head.spacing_mm), "hd-bet")


@pytest.fixture
def install_hd_bet(tmp_path, monkeypatch):
    """Stand in for HD-BET 2.0.1: its options, its files, and what `program` does with them."""

    def install(program):
        package = tmp_path / "HD_BET"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "entry_point.py").write_text(
            "import argparse, sys\nimport SimpleITK as sitk\n"
            "parser = argparse.ArgumentParser()\n"
            "parser.add_argument('-i', '--input', required=True)\nparser.add_argument('-o', '--output')\n"
            "parser.add_argument('-device', default='cuda')\n"
            "for flag in ('--disable_tta', '--save_bet_mask', '--no_bet_image', '--verbose'):\n"
            "    parser.add_argument(flag, action='store_true')\n"
            "args = parser.parse_args()\n" + program
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def test_hd_bet_is_run_where_it_is_installed(swi_head, install_hd_bet):
    install_hd_bet(
        "assert args.device == 'cpu' and args.save_bet_mask and args.output.endswith('.nii.gz')\n"
        "mask = sitk.ReadImage(args.input) > 0.5\nsitk.WriteImage(mask, args.output[:-7] + '_bet.nii.gz')\n"
    )
    mask, source = extract_brain(scan_of(swi_head.signal, swi_head.spacing_mm), "hd-bet")
    assert source == "hd-bet"
    assert np.array_equal(mask, swi_head.signal > 0.5)


def test_what_hd_bet_dies_of_is_passed_on(swi_head, install_hd_bet):
    install_hd_bet("raise OSError('no weights and no network')\n")
    with pytest.raises(InputError, match=r"HD-BET failed .*no weights and no network"):
        extract_brain(scan_of(swi_head.signal, swi_head.spacing_mm), "hd-bet")
