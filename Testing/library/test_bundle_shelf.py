"""The folder of the user's own models."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from CMMDetectLib.bundle import ModelBundle, read_bundle
from CMMDetectLib.bundle_choice import CHOICE_FILE, chosen_bundle
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectTrainLib.bundle_shelf import BundleShelf
from CMMDetectTrainLib.training_job import TrainingJob, work_folder, write_job


@pytest.fixture
def shelf(tmp_path: Path) -> BundleShelf:
    return BundleShelf(tmp_path / "models")


def names(shelf: BundleShelf) -> list[str]:
    return [bundle.name for bundle in shelf.bundles()]


def test_an_imported_bundle_is_listed_and_can_be_used(shelf, small_bundle):
    assert shelf.bundles() == []
    folder = shelf.add(small_bundle.folder)
    assert folder == shelf.folder / "test"
    (listed,) = shelf.bundles()
    assert listed.description == small_bundle.description and listed.problem is None and not listed.in_use
    assert read_bundle(folder).sha256 == small_bundle.sha256


def test_the_same_bundle_twice_gets_a_number_and_takes_no_place(shelf, small_bundle):
    shelf.add(small_bundle.folder)
    shelf.add(small_bundle.folder)
    assert names(shelf) == ["test", "test-2"]


@pytest.mark.parametrize("target", ["given.zip", "given"])
def test_an_exported_bundle_comes_back_whole_and_without_the_names_of_subjects(shelf, small_bundle, tmp_path, target):
    folder = shelf.add(small_bundle.folder)
    (folder / "training.json").write_text('{"validation_subjects": ["sub-Miller"]}')
    shelf.export("test", tmp_path / target)
    other = BundleShelf(tmp_path / "other")
    back = other.add(tmp_path / target)
    assert read_bundle(back).sha256 == small_bundle.sha256
    assert not (back / "training.json").exists()
    with pytest.raises(InputError, match="exists already"):
        shelf.export("test", tmp_path / target)


def test_the_chosen_bundle_is_the_one_that_the_detector_finds(shelf, small_bundle):
    assert shelf.in_use is None
    shelf.add(small_bundle.folder)
    shelf.choose("test")
    assert chosen_bundle(shelf.folder) == shelf.folder / "test" == shelf.in_use
    assert shelf.bundles()[0].in_use
    shelf.choose(None)
    assert chosen_bundle(shelf.folder) is None


def test_removing_the_bundle_in_use_brings_the_detectors_own_back(shelf, small_bundle):
    folder = shelf.add(small_bundle.folder)
    work_folder(folder).mkdir()
    (work_folder(folder) / "checkpoint.pt").write_bytes(bytes(1000))
    size = shelf.bundles()[0].size_bytes
    assert size > 1000 + sum(path.stat().st_size for path in folder.iterdir()) - 1
    shelf.choose("test")
    shelf.remove("test")
    assert shelf.in_use is None and names(shelf) == []
    assert not work_folder(folder).exists()


@pytest.mark.parametrize("role", ["start", "old"])
def test_a_bundle_that_an_unfinished_training_needs_is_not_removed(shelf, small_bundle, role):
    folder = shelf.add(small_bundle.folder)
    job = TrainingJob(dataset="data", output=str(shelf.folder / "site"), **{role: str(folder)})
    write_job(job)
    with pytest.raises(InputError, match="test: the training of site needs it; finish or discard that first"):
        shelf.remove("test")
    shutil.rmtree(job.work)
    shelf.remove("test")
    assert names(shelf) == []


@pytest.mark.parametrize("content", ["", "[]", '{"bundle": 3}', '{"bundle": "../../etc"}', '{"bundle": "gone"}'])
def test_a_choice_that_cannot_be_used_is_none(shelf, small_bundle, content):
    shelf.add(small_bundle.folder)
    (shelf.folder / CHOICE_FILE).write_text(content)
    assert shelf.in_use is None


def test_a_damaged_bundle_is_listed_with_its_problem_and_can_be_removed_but_not_chosen(shelf, small_bundle):
    folder = shelf.add(small_bundle.folder)
    with (folder / "detector.safetensors").open("ab") as stream:
        stream.write(b"!")
    assert "wrong checksum" in (shelf.bundles()[0].problem or "")
    with pytest.raises(InputError, match="wrong checksum"):
        shelf.choose("test")
    shelf.remove("test")
    assert names(shelf) == []


def test_what_is_no_bundle_is_refused_and_leaves_nothing(shelf, small_bundle, tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    damaged = tmp_path / "damaged"
    shutil.copytree(small_bundle.folder, damaged)
    (damaged / "student.safetensors").write_bytes(b"")
    shutil.make_archive(str(tmp_path / "damaged"), "zip", damaged)
    for source, problem in (
        ("nowhere.zip", "not a .zip file"),
        ("nowhere", "no model bundle"),
        ("text.zip", "not a .zip file"),
        ("empty.zip", r"empty\.zip: no model bundle"),
        ("damaged", "wrong checksum"),
        ("damaged.zip", r"damaged\.zip/student\.safetensors: was changed or damaged"),
    ):
        with pytest.raises(InputError, match=problem):
            shelf.add(tmp_path / source)
    assert not list(shelf.folder.iterdir())


def test_an_archive_writes_nothing_outside_the_shelf(shelf, small_bundle, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../../evil.safetensors", "x")
        for path in small_bundle.folder.iterdir():
            archive.write(path, f"deep/er/{path.name}")
    shelf.add(tmp_path / "evil.zip")
    assert not list(tmp_path.rglob("evil.safetensors"))


def test_a_bundle_that_names_files_elsewhere_is_refused(shelf, small_bundle, tmp_path):
    with_path = small_bundle.folder / "model.json"
    content = json.loads(with_path.read_text())
    content["sha256"]["../bundle/teacher.safetensors"] = content["sha256"].pop("teacher.safetensors")
    with_path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="names files outside the bundle"):
        shelf.add(small_bundle.folder)


def test_only_what_lies_on_the_shelf_is_removed(shelf, small_bundle: ModelBundle):
    shelf.add(small_bundle.folder)
    for name in ("..", "../bundle", str(small_bundle.folder), "other"):
        with pytest.raises(InputError, match="no such model"):
            shelf.remove(name)
    assert small_bundle.folder.exists()


def test_a_shelf_that_cannot_be_written_is_named(small_bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot write here"):
        BundleShelf(tmp_path / "file").add(small_bundle.folder)


def test_a_new_bundle_gets_a_name_that_every_disk_takes(shelf):
    assert shelf.path_for("our: model/2").name == "our-model-2"
    work_folder(shelf.folder / "site").mkdir(parents=True)
    assert shelf.path_for("site").name == "site-2"
    assert shelf.path_for("???").name == "model"
