"""Where the points of a scan come from: lists in the scene, files and reviews."""

import numpy as np
import pytest
import slicer
from train_steps import add_points, add_volume, choose, click, rows_of, segments, wait_for_regions

import slicer_host
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_file import identify, to_text, write_review
from CMMDetectLib.review_records import position_of
from CMMDetectLib.scan import write_image
from CMMDetectLib.scene import ReviewScene
from CMMDetectTrainWidgets.point_lists import pointsOf
from training_sets import small_scan


def test_points_that_are_deleted_are_not_replaced_by_those_of_another_list(panel, marked):
    others = add_points(marked.positions[:1], "reader B")
    for chosen in (add_points(marked.positions, "reader C"), others):
        choose(panel, marked.volume, chosen)
        slicer.mrmlScene.RemoveNode(chosen)
        wait_for_regions(panel)
        assert panel.ui.pointsSelector.currentNode() is None and panel.parameters().points is None
        assert not rows_of(panel.ui.lesionTable)


def test_a_script_that_removes_the_settings_leaves_a_panel_that_goes_on(panel, marked):
    choose(panel, marked.volume, marked.points)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetSingletonNode("CMMDetectTrain", "vtkMRMLScriptedModuleNode"))
    slicer_host.wait_until(lambda: panel.parameters() is not None)
    assert slicer.mrmlScene.IsNodePresent(panel.parameters().parameterNode)
    choose(panel, marked.volume, marked.points)
    wait_for_regions(panel)
    assert rows_of(panel.ui.lesionTable)


def point_lists():
    return slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")


def test_a_review_that_is_taken_again_brings_its_own_list_up_to_date(panel, marked, session):
    shown = ReviewScene(session, marked.volume)
    before = len(point_lists())
    choose(panel, marked.volume)
    for accepted in (["cmb-0001"], ["cmb-0001", "cmb-0002"], []):
        for candidate in session.candidates:
            session.judge(candidate.id, "accepted" if candidate.id in accepted else "rejected")
        click(panel.ui.reviewButton)
        wait_for_regions(panel)
        assert [row[0] for row in rows_of(panel.ui.lesionTable)] == accepted
        assert len(point_lists()) == before + 1
    shown.detach()


def test_a_file_that_is_read_again_fills_its_own_list_and_none_of_another_scan(panel, marked, folders):
    path = folders.other / "reader B.csv"
    choose(panel, marked.volume, marked.points)
    panel.ui.pointsPathLineEdit.currentPath = str(path)
    lists = []
    for count in (1, 2):
        lines = [f"m{n},{x},{y},{z}" for n, (x, y, z) in enumerate(marked.positions[:count])]
        path.write_text("\n".join(["name,x,y,z", *lines]))
        click(panel.ui.readPointsButton)
        wait_for_regions(panel)
        assert len(rows_of(panel.ui.lesionTable)) == count
        lists.append(panel.parameters().points)
    assert lists[0] is lists[1] is not marked.points
    other, _, _ = small_scan("sub-02_swi", 2, 1)
    choose(panel, add_volume(other))
    click(panel.ui.readPointsButton)
    assert panel.parameters().points is not lists[0]


def test_points_are_read_from_a_file(panel, marked, folders):
    path = folders.other / "reader B.csv"
    lines = [f"m{n},{x},{y},{z}" for n, (x, y, z) in enumerate(marked.positions)]
    path.write_text("\n".join(["name,x,y,z", *lines, lines[0]]))
    choose(panel, marked.volume)
    panel.ui.pointsPathLineEdit.currentPath = str(path)
    click(panel.ui.readPointsButton)
    wait_for_regions(panel)
    assert segments(panel) == ["m0", "m1"]
    assert "is the same point as m0" in panel.ui.lesionMessageLabel.text
    click(panel.ui.saveCaseButton)
    assert rows_of(panel.ui.caseTable)[0][4] == "reader B.csv"


def test_a_mask_on_another_grid_is_refused_in_one_line(panel, marked, folders):
    write_image(folders.other / "mask.nii.gz", np.ones((4, 5, 6), np.uint8), np.eye(4))
    choose(panel, marked.volume)
    panel.ui.pointsPathLineEdit.currentPath = str(folders.other / "mask.nii.gz")
    click(panel.ui.readPointsButton)
    text = panel.ui.lesionMessageLabel.text
    assert "mask.nii.gz" in text and "grid" in text and "\n" not in text
    assert panel.parameters().points is None


@pytest.fixture
def session(marked):
    """A review of the scan: one accepted by the reader, one rejected."""
    items = [
        Candidate(
            id=f"cmb-{number:04d}",
            x=float(x),
            y=float(y),
            z=float(z),
            stage=Stage.FINAL,
            p_detection=0.9,
            p_discrimination=0.9,
            volume_mm3=40.0,
            diameter_mm=4.0,
            ellipticity=0.1,
            skull_distance_mm=20.0,
        )
        for number, (x, y, z) in enumerate(marked.positions, 1)
    ]
    found = ReviewSession(identify(marked.scan), items)
    found.set_reader("Bea")
    found.judge("cmb-0001", "accepted")
    found.judge("cmb-0002", "rejected")
    return found


def test_a_saved_review_gives_the_accepted_and_the_readers_name(panel, marked, folders, session):
    path = folders.other / "sub-01_swi_review.json"
    write_review(path, session)
    choose(panel, marked.volume)
    panel.ui.pointsPathLineEdit.currentPath = str(path)
    click(panel.ui.readPointsButton)
    wait_for_regions(panel)
    assert segments(panel) == ["cmb-0001"] and panel.ui.caseReaderLineEdit.text == "Bea"
    other, _, _ = small_scan("sub-02_swi", 1, 5)
    choose(panel, add_volume(other))
    click(panel.ui.readPointsButton)
    assert "the review of another scan" in panel.ui.lesionMessageLabel.text


def test_the_points_of_a_saved_review_lie_on_a_scan_that_was_moved_since(panel, marked, folders, session):
    path = folders.other / "sub-01_swi_review.json"
    write_review(path, session)
    before = position_of(session["cmb-0001"])
    x, y, z = marked.volume.GetOrigin()
    marked.volume.SetOrigin(x + 20, y, z)
    choose(panel, marked.volume)
    panel.ui.pointsPathLineEdit.currentPath = str(path)
    click(panel.ui.readPointsButton)
    (point,) = pointsOf(panel.ui.pointsSelector.currentNode())
    np.testing.assert_allclose(point.position_mm, np.add(before, (20, 0, 0)), atol=1e-6)


def test_the_review_in_the_scene_gives_its_accepted(panel, marked, session):
    shown = ReviewScene(session, marked.volume)
    assert to_text(session)
    choose(panel, marked.volume)
    assert panel.ui.reviewButton.isVisibleTo(panel.parent)
    click(panel.ui.reviewButton)
    wait_for_regions(panel)
    assert segments(panel) == ["cmb-0001"]
    shown.detach()


def test_reading_points_says_what_has_to_be_chosen_before(panel, marked):
    assert panel.ui.readPointsButton.toolTip == "Choose the scan and its contrast first."
    choose(panel, marked.volume)
    assert "Read the points" in panel.ui.readPointsButton.toolTip
    click(panel.ui.readPointsButton)
    assert panel.ui.lesionMessageLabel.text == "Choose the file with the points first."
