"""Several scans and patients in one session are kept apart."""

import json

import numpy as np
import pytest
import slicer
from detect_steps import accept, add_scan, click, take_run, type_reader

import slicer_host
from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.review_file import read_review
from CMMDetectLib.scene_nodes import REGIONS, ROLES, find_hub, owned


def contrast(panel):
    return panel.parameters().modality.name, panel.ui.modalityHintLabel.text


def test_two_patients_whose_scans_have_the_same_name_keep_their_own_files(reviewed, small_scan, tmp_path, other_files):
    results = tmp_path / "results"
    reviewed.ui.exportCollapsibleButton.collapsed = False
    accepted = accept(reviewed, 2)
    click(reviewed.ui.exportButton)
    before = {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
    slicer.mrmlScene.Clear(0)
    other = add_scan(small_scan, "sub-01_swi", mirrored=True)
    type_reader(reviewed, "Ada")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(results)
    assert reviewed.keeper.session is None
    take_run(reviewed, other, other_files)
    accept(reviewed, 1)
    click(reviewed.ui.exportButton)
    assert {name: (results / name).read_bytes() for name in before} == before
    assert {item.id for item in read_review(results / "sub-01_swi_review.json").accepted} == set(accepted)
    stem = reviewed.keeper.session.scan.name
    assert stem.startswith("sub-01_swi-") and (results / f"{stem}_reviewed.tsv").is_file()
    job = json.loads(reviewed._prepareJob(tmp_path).read_text())
    assert job["scan"].endswith(f"{stem}.nii")


def test_a_review_is_found_again_when_the_one_of_the_same_name_is_gone(reviewed, small_scan, tmp_path, other_files):
    results = tmp_path / "results"
    slicer.mrmlScene.Clear(0)
    for again in (False, True):
        other = add_scan(small_scan, "sub-01_swi", mirrored=True)
        reviewed.enter()
        reviewed.ui.resultsFolderPathLineEdit.currentPath = str(results)
        if not again:
            take_run(reviewed, other, other_files)
            accepted = accept(reviewed, 1)
            slicer.mrmlScene.Clear(0)
            (results / "sub-01_swi_review.json").unlink()
    assert [item.id for item in reviewed.keeper.session.accepted] == accepted


def test_what_a_run_found_goes_where_it_was_sent_whatever_is_chosen_when_it_ends(
    panel, volume, small_scan, found_files, tmp_path
):
    panel._prepareJob(tmp_path)
    box = panel.ui.modalityComboBox
    panel.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_QSM", mirrored=True))
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "elsewhere")
    panel._onRunDone(found_files)
    assert panel.keeper.volume is volume and panel.keeper.folder == tmp_path / "results"
    assert panel.keeper.session.scan.modality == "swi" and "QSM" in box.currentText
    assert not (tmp_path / "elsewhere").exists()


def test_the_contrast_is_guessed_anew_after_a_scan_was_taken_away(panel, volume, small_scan):
    assert contrast(panel) == ("SWI", "from the name")
    slicer.mrmlScene.RemoveNode(volume)
    panel.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_QSM"))
    assert contrast(panel) == ("QSM", "from the name")


def test_the_contrast_that_a_user_chose_for_a_scan_comes_back_with_it(panel, volume, small_scan, tmp_path):
    selector, box = panel.ui.inputVolumeSelector, panel.ui.modalityComboBox
    other = add_scan(small_scan, "sub-02_QSM")
    selector.setCurrentNode(other)
    box.setCurrentIndex(box.findText("SWI"))
    assert contrast(panel) == ("SWI", "")
    selector.setCurrentNode(volume)
    selector.setCurrentNode(other)
    assert contrast(panel) == ("SWI", "")
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    selector.setCurrentNode(slicer.util.getNode("sub-01_swi"))
    selector.setCurrentNode(slicer.util.getNode("sub-02_QSM"))
    assert contrast(panel) == ("SWI", "")


def test_a_label_map_is_not_taken_for_the_first_scan(host, small_scan, detect_panel):
    labels = (small_scan.array > 0).T.astype(np.uint8)
    arguments = np.ascontiguousarray(labels), small_scan.affine, "labels"
    slicer.util.addVolumeFromArray(*arguments, nodeClassName="vtkMRMLLabelMapVolumeNode")
    detect_panel.enter()
    assert not detect_panel.ui.applyButton.enabled
    volume = add_scan(small_scan, "sub-01_swi")
    detect_panel.enter()
    assert detect_panel.parameters().inputVolume is volume


def test_the_counts_beside_the_stages_are_those_of_the_last_run(reviewed, volume, found_files):
    from dataclasses import replace

    before = reviewed.ui.finalCheckBox.text
    session = reviewed.keeper.session
    moved = [replace(item, stage=Stage.FINAL, rejected_by=None) for item in session.candidates]
    assert len(at_stage(moved, Stage.FINAL)) > len(at_stage(session.candidates, Stage.FINAL))
    session.take_run(moved, session.run)
    assert reviewed.ui.finalCheckBox.text == f"Final ({len(moved)})" != before


@pytest.mark.parametrize(("threshold", "shown"), [(0.004, 0.004), (0.0002, 0.001)])
def test_a_model_with_a_very_low_threshold_can_be_used(panel, monkeypatch, threshold, shown):
    from dataclasses import replace

    from CMMDetectLib.classical_method import ClassicalMethod
    from CMMDetectWidgets import input_section

    low = replace(ClassicalMethod().settings, th_discrimination=threshold)
    monkeypatch.setattr(input_section, "methodSettings", lambda _parameters: low)
    panel.inputs.forget()
    panel.update()
    assert panel.ui.thDiscriminationSlider.value == pytest.approx(shown)
    assert panel.ui.applyButton.enabled


def test_another_segmentation_does_not_become_the_brain_mask_where_the_one_in_use_is_removed(panel, small_scan):
    mask = np.ascontiguousarray((small_scan.array > 0).T).astype(np.uint8)
    label = "vtkMRMLLabelMapVolumeNode"
    nodes = [
        slicer.util.addVolumeFromArray(mask, small_scan.affine, name, nodeClassName=label)
        for name in ("other", "brain")
    ]
    panel.ui.maskSelector.setCurrentNode(nodes[1])
    assert panel.parameters().maskVolume is nodes[1]
    slicer.mrmlScene.RemoveNode(nodes[1])
    assert panel.parameters().maskVolume is None
    assert panel.ui.maskSelector.currentNode() is None


def shown_lists(volume):
    hub = find_hub(volume)
    return [owned(hub, role).GetDisplayNode().GetVisibility() for role in (*ROLES, REGIONS)]


def test_the_markings_of_one_patient_are_not_seen_in_the_scan_of_another(reviewed, volume, small_scan):
    other = add_scan(small_scan, "sub-02_swi", mirrored=True)
    owned(find_hub(volume), ROLES[0]).GetDisplayNode().SetVisibility(False)
    assert shown_lists(volume) == [0, 1, 1, 1, 1]
    reviewed.ui.inputVolumeSelector.setCurrentNode(other)
    assert shown_lists(volume) == [0, 0, 0, 0, 0]
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    # what the user had hidden stays so
    assert shown_lists(volume) == [0, 1, 1, 1, 1]
