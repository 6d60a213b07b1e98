"""Variety of simulated heads and patches: folds, membranes, post-processing, vessels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from CMMDetectLib.scan import Modality, to_voxel
from CMMDetectTrainLib.simulation import patches as patches_module
from CMMDetectTrainLib.simulation.anatomy import Head, draw_head
from CMMDetectTrainLib.simulation.appearance import Appearance, apply_appearance, draw_appearance
from CMMDetectTrainLib.simulation.freeform import draw_free_vessels
from CMMDetectTrainLib.simulation.grid import Grid
from CMMDetectTrainLib.simulation.mimics import CALCIFIED_SITES, draw_mimics, through_plane_veins
from CMMDetectTrainLib.simulation.patches import PATCHES_PER_PIECE, PatchSource
from CMMDetectTrainLib.simulation.protocols import Protocol, draw_protocol
from CMMDetectTrainLib.simulation.sampling import SampledTissue, sample_tissue
from CMMDetectTrainLib.simulation.template import load_template
from CMMDetectTrainLib.simulation.vasculature import KINDS, draw_vessels


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [draw_head(np.random.default_rng(seed), age_years=70) for seed in (0, 1)]


def shares_on_a_slice(head: Head, height_mm: float) -> dict[str, np.ndarray]:
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = (-84.0, -96.0, height_mm)
    grid = Grid((112, 128, 1), affine)
    shares = {tissue: np.zeros(grid.shape, np.float32) for tissue in ("csf", "dura", "gray", "white", "white_lesion")}
    for tissue, share in head.fractions(grid):
        if tissue in shares:
            shares[tissue] += share
    return {tissue: share[..., 0] for tissue, share in shares.items()} | {"depth": head.depth_on(grid)[..., 0]}


def test_the_scanner_is_shimmed_over_the_brain(heads: list[Head]) -> None:
    for head in heads:
        field, affine = head.background_field()
        points = (
            np.moveaxis(np.indices(field.shape), 0, -1).reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]
        ) / 100.0
        inside = head.depth_mm((100.0 * points).astype(np.float32)) > 0
        left, (x, y, z) = field.ravel()[inside], points[inside].T
        # some 25 Hz at 3 T, as scanners reach; next to the sinuses far more is left
        assert 0.1 < left.std() < 0.3
        assert np.ptp(left) > 1.0
        for harmonic in (np.ones_like(x), x, y, z, x * y, 2 * z * z - x * x - y * y):
            assert abs(np.mean(left * harmonic)) < 1e-3


class _NoSpaces(np.random.Generator):
    """Chance that never draws a perivascular space, as one head in a hundred has none."""

    def gamma(self, *_: object) -> float:
        return 0.4


def test_a_head_without_perivascular_spaces_has_its_other_vessels(heads: list[Head]) -> None:
    vessels = draw_vessels(heads[0], _NoSpaces(np.random.PCG64(3)))
    found = {KINDS[kind] for kind in np.unique(vessels.kind)}
    assert found == set(KINDS) - {"perivascular"}


def free_ends(first_mm: np.ndarray, others_mm: np.ndarray) -> np.ndarray:
    """Which points have none of the others at their place."""
    away, _ = cKDTree(others_mm).query(first_mm)
    return np.asarray(away > 0.05)


def test_no_vein_begins_or_stops_thick_where_it_would_look_like_a_microbleed(heads: list[Head]) -> None:
    for head in heads:
        vessels = draw_vessels(head, np.random.default_rng(5))
        for kind in ("medullary", "cortical", "sulcal"):
            veins = vessels.segments[vessels.kind == KINDS.index(kind)]
            begins = free_ends(veins.start_mm, veins.end_mm)
            assert begins.sum() > 100
            assert np.quantile(veins.radius_mm[begins], 0.95) < 0.18
            assert veins.radius_mm.max() > 0.2
            stops = free_ends(veins.end_mm, veins.start_mm)
            if kind == "sulcal":
                sinuses = vessels.segments[vessels.segments.radius_mm > 1.0]
                sinus, _ = cKDTree(sinuses.start_mm).query(veins.end_mm[stops])
                assert sinus.max() < 8.0
            else:
                assert np.quantile(veins.radius_mm[stops], 0.95) < 0.2


def test_pial_veins_join_and_get_thicker_on_their_way(heads: list[Head]) -> None:
    vessels = draw_vessels(heads[0], np.random.default_rng(6))
    veins = vessels.segments[vessels.kind == KINDS.index("sulcal")]
    starts, places = np.unique(veins.start_mm, axis=0, return_index=True)
    assert len(starts) == len(veins)  # blood goes one way from everywhere
    away, onward = cKDTree(starts).query(veins.end_mm)
    thinner = veins.radius_mm[places][onward] < 0.75 * veins.radius_mm
    assert np.mean(thinner[away < 0.01]) < 0.02
    tributaries = np.bincount(onward[away < 0.01])
    assert 0.05 < np.mean(tributaries[tributaries > 0] > 1) < 0.6


def test_veins_across_the_slices_and_those_of_patches_are_thin_at_both_ends(heads: list[Head]) -> None:
    grid = Grid((60, 60, 20), np.diag([1.0, 1.0, 5.0, 1.0]))
    across, _ = through_plane_veins(heads[0], grid, np.random.default_rng(1))
    free = draw_free_vessels(np.random.default_rng(2), grid)
    for veins in (across, free):
        ends = free_ends(veins.start_mm, veins.end_mm) | free_ends(veins.end_mm, veins.start_mm)
        assert ends.any()
        assert np.median(veins.radius_mm[ends]) < 0.6 * np.median(veins.radius_mm[~ends])


def test_calcium_gathers_in_the_pineal_gland_the_choroid_plexus_and_the_pallidum(heads: list[Head]) -> None:
    head, rng = heads[0], np.random.default_rng(4)
    grid = Grid((220, 220, 60), np.array([[1.0, 0, 0, -110], [0, 1.0, 0, -110], [0, 0, 3.0, -90], [0, 0, 0, 1]]))
    drawn = [deposit for _ in range(100) for deposit in draw_mimics(head, grid, rng)]
    centers = np.array([deposit.center_mm for deposit in drawn if deposit.kind == "calcification"], np.float32)
    assert len(centers) > 80
    right = np.abs(head.to_template(centers)) * (1, 0, 0) + head.to_template(centers) * (0, 1, 1)
    known = np.array([site for site, _ in CALCIFIED_SITES])
    away, site = cKDTree(known).query(right)
    assert 0.85 < np.mean(away < 8.0) < 1.0
    pineal, choroid, pallidum = (np.mean((site == n) & (away < 8.0)) for n in range(3))
    assert min(pineal, choroid) > 0.2
    assert 0.05 < pallidum < 0.3


def test_two_heads_have_different_sulci_and_both_have_a_falx(heads: list[Head]) -> None:
    first, second = (shares_on_a_slice(head, 40.0) for head in heads)
    cortex = (first["depth"] > 1.0) & (second["depth"] > 1.0) & (first["depth"] < 12.0)
    sulci, others = (shares["csf"][cortex] > 0.4 for shares in (first, second))
    assert 0.02 < sulci.mean() < 0.5
    assert 0.02 < others.mean() < 0.5
    assert np.logical_and(sulci, others).sum() < 0.6 * min(sulci.sum(), others.sum())
    for shares in (first, second):
        rows, _ = np.nonzero(shares["dura"] > 0.3)
        assert len(rows) > 15
        assert np.ptp(rows) * 1.5 < 40.0  # an upright sheet near the mid-plane
        total = sum(shares[tissue] for tissue in ("csf", "dura", "gray", "white", "white_lesion"))
        assert total[shares["depth"] > 6.0].min() > 0.2
        assert total.max() < 1.01


def test_the_cortex_is_gray_along_the_sulci_and_white_beneath(heads: list[Head]) -> None:
    head = heads[0]
    assert head.folding is not None
    sheet = np.array([0.0, 2.0, 9.0, 0.0, 0.0], np.float32)
    above = np.array([8.0, 8.0, 8.0, -1.0, -9.0], np.float32)
    brain, white = head.folding.tissue(sheet, above, np.full(5, 15.0, np.float32))
    assert brain.round(1).tolist()[1:] == [1.0, 1.0, 1.0, 1.0]
    assert brain[0] < 0.5  # in the sulcus
    assert white.round(1).tolist()[1:] == [0.0, 1.0, 0.0, 1.0]


def test_feet_of_points_lie_on_the_hull() -> None:
    template = load_template()
    chosen = (template.depth_mm > 4.0) & (template.depth_mm < 10.0)
    depth = template.at(template.depth_mm, template.feet_mm[chosen][::50], order=1)
    assert np.median(np.abs(depth)) < 1.0


def test_sampled_tissue_is_the_tissue_it_was_sampled_from_and_knows_one_grid(heads: list[Head]) -> None:
    head = heads[0]
    grid = Grid((16, 16, 6), np.diag([1.0, 1.0, 3.0, 1.0]))
    sampled = sample_tissue(head, grid, thin_slice_mm=3.0)
    expected = dict(head.fractions(grid))
    for tissue, share in sampled.fractions(grid):
        np.testing.assert_allclose(share, expected[tissue], atol=0.05)
    np.testing.assert_allclose(sampled.depth_on(grid), head.depth_on(grid), atol=1e-3)
    with pytest.raises(ValueError, match="another grid"):
        sampled.depth_on(Grid((8, 8, 6), grid.affine))


def image_and_depth() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = (100.0 + 10.0 * rng.standard_normal((24, 24, 12))).astype(np.float32)
    depth = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None] - 8.0, image.shape)
    return image, depth


def test_each_treatment_does_what_it_says() -> None:
    image, depth = image_and_depth()

    def treated(modality: Modality = Modality.SWI, **how: object) -> np.ndarray:
        before = image.copy()
        result = apply_appearance(image, 100.0, depth, modality, Appearance(**how))  # type: ignore[arg-type]
        np.testing.assert_array_equal(image, before)
        return result

    np.testing.assert_allclose(treated(), image)
    assert treated(blur_vox=(0.7, 0.7, 0.7)).std() < 0.6 * image.std()
    assert treated(sharpening=0.8).std() > 1.3 * image.std()
    assert len(np.unique(treated(gray_levels=50))) < 30
    assert treated(gamma=1.2).std() > 1.1 * image.std()
    assert np.median(treated(gamma=1.2)) == pytest.approx(100.0, rel=0.02)
    np.testing.assert_allclose(treated(level=1.1), 1.1 * image, rtol=1e-5)
    stripped = treated(stripped_mm=2.0)
    assert not stripped[:6].any()
    assert stripped[7:].all()
    np.testing.assert_allclose(treated(Modality.QSM, qsm_scale=0.5, gray_levels=50, level=2.0), 0.5 * image)


def test_most_images_are_treated_and_some_are_not() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_appearance(rng) for _ in range(400)]
    for name, low, high in (("sharpening", 0.05, 0.2), ("gray_levels", 0.08, 0.25), ("stripped_mm", 0.2, 0.4)):
        share = np.mean([getattr(look, name) not in (0, None) for look in drawn])
        assert low < share < high
    assert min(look.qsm_scale for look in drawn) < 0.5
    untouched = [look for look in drawn if look.gamma == 1.0 and not (look.sharpening or look.gray_levels)]
    assert 0.4 < len(untouched) / len(drawn) < 0.8


def test_patches_of_one_place_differ_in_protocol_and_lesions_and_tell_their_vessels() -> None:
    source = PatchSource((Modality.SWI,), size=(32, 32, 32), anatomy_share=1.0, lesion_free_share=0.0)
    rng = np.random.default_rng(2)
    patches = [source.draw(rng) for _ in range(PATCHES_PER_PIECE + 1)]
    same, other = patches[:-1], patches[-1]
    assert len({patch.grid.affine.tobytes() for patch in same}) == 1
    assert other.grid.affine.tobytes() != same[0].grid.affine.tobytes()
    assert len({patch.protocol.te_ms for patch in same}) == len(same)
    assert len({patch.truth.records for patch in same}) == len(same)
    assert all(patch.vessels.shape == patch.image.shape for patch in patches)
    assert any(patch.vessels.any() for patch in patches)
    darkness = [
        np.median(patch.image[patch.vessels & patch.brain]) / np.median(patch.image[~patch.vessels & patch.brain])
        for patch in patches
        if (patch.vessels & patch.brain).sum() > 20
    ]
    assert np.median(darkness) < 1.0
    asked = source.draw(rng, Modality.QSM)
    assert asked.modality is Modality.QSM
    assert asked.grid.affine.tobytes() != other.grid.affine.tobytes()


@pytest.mark.parametrize("anatomy_share", [0.0, 1.0])
def test_a_patch_has_a_protocol_of_its_modality(monkeypatch, anatomy_share: float) -> None:
    asked = []

    def draw_noted(rng: np.random.Generator, modality: Modality) -> Protocol:
        asked.append(modality)
        return draw_protocol(rng, modality=modality)

    monkeypatch.setattr(patches_module, "draw_protocol", draw_noted)
    source, rng = PatchSource(size=(24, 24, 16), anatomy_share=anatomy_share), np.random.default_rng(4)
    monkeypatch.setattr(patches_module, "PATCHES_PER_PIECE", 1)
    drawn = [source.draw(rng).modality for _ in range(4)]
    assert asked == drawn
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("anatomy_share", [0.0, 1.0])
def test_some_patches_are_noisier_than_their_protocol(monkeypatch, anatomy_share: float) -> None:
    def unevenness(share: float) -> float:
        monkeypatch.setattr(patches_module, "NOISY_SHARE", share)
        monkeypatch.setattr(patches_module, "NOISY_SNR", (2.0, 2.5))
        source, rng = PatchSource((Modality.T2STAR,), (24, 24, 16), anatomy_share), np.random.default_rng(4)
        patches = [source.draw(rng) for _ in range(6)]
        assert all((2.0 <= patch.protocol.snr <= 2.5) == (share == 1.0) for patch in patches)
        # a slice from its neighbor: hardly any tissue, all of the noise
        steps = [np.diff(patch.image, axis=2)[patch.brain[:, :, 1:]] / patch.tissue_signal for patch in patches]
        return float(np.median([np.median(np.abs(step)) for step in steps if step.size > 100]))

    assert unevenness(1.0) > 1.5 * unevenness(0.0)


@pytest.mark.parametrize("anatomy_share", [0.0, 1.0])
def test_no_microbleed_of_a_patch_lies_in_fluid(monkeypatch, anatomy_share: float) -> None:
    asked = []

    def only_behind(_: SampledTissue, grid: Grid) -> np.ndarray:
        asked.append(grid.shape)
        return np.broadcast_to(np.arange(grid.shape[0])[:, None, None] >= 20, grid.shape)

    monkeypatch.setattr(patches_module, "tissue_on", only_behind)
    source = PatchSource((Modality.T2STAR,), (40, 40, 24), anatomy_share=anatomy_share, lesion_free_share=0.0)
    rng = np.random.default_rng(3)
    patches = [source.draw(rng) for _ in range(6)]
    first = [
        to_voxel(patch.grid.affine, np.array([record.x, record.y, record.z]))[0]
        for patch in patches
        for record in patch.truth.records
        if record.kind == "microbleed"
    ]
    assert len(first) > 6
    assert min(first) > 18  # the deposit's middle may lie a little beside the point that was drawn
    assert asked


def test_some_pieces_of_heads_lie_where_calcium_gathers_and_most_of_their_patches_show_it(monkeypatch) -> None:
    monkeypatch.setattr(patches_module, "CALCIFIED_PIECES", 1.0)
    monkeypatch.setattr(patches_module, "PATCHES_PER_PIECE", 8)
    size = (40, 40, 24)
    source = PatchSource((Modality.T2STAR,), size, anatomy_share=1.0, lesion_free_share=1.0)
    rng = np.random.default_rng(3)
    patches = [source.draw(rng) for _ in range(8)]
    found = [
        [record for record in patch.truth.records if record.kind == "calcification" and record.volume_mm3 > 0]
        for patch in patches
    ]
    assert not any(record.kind == "microbleed" for patch in patches for record in patch.truth.records)
    places = np.array([(record.x, record.y, record.z) for records in found for record in records])
    in_the_same_place = np.linalg.norm(places - np.median(places, axis=0), axis=1) < 6.0
    assert in_the_same_place.sum() >= 4
