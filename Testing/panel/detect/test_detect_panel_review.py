"""Review: a reader goes through the candidates with keys and clicks."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from detect_steps import (
    centers_of_views,
    click_row,
    key_of,
    place_point,
    row_of,
    saved,
    shown_volumes,
    take_run,
    verdict,
)
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_records import Certainty, Mimic, position_of
from CMMDetectLib.scene_nodes import REGIONS, find_hub, owned
from CMMDetectWidgets.candidate_table import MIMICS
from CMMDetectWidgets.shortcuts import SHORTCUTS, legend, tooltip


def test_the_table_lists_the_most_likely_first_and_a_row_centers_all_views(reviewed):
    order = reviewed.review.listed
    assert len(order) == len(reviewed.keeper.session.candidates) > 3
    likely = [float(row_of(reviewed, name)[2]) for name in order]
    assert likely == sorted(likely, reverse=True)
    click_row(reviewed, 1)
    assert reviewed.review.current == order[1]
    place = position_of(reviewed.keeper.session[order[1]])
    centers = centers_of_views()
    assert len(centers) >= 3
    np.testing.assert_allclose(centers, [place] * len(centers), atol=1e-3)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        assert min(node.GetFieldOfView()[:2]) == pytest.approx(60)


def test_keys_judge_and_go_on(reviewed, press):
    first, second, third = reviewed.review.listed[:3]
    click_row(reviewed, 0)
    press(qt.Qt.Key_Y)
    assert (verdict(reviewed, first), reviewed.review.current) == ("accepted", second)
    press(qt.Qt.Key_N)
    assert (verdict(reviewed, second), reviewed.review.current) == ("rejected", third)
    press(qt.Qt.Key_Comma)
    press(qt.Qt.Key_Comma)
    assert reviewed.review.current == first
    press(qt.Qt.Key_U)
    assert (verdict(reviewed, first), reviewed.review.current) == ("undecided", first)
    press(qt.Qt.Key_Period)
    assert reviewed.review.current == second
    assert row_of(reviewed, second)[4] == "rejected"
    assert [item.verdict for item in saved(reviewed).candidates if item.id == second] == ["rejected"]


def test_progress_is_told_and_next_undecided_wraps(reviewed, press):
    order = reviewed.review.listed
    total = len(order)
    assert reviewed.ui.reviewProgressLabel.text == f"0 of {total}, 0 accepted"
    click_row(reviewed, total - 1)
    press(qt.Qt.Key_Y)
    assert reviewed.ui.reviewProgressLabel.text == f"1 of {total}, 1 accepted"
    assert reviewed.review.current == order[0]
    press(key_of("nextUndecided"))
    assert reviewed.review.current == order[1]


def test_undo_and_redo_follow_what_they_change(reviewed, press):
    first, second = reviewed.review.listed[:2]
    click_row(reviewed, 0)
    press(qt.Qt.Key_Y)
    press(qt.Qt.Key_N)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert (verdict(reviewed, second), reviewed.review.current) == ("undecided", second)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert (verdict(reviewed, first), reviewed.review.current) == ("undecided", first)
    assert not reviewed.ui.undoButton.isEnabled()
    press(qt.Qt.Key_Y, qt.Qt.ControlModifier)
    assert verdict(reviewed, first) == "accepted"


def test_certainty_mimic_and_note(reviewed):
    name = reviewed.review.listed[0]
    click_row(reviewed, 0)
    reviewed.ui.certaintyComboBox.setCurrentIndex(2)
    reviewed.ui.certaintyComboBox.activated.emit(2)
    assert reviewed.keeper.session[name].certainty == Certainty.POSSIBLE
    assert row_of(reviewed, name)[5] == "possible"
    reviewed.ui.mimicComboBox.setCurrentIndex(1)
    reviewed.ui.mimicComboBox.activated.emit(1)
    judged = reviewed.keeper.session[name]
    assert (judged.verdict, judged.certainty, judged.mimic) == ("rejected", None, Mimic.VESSEL)
    reviewed.ui.noteLineEdit.setFocus()
    QTest.keyClicks(reviewed.ui.noteLineEdit, "yes, no, why")
    QTest.keyClick(reviewed.ui.noteLineEdit, qt.Qt.Key_Return)
    assert reviewed.keeper.session[name].note == "yes, no, why"
    assert row_of(reviewed, name)[6] == "yes, no, why"
    assert verdict(reviewed, name) == "rejected"


@pytest.mark.parametrize("field", ["readerLineEdit", "noteLineEdit", "minDetectionSlider", "slabSpinBox"])
def test_the_keys_work_again_once_return_ends_a_line(reviewed, field):
    widget = getattr(reviewed.ui, field)
    line = next(iter(slicer.util.findChildren(widget, className="QLineEdit")), widget)
    line.setFocus()
    QTest.keyClick(line, qt.Qt.Key_Return)
    assert qt.QApplication.focusWidget() is reviewed.ui.candidateTable


@pytest.mark.parametrize("text", ["Nothing to review yet.", "1234 of 5678, 1234 accepted"])
def test_the_section_keeps_its_least_width_whatever_is_counted(reviewed, text):
    section = reviewed.ui.reviewContents
    before = section.minimumSizeHint().width()
    reviewed.ui.reviewProgressLabel.setText(text)
    slicer_host.wait_until(lambda: True)
    assert section.minimumSizeHint().width() == before


def test_a_message_below_the_visible_part_of_the_panel_is_scrolled_to(reviewed, host):
    host.main_window.resize(900, 400)
    slicer_host.wait_until(lambda: reviewed.ui.messageLabel.visibleRegion().isEmpty())
    reviewed.review.say("Not saved: no room on the disk")
    slicer_host.wait_until(lambda: not reviewed.ui.messageLabel.visibleRegion().isEmpty())


def test_every_mimic_has_words(panel):
    assert list(MIMICS) == list(Mimic)
    box = panel.ui.mimicComboBox
    assert [box.itemText(index) for index in range(box.count)] == ["not said", *MIMICS.values()]
    assert len(set(MIMICS.values())) == len(Mimic)


def test_a_mimic_that_another_program_named_is_listed_as_it_is(reviewed):
    session = reviewed.keeper.session
    first, *others = session.candidates
    session.take_run([replace(first, verdict="rejected", mimic="tumor"), *others])
    reviewed.review.choose(first.id)
    assert row_of(reviewed, first.id)[5] == "tumor"
    assert reviewed.ui.mimicComboBox.currentText == ""


def test_what_stage_3_rejected_can_be_rescued(reviewed):
    session = reviewed.keeper.session
    lost = next(item for item in session.candidates if item.rejected_by not in (None, "discrimination"))
    reviewed.review.choose(lost.id)
    QTest.mouseClick(reviewed.ui.acceptButton, qt.Qt.LeftButton)
    assert session[lost.id].verdict == "accepted"
    assert session[lost.id].rejected_by == lost.rejected_by
    reviewed.ui.detectionCheckBox.setChecked(False)
    assert lost.id in reviewed.review.listed


def test_stages_and_probabilities_hide_and_show_at_once(reviewed):
    session = reviewed.keeper.session
    reviewed.ui.detectionCheckBox.setChecked(False)
    finals = {item.id for item in session.candidates if item.stage == Stage.FINAL}
    assert set(reviewed.review.listed) == finals
    assert f"({len(finals)})" in reviewed.ui.finalCheckBox.text
    reviewed.ui.minDiscriminationSlider.value = 0.9
    likely = {item.id for item in session.candidates if item.id in finals and item.p_discrimination >= 0.9}
    assert set(reviewed.review.listed) == likely < finals
    node = reviewed.keeper.markings.points("final")
    shown = [node.GetNthControlPointVisibility(index) for index in range(node.GetNumberOfControlPoints())]
    assert sum(shown) == len(likely)
    reviewed.ui.minDiscriminationSlider.value = 0.0
    assert set(reviewed.review.listed) == finals


def test_markings_hide_while_the_key_is_held(reviewed, host):
    display = reviewed.keeper.markings.points("final").GetDisplayNode()
    reviewed.ui.candidateTable.setFocus()
    QTest.keyPress(host.main_window, qt.Qt.Key_H)
    assert not display.GetVisibility()
    QTest.keyRelease(qt.QApplication.focusWidget() or reviewed.ui.CMMDetect, qt.Qt.Key_H)
    assert display.GetVisibility()
    QTest.mousePress(reviewed.ui.hideButton, qt.Qt.LeftButton)
    assert not display.GetVisibility()
    QTest.mouseRelease(reviewed.ui.hideButton, qt.Qt.LeftButton)
    assert display.GetVisibility()


def test_the_slab_follows_its_key_and_thickness(reviewed, press):
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    press(qt.Qt.Key_S)
    assert all(node.GetSlabReconstructionEnabled() for node in views)
    assert {node.GetSlabReconstructionThickness() for node in views} == {10.0}
    reviewed.ui.slabSpinBox.value = 6
    assert {node.GetSlabReconstructionThickness() for node in views} == {6.0}
    press(qt.Qt.Key_S)
    assert not any(node.GetSlabReconstructionEnabled() for node in views)


def test_a_slab_and_a_hidden_list_of_the_users_own_survive_entering_and_leaving_the_module(reviewed, press):
    view = slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]
    display = reviewed.keeper.markings.points("final").GetDisplayNode()
    slicer.util.selectModule("Data")
    view.SetSlabReconstructionEnabled(True)
    view.SetSlabReconstructionThickness(20)
    display.SetVisibility(False)
    for _visit in range(2):
        slicer.util.selectModule("CMMDetect")
        reviewed.update()
        assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
        assert not display.GetVisibility()
        press(key_of("slab"))
        assert view.GetSlabReconstructionThickness() == 10
        slicer.util.selectModule("Data")
        assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
        assert not display.GetVisibility()
    view.SetSlabReconstructionEnabled(False)


def test_a_slab_is_not_saved_with_the_scene(reviewed, press, tmp_path):
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    press(key_of("slab"))
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    assert all(node.GetSlabReconstructionEnabled() for node in nodes)
    press(key_of("slab"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    assert not any(node.GetSlabReconstructionEnabled() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def test_a_slab_of_the_users_own_stays_while_the_contrast_is_unknown(reviewed, press):
    view = slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]
    view.SetSlabReconstructionEnabled(True)
    view.SetSlabReconstructionThickness(20)
    press(key_of("slab"))
    assert view.GetSlabReconstructionThickness() == 10
    reviewed.ui.modalityComboBox.setCurrentIndex(0)
    assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
    reviewed.ui.modalityComboBox.setCurrentIndex(1)
    assert view.GetSlabReconstructionThickness() == 10
    view.SetSlabReconstructionEnabled(False)


def test_the_slab_goes_on_in_the_next_scene_and_what_was_set_in_the_last_one_does_not(reviewed, small_scan):
    slicer.util.getNodesByClass("vtkMRMLSliceNode")[0].SetSlabReconstructionEnabled(True)
    QTest.mouseClick(reviewed.ui.slabButton, qt.Qt.LeftButton)
    slicer.mrmlScene.Clear(0)
    slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "sub-02_swi")
    reviewed.enter()
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    assert reviewed.ui.slabButton.isChecked() and views
    assert all(node.GetSlabReconstructionEnabled() for node in views)
    QTest.mouseClick(reviewed.ui.slabButton, qt.Qt.LeftButton)
    assert not any(node.GetSlabReconstructionEnabled() for node in views)


def test_keys_live_only_while_the_module_is_open(reviewed, press):
    name = reviewed.review.listed[0]
    click_row(reviewed, 0)
    press(qt.Qt.Key_S)
    slicer.util.selectModule("Data")
    assert not any(node.GetSlabReconstructionEnabled() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))
    press(qt.Qt.Key_Y)
    assert verdict(reviewed, name) == "undecided"
    slicer.util.selectModule("CMMDetect")
    press(qt.Qt.Key_Y)
    assert verdict(reviewed, name) == "accepted"


def test_one_table_names_the_keys_everywhere(panel):
    for name, (key, text) in SHORTCUTS.items():
        assert f"<b>{key}</b>" in legend() and text in legend()
        assert key in tooltip(name)
    assert panel.ui.acceptButton.toolTip == tooltip("accept")
    assert not panel.ui.keysLabel.isVisibleTo(panel.parent)
    QTest.mouseClick(panel.ui.keysButton, qt.Qt.LeftButton)
    assert panel.ui.keysLabel.isVisibleTo(panel.parent)


def test_the_keys_of_the_application_come_back(detect_panel, host):
    action = qt.QAction("Undo", host.main_window)
    action.setObjectName("EditUndoAction")
    action.setShortcut(qt.QKeySequence("Ctrl+Z"))
    slicer.util.selectModule("Data")
    slicer.util.selectModule("CMMDetect")
    assert action.shortcut.toString() == ""
    slicer.util.selectModule("Data")
    assert action.shortcut.toString() == "Ctrl+Z"
    action.setParent(None)


def test_a_scan_that_is_chosen_is_shown_though_it_has_no_review(reviewed, volume, other_scan):
    assert shown_volumes() == {volume.GetID()}
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    assert reviewed.keeper.session is None
    assert shown_volumes() == {other_scan.GetID()}


def test_a_blind_read_comes_before_the_detector(panel, volume, found_files, small_scan, press):
    panel.ui.blindCheckBox.setChecked(True)
    take_run(panel, volume, found_files)
    assert panel.review.listed == []
    assert panel.ui.finalCheckBox.text == "Final"
    assert "hidden as long as the read is blind" in (said := panel._onRunDone(found_files))
    assert volume.GetName() in said  # it is still there when the candidates are shown or another scan is chosen
    nodes = [panel.keeper.markings.points(stage.value) for stage in Stage]
    assert [node.GetNumberOfControlPoints() for node in nodes] == [0, 0, 0]
    assert panel.ui.blindLabel.isVisibleTo(panel.parent)
    press(qt.Qt.Key_A)
    place_point(small_scan.lesions[0] + (0.5, 0, 0))
    press(qt.Qt.Key_A)
    place_point(small_scan.lesions[0] + (0, 0, 25))
    assert len(panel.review.listed) == 2
    QTest.mouseClick(panel.ui.revealButton, qt.Qt.LeftButton)
    assert "1 of your points" in panel.ui.messageLabel.text
    assert not panel.ui.blindLabel.isVisibleTo(panel.parent)
    accepted = panel.keeper.session.accepted
    assert sorted(item.origin for item in accepted) == ["detector", "reader"]
    panel.ui.blindCheckBox.setChecked(True)
    assert "seen already" in panel.ui.messageLabel.text
    assert not panel.ui.blindCheckBox.checked


def outlined(volume):
    """Names of the regions that are outlined in the scan."""
    node = owned(find_hub(volume), REGIONS)
    if node is None or not node.GetDisplayNode().GetVisibility():
        return []
    return list(node.GetSegmentation().GetSegmentIDs())


@pytest.fixture
def kept_files(found_files, tmp_path):
    """The files of a run, in the results folder as the panel has them written."""
    copies = {kind: tmp_path / "results" / Path(path).name for kind, path in found_files.items()}
    for kind, path in copies.items():
        shutil.copy(found_files[kind], path)
    return {kind: str(path) for kind, path in copies.items()}


def test_outlines_appear_with_the_candidates_of_a_blind_read_though_another_scan_was_looked_at_meanwhile(
    panel, volume, other_scan, kept_files
):
    panel.ui.blindCheckBox.setChecked(True)
    take_run(panel, volume, kept_files)
    panel.ui.inputVolumeSelector.setCurrentNode(other_scan)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert outlined(volume) == [] and panel.keeper.session.blind
    QTest.mouseClick(panel.ui.revealButton, qt.Qt.LeftButton)
    assert len(outlined(volume)) >= 3


@pytest.mark.parametrize("newer_run", [False, True])
def test_a_review_from_its_file_has_the_outlines_of_its_own_run_only(
    panel, volume, small_scan, kept_files, tmp_path, newer_run
):
    take_run(panel, volume, kept_files)
    slicer.mrmlScene.Clear(0)
    if newer_run:
        path = Path(kept_files["provenance"])
        path.write_text(path.read_text().replace('"created": "2', '"created": "3'))
    volume = slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "sub-01_swi")
    panel.enter()
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert panel.keeper.session.candidates
    assert bool(outlined(volume)) is not newer_run


def test_a_reader_can_mark_before_any_detection(panel, small_scan, press, volume, found_files):
    panel.ui.blindCheckBox.setChecked(True)
    press(qt.Qt.Key_A)
    assert panel.ui.reviewProgressLabel.text == "No candidate is listed."
    place_point(small_scan.lesions[1])
    assert panel.ui.reviewProgressLabel.text == "1 of 1, 1 accepted"
    assert [item.id for item in panel.keeper.session.visible] == ["cmb-r001"]
    assert not panel.ui.revealButton.isEnabled() and "press Apply" in panel.ui.blindLabel.text
    take_run(panel, volume, found_files)
    assert panel.ui.revealButton.isEnabled() and "press Apply" not in panel.ui.blindLabel.text
    assert [item.id for item in panel.keeper.session.visible] == ["cmb-r001"]
    QTest.mouseClick(panel.ui.revealButton, qt.Qt.LeftButton)
    assert [item.origin for item in panel.keeper.session.accepted] == ["detector"]


def luminance(color: qt.QColor) -> float:
    """Relative luminance, as the accessibility guidelines for the web (WCAG 2) define it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.getRgbF()[:3]]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(("base", "alternate"), [("#ffffff", "#f0f0f0"), ("#2a2a2a", "#424242")])
