"""`qt` and `ctk` of the test host behave as in PythonQt."""

import ctk
import pytest
import qt
import slicer

import slicer_host

pytestmark = pytest.mark.usefixtures("host")


class Listener:
    """Takes at most one argument, as the handlers of the panels."""

    def __init__(self):
        self.heard = []

    def on_change(self, value="nothing"):
        self.heard.append(value)


def test_properties_are_attributes_and_their_getters_are_gone():
    label = qt.QLabel("a")
    label.text = "b"
    assert label.text == "b"
    with pytest.raises(TypeError):
        label.text()
    assert qt.QTableWidget(2, 3).columnCount == 3
    assert not qt.QPushButton().isChecked()


@pytest.mark.parametrize("make", [lambda: qt.QLabel(), lambda: qt.QTableWidgetItem("a"), lambda: ctk.ctkCheckBox()])
def test_objects_of_cpp_take_no_new_attributes(make):
    with pytest.raises(AttributeError, match="candidate"):
        make().candidate = "cmb-0001"


def test_classes_derived_in_python_take_new_attributes():
    class Table(qt.QTableWidget):
        def __init__(self, parent=None):
            qt.QTableWidget.__init__(self, parent)
            self.candidate = "cmb-0001"

    assert Table().candidate == "cmb-0001"


def test_the_signature_decides_what_a_handler_hears():
    button, listener = qt.QPushButton(), Listener()
    button.connect("clicked()", listener.on_change)
    button.click()
    button.disconnect("clicked()", listener.on_change)
    button.connect("clicked(bool)", listener.on_change)
    button.click()
    assert listener.heard == ["nothing", False]


def test_an_unknown_signal_is_an_error():
    with pytest.raises(AttributeError, match="no signal selected"):
        qt.QPushButton().connect("selected(bool)", print)


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property"])
def test_what_only_pyside_has_is_missing(name):
    assert not hasattr(qt, name)


def test_single_shot_stays_the_static_method():
    timer = qt.QTimer()
    timer.setSingleShot(True)
    assert timer.isSingleShot()
    heard = []
    qt.QTimer.singleShot(0, lambda: heard.append(1))
    slicer_host.wait_until(lambda: heard)


def test_a_process_gives_its_output_as_bytes():
    process, output = qt.QProcess(), []
    process.connect("readyReadStandardOutput()", lambda: output.append(process.readAllStandardOutput().data()))
    ended = Listener()
    process.connect("finished(int,QProcess::ExitStatus)", ended.on_change)
    process.start("PythonSlicer", ["-c", "print('worked')"])
    slicer_host.wait_until(lambda: ended.heard)
    assert (b"".join(output), ended.heard) == (b"worked\n", [0])


def test_settings_stay_in_a_temporary_folder():
    settings = qt.QSettings()
    settings.setValue("CMMDetect/Reader", "AB")
    assert slicer.util.settingsValue("CMMDetect/Reader", "") == "AB"
    assert settings.fileName().startswith(slicer.app.temporaryPath)


def test_a_collapsed_section_hides_its_contents():
    section, heard = ctk.ctkCollapsibleButton("Advanced"), Listener()
    label = qt.QLabel("inside")
    qt.QFormLayout(section).addRow(label)
    section.connect("contentsCollapsed(bool)", heard.on_change)
    section.collapsed = True
    assert heard.heard == [True]
    section.show()
    assert not label.visible
    section.close()


def test_a_slider_keeps_its_value_within_its_range():
    slider, heard = ctk.ctkSliderWidget(), Listener()
    slider.connect("valueChanged(double)", heard.on_change)
    slider.decimals, slider.singleStep, slider.maximum = 2, 0.05, 1.0
    slider.value = 0.35
    slider.value = 7.0
    assert heard.heard == [0.35, 1.0]


@pytest.mark.parametrize("none_was_set", [False, True])
def test_an_empty_node_selector_takes_the_first_node_unless_none_was_set(host, none_was_set):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLTextNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    if none_was_set:
        selector.setCurrentNode(None)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "Note")
    assert (selector.currentNode() is node) != none_was_set
    selector.setMRMLScene(None)


def test_a_node_selector_follows_renaming_and_filters_by_attribute(host):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLTextNode"]
    selector.addAttribute("vtkMRMLTextNode", "CMMDetect.Session")
    selector.setMRMLScene(slicer.mrmlScene)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "Other")
    made = selector.addNode()
    assert selector.nodeCount() == 0 or selector.currentNode() is made
    made.SetAttribute("CMMDetect.Session", "1")
    selector.setMRMLScene(slicer.mrmlScene)
    assert [selector.nodeFromIndex(index) for index in range(selector.nodeCount())] == [made]
    selector.setMRMLScene(None)


def test_a_segment_selector_lists_the_segments(host):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Brain")
    segment_id = node.GetSegmentation().AddEmptySegment("mask", "Mask")
    selector, heard = slicer.qMRMLSegmentSelectorWidget(), Listener()
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentSegmentChanged(QString)", heard.on_change)
    selector.setCurrentNode(node)
    assert (selector.currentSegmentID(), heard.heard[-1]) == (segment_id, "mask")
    selector.setMRMLScene(None)
