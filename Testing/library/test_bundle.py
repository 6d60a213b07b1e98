"""Bundles: what is written, read and refused."""

import json
from dataclasses import replace
from functools import reduce
from operator import getitem

import pytest
import torch
from safetensors.torch import load_file, save_file

from CMMDetectLib.bundle import FIRST_LAYER, checksum, read_bundle, write_bundle
from CMMDetectLib.calibration import Burden, Calibration
from CMMDetectLib.channels import CHANNELS, PAPER_CHANNELS
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.network_grid import NetworkVoxel
from CMMDetectLib.networks import CandidateDetector, Student
from CMMDetectLib.scan import Modality
from known_networks import unbiased
from small_disk import limited_files


def test_a_bundle_comes_back_as_it_was_written(small_bundle):
    back = read_bundle(small_bundle.folder)
    assert back.description == small_bundle.description
    assert back.settings.th_detection == 0.3
    for name in ("detector", "student", "teacher"):
        first, second = getattr(back, name)().state_dict(), getattr(small_bundle, name)().state_dict()
        assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_a_bundle_that_was_read_can_be_written_under_another_name(small_bundle, tmp_path):
    back = read_bundle(small_bundle.folder)
    renamed = replace(back.description, name="other", metrics={**back.description.metrics, "measured_on": "scans"})
    for description in (back.description, renamed):
        write_bundle(tmp_path / "other", description, {"detector": back.detector(), "student": back.student()})
        assert read_bundle(tmp_path / "other").description == description


def test_model_json_names_what_a_user_wants_to_know(small_bundle):
    content = json.loads((small_bundle.folder / "model.json").read_text())
    expected = "name version created license architecture width input_channels modality trained_on cutoffs metrics"
    assert set(expected.split()) <= set(content)
    assert set(content["sha256"]) == {"detector.safetensors", "student.safetensors", "teacher.safetensors"}


def test_a_tampered_file_is_refused(small_bundle):
    path = small_bundle.folder / "student.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"student\.safetensors: was changed or damaged"):
        read_bundle(small_bundle.folder)


def test_a_missing_file_is_named(small_bundle):
    (small_bundle.folder / "detector.safetensors").unlink()
    with pytest.raises(InputError, match=r"detector\.safetensors is missing"):
        read_bundle(small_bundle.folder)


def test_a_folder_without_a_description_is_no_bundle(tmp_path):
    with pytest.raises(InputError, match=r"no model bundle; a folder with model\.json"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "[" * 100_000, '{"architecture": "other", "input_channels": []}', "\x00"]
)
def test_a_broken_description_is_refused_in_one_line(small_bundle, text):
    (small_bundle.folder / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json") as caught:
        read_bundle(small_bundle.folder)
    assert "\n" not in str(caught.value)


def test_a_bundle_without_a_student_is_refused(small_bundle, tmp_path):
    write_bundle(tmp_path / "half", small_bundle.description, {"detector": small_bundle.detector()})
    with pytest.raises(InputError, match=r"names no student\.safetensors"):
        read_bundle(tmp_path / "half")


def test_a_folder_that_cannot_be_made_is_named(small_bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write here"):
        write_bundle(tmp_path / "file" / "bundle", small_bundle.description, {})


def test_a_bundle_that_the_disk_has_no_room_for_leaves_the_earlier_one_whole(small_bundle):
    networks = {"detector": unbiased(CandidateDetector(4)), "student": Student(4)}
    room = max((small_bundle.folder / f"{name}.safetensors").stat().st_size for name in networks) - 1
    told = r"bundle/\w+\.safetensors: cannot be written .*File too large"
    with limited_files(room), pytest.raises(OutputError, match=told):
        write_bundle(small_bundle.folder, small_bundle.description, networks)
    assert read_bundle(small_bundle.folder).sha256 == small_bundle.sha256
    assert len(list(small_bundle.folder.iterdir())) == 4


def test_weights_of_another_width_are_refused(small_bundle, tmp_path):
    networks = {"detector": small_bundle.detector(), "student": Student(8)}
    bundle = write_bundle(tmp_path / "mixed", small_bundle.description, networks)
    with pytest.raises(InputError, match="not the weights of a student of width 4"):
        bundle.student()


def test_a_width_that_the_weights_do_not_have_is_refused_before_it_fills_the_memory(small_bundle, monkeypatch):
    path = small_bundle.folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "width": 1024}))

    def fills_the_memory(width: int) -> None:
        raise MemoryError(width)

    monkeypatch.setattr("CMMDetectLib.networks.CandidateDetector", fills_the_memory)
    with pytest.raises(InputError, match="not the weights of a detector of width 1024"):
        read_bundle(small_bundle.folder).detector()


def test_a_student_can_have_a_width_of_its_own(small_bundle, tmp_path):
    networks = {"detector": small_bundle.detector(), "student": Student(8)}
    described = replace(small_bundle.description, student_width=8, pixel_mm=0.8, slice_mm=1.6)
    back = read_bundle(write_bundle(tmp_path / "mixed", described, networks).folder)
    assert (back.description.student_width, back.description.voxel) == (8, NetworkVoxel(0.8, 1.6))
    assert back.student().extractor.at_full.outputs == 8


@pytest.mark.parametrize("name", ["calibration", "pixel_mm", "slice_mm", "student_width"])
def test_a_bundle_of_an_older_version_can_be_read(small_bundle, name):
    path = small_bundle.folder / "model.json"
    content = json.loads(path.read_text())
    del content[name]
    path.write_text(json.dumps(content))
    assert read_bundle(small_bundle.folder).description == small_bundle.description


