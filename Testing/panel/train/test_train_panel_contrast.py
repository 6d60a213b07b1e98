"""The contrast of the scan to label: guessed for each scan, and kept as the user chose it."""

import slicer
from train_steps import add_volume, choose, wait_for_regions

import slicer_host
from training_sets import small_scan

QSM = 3


def contrast(panel) -> str:
    return panel.ui.labelModalityComboBox.currentText


def test_the_contrast_of_the_next_scan_is_guessed_after_a_scan_was_deleted(labeled, marked):
    assert contrast(labeled) == "SWI"
    slicer.mrmlScene.RemoveNode(marked.volume)
    choose(labeled, add_volume(small_scan("sub-02_QSM", 2, 1)[0]))
    assert contrast(labeled) == "QSM, susceptibility map"


def test_the_contrast_that_was_chosen_for_a_scan_is_there_when_the_scan_is_chosen_again(labeled, marked):
    labeled.ui.labelModalityComboBox.setCurrentIndex(QSM)
    choose(labeled, add_volume(small_scan("sub-02_T2starw", 2, 1)[0]))
    assert contrast(labeled) == "T2*-weighted GRE, magnitude"
    choose(labeled, marked.volume, marked.points)
    assert contrast(labeled) == "QSM, susceptibility map"


def test_a_contrast_that_was_taken_back_is_guessed_again(labeled, marked):
    labeled.ui.labelModalityComboBox.setCurrentIndex(QSM)
    labeled.ui.labelModalityComboBox.setCurrentIndex(0)
    choose(labeled, None)
    choose(labeled, marked.volume, marked.points)
    assert contrast(labeled) == "SWI"


def test_a_contrast_that_was_chosen_in_the_other_module_is_taken_over(labeled, marked):
    slicer.util.selectModule("Data")
    marked.volume.SetAttribute("CMMDetect.Modality", "T2STAR")
    slicer.util.selectModule("CMMDetectTrain")
    assert contrast(labeled) == "T2*-weighted GRE, magnitude"


def test_the_contrast_of_a_saved_scene_is_not_guessed_over(labeled, marked, tmp_path):
    labeled.ui.labelModalityComboBox.setCurrentIndex(QSM)
    # as scenes were saved before the contrast stayed with the scan
    marked.volume.RemoveAttribute("CMMDetect.Modality")
    slicer.util.saveScene(str(tmp_path / "saved.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: True)
    slicer.util.loadScene(str(tmp_path / "saved.mrb"))
    slicer_host.wait_until(lambda: labeled.parameters().labelVolume is not None)
    wait_for_regions(labeled)
    assert contrast(labeled) == "QSM, susceptibility map"
