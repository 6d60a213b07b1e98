"""Prepared scans and their truth on disk: their content, when they are updated, and bounded memory."""

import gc
import json
import shutil
import tracemalloc
import weakref

import nibabel as nib
import numpy as np
import pytest

from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib.augmentation import Augmentation
from CMMDetectTrainLib.cases import CATALOG, NOT_JUDGED, CaseArrays, case_of_scan, read_shelf, write_shelf
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.patches import PatchSet, Sampling, draw_epoch, grid_places
from CMMDetectTrainLib.simulation.truth_files import Truth, TruthRecord, write_truth
from small_scans import SHAPE, lesion_positions, stripped_brain
from test_evaluation import AFFINE, lesion_labels, save
from training_cases import SMALL, make_case


@pytest.fixture
def dataset(tmp_path):
    """One scan of a brain without skull, with its three microbleeds."""
    folder = tmp_path / "set"
    save(folder / "sub-01_swi.nii.gz", stripped_brain())
    save(folder / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    return folder


def test_a_scan_is_prepared_as_the_detector_does_it(dataset, tmp_path):
    [entry] = find_scans(dataset)
    case = case_of_scan(entry, tmp_path / "shelves")
    assert (case.name, case.subject, case.modality) == ("sub-01_swi", "sub-01", Modality.SWI)
    assert case.channels.shape == (3, *case.shape)
    assert case.labels.shape == case.mask.shape == case.shape
    assert sorted(np.unique(case.labels)) == [0, 1, 2, 3]
    image, symmetry, with_vessels = np.asarray(case.channels, np.float32)
    lesion = np.asarray(case.labels) > 0
    assert image.min() >= 0 and image.max() <= 1
    assert np.median(image[lesion]) > np.median(image[case.mask]) + 0.3
    assert symmetry[lesion].mean() > 3 * symmetry[case.mask].mean()
    assert not image[~np.asarray(case.mask)].any()
    assert np.array_equal(with_vessels[lesion], image[lesion])


def test_a_scan_is_prepared_once_until_one_of_its_files_changes(dataset, tmp_path, monkeypatch):
    [entry] = find_scans(dataset)
    shelves = tmp_path / "shelves"
    first = case_of_scan(entry, shelves)
    written = (first.shelf / "labels.npy").stat().st_mtime_ns
    assert case_of_scan(entry, shelves) == first
    assert (first.shelf / "labels.npy").stat().st_mtime_ns == written
    labels = lesion_labels()
    labels[labels == 3] = 0
    save(entry.labels, labels)
    again = case_of_scan(entry, shelves)
    assert sorted(np.unique(again.labels)) == [0, 1, 2]
    assert again.origin != first.origin


def test_a_scan_of_a_data_set_that_was_moved_is_not_prepared_again(dataset, tmp_path):
    [entry] = find_scans(dataset)
    first = case_of_scan(entry, tmp_path / "shelves")
    written = (first.shelf / "labels.npy").stat().st_mtime_ns
    moved = tmp_path / "other disk"
    # a copy is as old as the copying
    shutil.copytree(dataset, moved, copy_function=shutil.copyfile)
    shutil.rmtree(dataset)
    [entry] = find_scans(moved)
    # what was trained with it goes on only if its origin is the same
    assert case_of_scan(entry, tmp_path / "shelves").origin == first.origin
    assert (first.shelf / "labels.npy").stat().st_mtime_ns == written


def test_another_brain_extraction_or_mask_makes_another_case(dataset, tmp_path):
    brain = np.zeros(SHAPE, np.uint8)
    brain[20:80, 20:100, 5:40] = 1
    save(dataset / "sub-01_swi_brain.nii.gz", brain)
    [entry] = find_scans(dataset)
    extracted = case_of_scan(entry, tmp_path / "shelves")
    given = case_of_scan(entry, tmp_path / "shelves", given_brain=True)
    assert extracted.origin != given.origin
    assert np.asarray(given.mask).sum() == brain.sum()


def test_what_of_a_microbleed_lies_outside_the_brain_mask_is_not_judged(dataset, tmp_path):
    labels = lesion_labels()
    i = round(float(np.argwhere(labels == 1).mean(axis=0)[0]))
    brain = np.zeros(SHAPE, np.uint8)
    brain[:i, 20:100, 5:45] = 1
    save(dataset / "sub-01_swi_brain.nii.gz", brain)
    [entry] = find_scans(dataset)
    case = case_of_scan(entry, tmp_path / "shelves", given_brain=True)
    seen, mask = np.asarray(case.labels), np.asarray(case.mask)
    assert (seen[mask] == 1).any()
    assert (seen[~mask] == NOT_JUDGED).any()
    assert not (seen[~mask] > 0).any()


def test_a_microbleed_that_the_truth_table_calls_invisible_is_not_judged_and_the_table_is_watched(dataset, tmp_path):
    labels = lesion_labels()

    def write_table(folder, *, visible):
        records = [
            TruthRecord(f"cmb-{n:04d}", "microbleed", "lobar", *position, 1.0, 3.0, 3.0, 9.0, visible or n != 2)
            for n, position in enumerate(lesion_positions(AFFINE).tolist(), 1)
        ]
        folder.mkdir(exist_ok=True)
        write_truth(folder, "sub-01_swi", Truth(tuple(records), labels, np.zeros_like(labels)), AFFINE)

    write_table(dataset, visible=True)
    [entry] = find_scans(dataset)
    seen = np.asarray(case_of_scan(entry, tmp_path / "shelves").labels)
    write_table(tmp_path / "other", visible=False)
    (tmp_path / "other" / "sub-01_swi_truth.tsv").replace(dataset / "sub-01_swi_truth.tsv")
    hidden = np.asarray(case_of_scan(entry, tmp_path / "shelves").labels)
    assert sorted(np.unique(seen)) == [0, 1, 2, 3]
    assert sorted(np.unique(hidden)) == [NOT_JUDGED, 0, 1, 3]
    assert np.array_equal(seen == 2, hidden == NOT_JUDGED)


def test_a_scan_stored_with_other_axes_gives_the_same_case(dataset, tmp_path):
    [entry] = find_scans(dataset)
    case = case_of_scan(entry, tmp_path / "shelves")
    for path in (entry.scan, entry.labels):
        image = nib.load(path)
        turned = nib.as_closest_canonical(image).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    again = case_of_scan(entry, tmp_path / "shelves")
    assert again.shape == case.shape
    assert (np.asarray(again.labels) != 0).sum() == (np.asarray(case.labels) != 0).sum()
    assert np.allclose(again.spacing_mm, case.spacing_mm, atol=1e-4)


def test_a_scan_that_cannot_be_used_is_named(dataset, tmp_path):
    [entry] = find_scans(dataset)
    save(entry.scan, np.zeros(SHAPE, np.float32))
    with pytest.raises(InputError, match=r"sub-01_swi\.nii\.gz") as caught:
        case_of_scan(entry, tmp_path / "shelves")
    assert "\n" not in str(caught.value)


def test_a_shelf_that_was_not_finished_is_none(tmp_path):
    case = make_case(tmp_path)
    source = json.loads((case.shelf / CATALOG).read_text())["source"]
    assert read_shelf(case.shelf, source)
    (case.shelf / CATALOG).write_text("{ cut off")
    assert read_shelf(case.shelf, source) == []


def test_a_shelf_that_is_being_written_again_is_none_until_it_is_whole(tmp_path, monkeypatch):
    case = make_case(tmp_path)
    source = json.loads((case.shelf / CATALOG).read_text())["source"]
    arrays = CaseArrays("b", "b", Modality.SWI, (1, 1, 1), *[np.zeros(1)] * 3)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shelf(case.shelf, [arrays], {"another": "source"})
    assert read_shelf(case.shelf, source) == []
    assert not [path for path in case.shelf.iterdir() if path.name.startswith(".")]


def test_a_shelf_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        make_case(tmp_path / "file")


def test_no_case_keeps_its_arrays(tmp_path):
    case = make_case(tmp_path)
    mapped = case.channels
    base = weakref.ref(mapped.base if mapped.base is not None else mapped)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    del mapped
    gc.collect()
    assert base() is None
    assert not [value for value in vars(case).values() if isinstance(value, np.ndarray)]


def test_memory_does_not_grow_with_the_number_of_scans(tmp_path):
    shape = (64, 64, 32)  # 0.8 MB a case
    peaks = []
    for count in (2, 12):
        cases = [make_case(tmp_path, f"sub-{n:02d}_swi", shape=shape, seed=n) for n in range(count)]
        tracemalloc.start()
        places = [place for case in cases for place in grid_places(case, SMALL)]
        patches = PatchSet(draw_epoch(places, Sampling(Augmentation(factor=12)), 0)[:24])
        assert sum(float(patches[index][0].sum()) != 0 for index in range(len(patches))) == 24
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1.0e6