def test_a_bundle_that_knows_the_papers_channels_alone_says_the_same_whatever_the_others_show(small_bundle):
    path = small_bundle.folder / "detector.safetensors"
    weights = load_file(path)
    weights[FIRST_LAYER] = weights[FIRST_LAYER][:, : len(PAPER_CHANNELS)].contiguous()
    save_file(weights, path)
    content = json.loads((small_bundle.folder / "model.json").read_text())
    content["input_channels"] = list(PAPER_CHANNELS)
    content["sha256"][path.name] = checksum(path)
    (small_bundle.folder / "model.json").write_text(json.dumps(content))
    network = read_bundle(small_bundle.folder).detector().eval()
    first = torch.rand(1, len(CHANNELS), 8, 8, 8)
    second = first.clone()
    second[:, len(PAPER_CHANNELS) :] = 0.5
    assert torch.equal(network(first), network(second))
    assert torch.equal(network.extractor.project.weight[:, : len(PAPER_CHANNELS)], weights[FIRST_LAYER])


@pytest.mark.parametrize(
    "given", [[1.0], 3, {"sloop": 1.0}, {"burden": 3}, {"burden": {}}, {"burden": {"mimic": 1.0}}]
)
def test_a_calibration_that_is_none_is_refused(small_bundle, given):
    path = small_bundle.folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": given}))
    with pytest.raises(InputError, match=r"model\.json: not a complete description"):
        read_bundle(small_bundle.folder)


@pytest.mark.parametrize("name", ["pixel_mm", "slice_mm"])
@pytest.mark.parametrize("length", [0, -1, "wide", float("inf")])
def test_an_impossible_voxel_size_is_refused(small_bundle, name, length):
    path = small_bundle.folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: length}))
    with pytest.raises(InputError, match=r"model\.json: not a complete description"):
        read_bundle(small_bundle.folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("th_detection", "a"),
        ("th_discrimination", None),
        ("th_detection", float("nan")),
        ("th_detection", 1.5),
        ("width", "x"),
        ("width", 0),
        ("width", 4.0),
        ("student_width", "x"),
        ("name", None),
        ("modality", 3),
        ("modality", ["ct"]),
        ("cutoffs", None),
        ("cutoffs", {"min_volume_mm3": None}),
        ("cutoffs", {"max_ellipticity": float("nan")}),
        ("calibration", {"slope": "a"}),
        ("calibration", {"slope": None}),
        ("calibration", {"calcium_slopes": 3}),
        ("calibration", {"edge_slopes": {"swi": "a"}}),
        ("calibration", {"burden": {"microbleed_slope": None}}),
        ("metrics", 3),
        ("sha256", None),
        ("name", "\ud800"),
        ("width", True),
        ("width", 10**400),
        ("student_width", 1),
        ("modality", []),
        ("modality", {"swi": None}),
        ("cutoffs", {}),
        ("cutoffs", {"min_volume_mm3": -1, "max_ellipticity": 0.2, "min_skull_distance_mm": 5}),
        ("th_detection", True),
        ("pixel_mm", "1"),
        ("pixel_mm", 1e308),
        ("slice_mm", 1e-9),
        ("calibration", {"calcium_slopes": []}),
        ("calibration", {"calcium_slopes": ""}),
        ("calibration", {"edge_slopes": [["swi", 1.0]]}),
        ("calibration", {"edge_slopes": {"SWI": 1.0}}),
    ],
)
def test_a_description_with_a_wrong_kind_of_value_is_refused_in_one_line(small_bundle, name, value):
    path = small_bundle.folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=r"model\.json: not a complete description") as caught:
        read_bundle(small_bundle.folder)
    assert "\n" not in str(caught.value)


def entries_of(content, above=()):
    """The place of every entry of a description; what the metrics hold is free."""
    for name, value in content.items():
        yield (*above, name)
        if isinstance(value, dict) and name != "metrics":
            yield from entries_of(value, (*above, name))


def test_whatever_entry_of_a_description_is_empty_or_of_a_wrong_kind_is_named_in_one_line(small_bundle):
    slopes = dict.fromkeys(Modality, -1.0)
    calibration = Calibration(calcium_slopes=slopes, edge_slopes=slopes, burden=Burden(1.0))
    described = replace(small_bundle.description, calibration=calibration, student_width=4, pixel_mm=1.0, slice_mm=2.0)
    networks = {"detector": small_bundle.detector(), "student": small_bundle.student()}
    path = write_bundle(small_bundle.folder, described, networks).folder / "model.json"
    good = path.read_text()
    for *above, name in list(entries_of(json.loads(good))):
        for value in ([], [[]], float("nan"), 10**400, "\ud800"):
            content = json.loads(good)
            reduce(getitem, above, content)[name] = value
            path.write_text(json.dumps(content))
            with pytest.raises(InputError) as caught:
                read_bundle(small_bundle.folder)
            assert name in str(caught.value) or name in ("architecture", "input_channels")
            assert "\n" not in str(caught.value)


def test_a_pickle_is_never_loaded(small_bundle, tmp_path):
    bundle = write_bundle(tmp_path / "pickle", small_bundle.description, {"detector": small_bundle.detector()})
    torch.save({"weight": torch.ones(1)}, bundle.folder / "detector.safetensors")
    with pytest.raises(InputError, match="not the weights"):
        bundle.detector()


def test_a_bundle_without_a_teacher_says_so(small_bundle, tmp_path):
    networks = {"detector": small_bundle.detector(), "student": small_bundle.student()}
    with pytest.raises(InputError, match="no teacher"):
        write_bundle(tmp_path / "two", small_bundle.description, networks).teacher()