def test_verdicts_can_be_read_on_a_light_and_on_a_dark_background(reviewed, base, alternate):
    table = reviewed.ui.candidateTable
    palette = qt.QPalette(table.palette)
    palette.setColor(qt.QPalette.Base, qt.QColor(base))
    palette.setColor(qt.QPalette.AlternateBase, qt.QColor(alternate))
    table.setPalette(palette)
    accept, reject = reviewed.review.listed[:2]
    for name, button in ((accept, reviewed.ui.acceptButton), (reject, reviewed.ui.rejectButton)):
        reviewed.review.choose(name)
        button.click()
    for name in (accept, reject):
        written = luminance(table.item(reviewed.review.listed.index(name), 4).foreground().color())
        for background in (base, alternate):
            darker, lighter = sorted((written, luminance(qt.QColor(background))))
            assert (lighter + 0.05) / (darker + 0.05) > 4.5


def test_columns_fit_larger_letters_that_were_chosen_while_the_panel_was_open(reviewed):
    table = reviewed.ui.candidateTable
    letters = table.font
    letters.setPointSizeF(1.5 * letters.pointSizeF())
    table.setFont(letters)
    reviewed.ui.finalCheckBox.click()
    reviewed.ui.finalCheckBox.click()
    name = reviewed.review.listed[0]
    needed = qt.QFontMetrics(table.font).horizontalAdvance(name.removeprefix("cmb-"))
    assert table.columnWidth(0) > needed and table.rowHeight(0) > qt.QFontMetrics(table.font).height()
