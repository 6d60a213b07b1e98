"""Inference of the networks in tiles and patches."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from CMMDetectLib import inference
from CMMDetectLib.bundle import SHIPPED_BUNDLE, read_bundle
from CMMDetectLib.clusters import find_clusters, measure_clusters
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import InputError
from CMMDetectLib.inference import cut_patches, microbleed_probabilities, microbleed_probability, patch_probability
from CMMDetectLib.networks import CandidateDetector, Student
from CMMDetectLib.preprocessing import TISSUE_LEVEL
from known_networks import thresholding_detector, unbiased
from training_cases import SMALL

FLOAT32 = choose_compute("cpu", "float32")
BFLOAT16 = choose_compute("cpu", "bfloat16")


def idle(fraction: float) -> None:
    assert 0 <= fraction <= 1


def lively(kind: type[nn.Module]) -> nn.Module:
    """Give an untrained network other statistics and larger logits, so that its output varies over the volume."""
    torch.manual_seed(1)
    network = unbiased(kind(4))
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(2, 3, 16, 16, 16))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.weight.uniform_(1, 3)
        for name, parameter in network.named_parameters():
            if "logits.weight" in name:
                parameter.mul_(10)
    return network.eval()


def lively_student() -> Student:
    """Give an untrained student whose judgements differ from patch to patch by about a logit."""
    torch.manual_seed(2)
    student = Student(16)
    patches = torch.randn(8, 3, 24, 24, 24)
    with torch.no_grad():
        student.train()(patches)
        logits = student.eval()(patches) - student.classifier.logits.bias
        spread = (logits[:, 1] - logits[:, 0]).std()
        student.classifier.logits.weight /= spread
        student.classifier.logits.bias.copy_(-logits.mean(dim=0) / spread)
    return student


@pytest.fixture(scope="module")
def detector() -> CandidateDetector:
    return lively(CandidateDetector)


@pytest.mark.parametrize("shape", [(49, 31, 13), (33, 18, 7), (17, 50, 34), (5, 3, 1), (1, 1, 1)])
@pytest.mark.parametrize("tile", [16, 24, 64])
@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
def test_tiles_give_exactly_what_one_pass_over_the_volume_gives(monkeypatch, detector, shape, tile, kept_bytes):
    monkeypatch.setattr(inference, "KEPT_FEATURES_BYTES", kept_bytes)
    channels = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    with torch.no_grad():
        whole = torch.softmax(detector(torch.from_numpy(channels)[None]), dim=1)[0, 1].numpy()
    tiled = microbleed_probability(detector, channels, np.ones(shape, bool), FLOAT32, idle, tile)
    assert whole.size < 100 or whole.std() > 0.01
    assert np.abs(tiled - whole).max() < 1e-5


def test_skipping_tiles_without_brain_changes_nothing_within_it(detector):
    channels = np.random.default_rng(1).normal(size=(3, 40, 40, 12)).astype(np.float32)
    everywhere = microbleed_probability(detector, channels, np.ones((40, 40, 12), bool), FLOAT32, idle, 16)
    mask = np.zeros((40, 40, 12), bool)
    mask[20:24, 3:9, 5] = True
    here = microbleed_probability(detector, channels, mask, FLOAT32, idle, 16)
    assert np.abs(here - everywhere)[mask].max() < 1e-5
    assert not here[~mask].any()


def test_a_batch_of_patches_gives_what_each_gives_by_itself(detector):
    rng = np.random.default_rng(2)
    channels = rng.normal(size=(4, 3, 13, 12, 10)).astype(np.float32)
    masks = rng.random((4, 13, 12, 10)) < 0.7
    together = microbleed_probabilities(detector, channels, masks, FLOAT32)
    for one, patch, mask in zip(together, channels, masks, strict=True):
        assert one.std() > 0.01
        assert np.abs(one - microbleed_probability(detector, patch, mask, FLOAT32, idle)).max() < 1e-5


def test_the_network_that_is_given_is_not_changed(detector):
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    microbleed_probability(detector, np.zeros((3, 8, 8, 8), np.float32), np.ones((8, 8, 8), bool), FLOAT32, idle)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_what_the_listener_raises_ends_the_run(detector):
    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        microbleed_probability(detector, np.zeros((3, 8, 8, 8), np.float32), np.ones((8, 8, 8), bool), FLOAT32, stop)


def test_bfloat16_and_float32_give_the_same_candidates():
    rng = np.random.default_rng(2)
    image = 0.25 + 0.02 * rng.standard_normal((28, 30, 12))
    for center in [(6, 7, 3), (20, 22, 8), (9, 21, 6)]:
        image[center] += 12
    image = ndimage.gaussian_filter(image, 1.2).astype(np.float32)
    channels = np.stack([image, image, image])
    mask = np.ones(image.shape, bool)
    spacing = (0.8, 0.8, 3.0)
    network = thresholding_detector(2, level=0.5)
    centers = []
    for compute in (FLOAT32, BFLOAT16):
        probability = microbleed_probability(network, channels, mask, compute, idle)
        labels, count = find_clusters(probability, 0.5, spacing)
        found = measure_clusters(labels, count, probability, spacing)
        centers.append(found.centroid_vox[np.argsort(found.centroid_vox[:, 0])])
    assert len(centers[0]) == 3
    assert np.abs(centers[0] - centers[1]).max() < 0.1


def test_bfloat16_and_float32_judge_candidates_alike():
    bundle = read_bundle(SHIPPED_BUNDLE)
    student, shape = bundle.student(), bundle.description.voxel.patch_shape(inference.PATCH_VOX)
    channels = np.zeros((3, 60, 30, 20), np.float32)
    channels[[0, 2]] = TISSUE_LEVEL + 0.03 * np.random.default_rng(3).normal(size=channels[0].shape)
    centers = np.array([[10.0, 15, 10], [25, 15, 10], [40, 15, 10]])
    voxels = np.moveaxis(np.indices(channels[0].shape), 0, -1)
    for center, radius in zip(centers, (1.2, 1.7, 2.5), strict=True):
        spot = np.exp(-((np.linalg.norm(voxels - center, axis=-1) / radius) ** 2))
        channels += np.array([0.5, 0.3, 0.5]).reshape(3, 1, 1, 1) * spot
    exact = patch_probability(student, channels, centers, shape, FLOAT32, idle)
    fast = patch_probability(student, channels, centers, shape, BFLOAT16, idle)
    assert np.ptp(exact) > 0.02
    assert np.abs(exact - fast).max() < 0.02


def test_many_candidates_are_judged_as_one_by_one():
    student = lively_student()
    rng = np.random.default_rng(4)
    channels = rng.normal(size=(3, 30, 30, 20)).astype(np.float32)
    centers = rng.uniform(0, 19, (inference.PATCH_BATCH + 3, 3))
    together = patch_probability(student, channels, centers, SMALL, FLOAT32, idle)
    alone = [patch_probability(student, channels, center[None], SMALL, FLOAT32, idle)[0] for center in centers[-4:]]
    assert np.allclose(together[-4:], alone, atol=1e-5)


def test_a_candidate_of_a_mirrored_scan_is_judged_alike():
    student = lively_student()
    channels = np.random.default_rng(5).normal(size=(3, 41, 41, 20)).astype(np.float32)
    center = np.array([[20.0, 20, 10]])
    judged = patch_probability(student, channels, center, SMALL, FLOAT32, idle)
    for axes in ((1,), (2,), (1, 2)):
        # the middle of 24 voxels lies between two of them
        moved = center + np.isin((1, 2, 3), axes)
        mirrored = patch_probability(student, np.flip(channels, axes).copy(), moved, SMALL, FLOAT32, idle)
        assert mirrored == pytest.approx(judged, abs=1e-5)
    assert judged != pytest.approx(patch_probability(student, channels, center + 1, SMALL, FLOAT32, idle), abs=0.01)


def test_a_patch_at_the_corner_of_a_volume_smaller_than_itself_is_filled_with_zeros():
    patches = cut_patches(np.ones((3, 5, 6, 7), np.float32), np.array([[0.0, 0.0, 0.0], [4.0, 5.0, 6.0]]), SMALL)
    assert patches.shape == (2, 3, 24, 24, 24)
    assert patches[0, 0].sum() == 5 * 6 * 7
    assert patches[0, 0, 12:17, 12:18, 12:19].all()


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="no device 'cuda'"):
        choose_compute("cuda")


def test_auto_takes_bfloat16_only_where_the_processor_has_it(monkeypatch):
    for has_matrices, has_vectors in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=has_matrices: answer)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=has_vectors: answer)
        expected = torch.bfloat16 if has_matrices or has_vectors else torch.float32
        assert choose_compute("cpu").dtype is expected
