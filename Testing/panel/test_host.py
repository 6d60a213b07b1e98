"""The test host behaves like the application in everything that the panels rely on."""

import importlib
import logging
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from PySide6.QtTest import QTest

import slicer_host

DEMO = Path(__file__).parent / "host_demo" / "HostDemo.py"


@pytest.fixture
def demo(open_module):
    return open_module(DEMO)


@pytest.fixture
def volume(host):
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), np.eye(4), "SWI")


def test_values_go_from_widgets_to_parameters_and_back(demo):
    parameters = demo.logic.getParameterNode()
    demo.ui.thresholdSlider.value = 0.25
    demo.ui.modalityBox.currentIndex = 1
    demo.ui.blindBox.checked = True
    demo.ui.readerLine.text = "AB"
    demo.ui.folderLine.currentPath = "/data"
    demo.ui.countBox.value = 7
    assert (parameters.threshold, parameters.modality.name, parameters.blind) == (0.25, "QSM", True)
    assert (parameters.reader, parameters.folder, parameters.count) == ("AB", Path("/data"), 7)
    parameters.threshold = 0.75
    parameters.method = "paper"
    assert (demo.ui.thresholdSlider.value, demo.ui.methodBox.currentText) == (0.75, "paper")
    assert demo.ui.modalityBox.currentText == "qsm"


def test_a_node_selector_chooses_and_forgets_nodes(demo, volume):
    assert not demo.ui.applyButton.enabled
    demo.ui.inputSelector.setCurrentNode(volume)
    assert demo.ui.applyButton.enabled
    slicer.mrmlScene.RemoveNode(volume)
    assert demo.ui.inputSelector.currentNode() is None
    assert not demo.ui.applyButton.enabled


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("threshold", 1.5, ValueError), ("threshold", "high", TypeError), ("method", "magic", ValueError)],
)
def test_parameters_refuse_wrong_values(demo, name, value, error):
    with pytest.raises(error):
        setattr(demo.logic.getParameterNode(), name, value)


def test_parameters_come_back_with_the_scene(demo, tmp_path):
    demo.logic.getParameterNode().threshold = 0.9
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    assert demo.ui.thresholdSlider.value == 0.5
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert demo.ui.thresholdSlider.value == 0.9


def test_only_a_binding_by_mapping_can_be_ended(demo):
    parameters = demo.logic.getParameterNode()
    assert parameters.connectGui(demo.ui) is None
    other = qt.QLineEdit()
    tag = parameters.connectParametersToGui({"reader": other})
    other.text = "AB"
    assert demo.ui.readerLine.text == "AB"
    parameters.disconnectGui(tag)
    other.text = "CD"
    assert (parameters.reader, demo.ui.readerLine.text) == ("AB", "AB")


def test_clicks_and_keys_reach_the_panel(demo, host, volume):
    demo.ui.inputSelector.setCurrentNode(volume)
    QTest.mouseClick(demo.ui.applyButton, qt.Qt.LeftButton)
    QTest.keyClick(host.main_window, qt.Qt.Key_Y)
    assert demo.applied == [0.5, 0.5]


def test_an_exception_in_a_slot_is_not_lost(demo, host, volume, capsys):
    demo.ui.inputSelector.setCurrentNode(volume)
    demo.ui.readerLine.text = "trouble"
    demo.ui.applyButton.click()
    assert "trouble in a slot" in host.errors[0]
    host.errors.clear()


def test_the_module_runs_its_own_test_and_registers_its_sample(demo):
    import SampleData

    slicer.modules.HostDemoInstance.runTest()
    assert "HostDemo" in [each.sampleName for each in SampleData.SampleDataLogic.registered]


@pytest.mark.parametrize(
    ("replaced", "by", "message"),
    [
        ("QSpinBox", "QMagicBox", "no widget QMagicBox"),
        ('name="toolTip"', 'name="tooltip"', "no property tooltip"),
        ("setMRMLScene(vtkMRMLScene*)", "setScene(vtkMRMLScene*)", "no slot"),
        ("<receiver>inputSelector", "<receiver>outputSelector", "outputSelector, which does not exist"),
        ("ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable", "ctkPathLineEdit::Filter::Dirs", "without its scope"),
    ],
)
def test_a_ui_file_with_a_mistake_is_refused(host, tmp_path, replaced, by, message):
    text = (DEMO.parent / "Resources" / "UI" / "HostDemo.ui").read_text()
    assert replaced in text
    (tmp_path / "wrong.ui").write_text(text.replace(replaced, by))
    with pytest.raises((RuntimeError, AttributeError), match=message):
        slicer.util.loadUI(str(tmp_path / "wrong.ui"))


def test_a_panel_without_scene_connection_is_refused(host, tmp_path):
    text = (DEMO.parent / "Resources" / "UI" / "HostDemo.ui").read_text()
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "HostDemo.py").write_text(DEMO.read_text())
    connections = text[text.index("<connections>") : text.index("</connections>") + len("</connections>")]
    (tmp_path / "Resources" / "UI" / "HostDemo.ui").write_text(text.replace(connections, ""))
    with pytest.raises(AssertionError, match="no scene reached inputSelector"):
        slicer_host.load_module(tmp_path / "HostDemo.py")


def test_message_boxes_are_logged_and_block_nothing(host, caplog):
    with caplog.at_level(logging.INFO):
        slicer.util.confirmYesNoDisplay("Delete the marks?")
    assert "Delete the marks?" in caplog.text


@pytest.mark.parametrize("answer", [True, False])
def test_a_test_can_answer_questions(questions, answer):
    questions.answer = answer
    assert slicer.util.confirmOkCancelDisplay("Install torch?") is answer
    assert questions.asked == ["Install torch?"]


def test_slicer_packaging_exists_only_when_asked_for(host):
    with pytest.raises(ImportError):
        importlib.import_module("slicer.packaging")


def test_packaging_records_what_would_be_installed(packaging):
    import slicer.packaging

    slicer.packaging.pip_ensure(["torch>=2"], requester="CMMDetect")
    assert packaging == [["torch>=2"]]


def test_slice_views_show_the_volume_at_a_fixed_field_of_view(host):
    voxels = np.zeros((20, 40, 40), np.int16)
    voxels[:, 10:30, 10:30] = 100
    ijk_to_ras = np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 1, -10], [0, 0, 0, 1]])
    volume = slicer.util.addVolumeFromArray(voxels, ijk_to_ras, "Cube")
    volume.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    red = slicer.app.layoutManager().sliceWidget("Red").view
    red.resize(200, 200)
    red.zoom_to(40)
    picture = red.picture()
    bright = picture[:, :, 0] > 200
    assert picture.shape == (200, 200, 3)
    assert bright.mean() == pytest.approx(0.25, abs=0.02)


def test_waiting_ends_with_an_error_when_nothing_happens(host):
    with pytest.raises(TimeoutError):
        slicer_host.wait_until(lambda: False, timeout_s=0.05)
