"""Requirements on every module of the extension, checked in the test host."""

from pathlib import Path

import pytest
import qt
import slicer

import slicer_host

ROOT = Path(__file__).resolve().parents[2]
MODULES = [ROOT / name / f"{name}.py" for name in ("CMMDetect", "CMMDetectTrain")]
INPUTS = {
    "QCheckBox", "QComboBox", "QDoubleSpinBox", "QLineEdit", "QPushButton", "QRadioButton", "QSlider", "QSpinBox",
    "QTableWidget", "QTextEdit", "QToolButton", "ctkDirectoryButton", "ctkPathLineEdit", "ctkSliderWidget",
    "qMRMLNodeComboBox", "qMRMLSegmentSelectorWidget",
}  # fmt: skip


@pytest.fixture(params=[path for path in MODULES if path.is_file()], ids=lambda path: path.stem)
def panel(request, open_module):
    return open_module(request.param)


def test_a_panel_describes_itself(panel):
    described = getattr(slicer.modules, panel.moduleName.lower())
    assert described.title
    assert described.categories
    assert described.helpText
    assert not described.icon.isNull()


def test_every_input_of_a_panel_explains_itself(panel):
    widgets = [each for each in vars(panel.ui).values() if each.className() in INPUTS]
    silent = [each.name for each in widgets if not each.toolTip and not each.name.startswith("qt_")]
    assert widgets
    assert not silent


def test_a_panel_survives_leaving_closing_the_scene_and_coming_back(panel):
    panel.exit()
    slicer.mrmlScene.Clear(0)
    panel.enter()
    slicer.mrmlScene.Clear(0)
    assert panel.logic.getParameterNode() is not None


def test_a_panel_fits_a_narrow_dock(panel):
    widths = {each.name: each.minimumSizeHint().width() for each in panel.parent.findChildren(qt.QWidget)}
    assert panel.parent.minimumSizeHint().width() <= 500, sorted(widths.items(), key=lambda each: -each[1])[:5]


def test_a_long_message_does_not_make_a_panel_wider(panel):
    labels = [each for each in panel.parent.findChildren(qt.QLabel) if each.wordWrap and not each.text.startswith("<")]
    before = panel.parent.minimumSizeHint().width()
    for label in labels:
        label.setText("This is what a label may have to say. " * 20)
        label.setVisible(True)
    assert len(labels) > 4
    assert panel.parent.minimumSizeHint().width() == before


def test_a_panel_that_is_shown_again_has_room_for_a_longer_text(panel):
    slicer.util.selectModule("")
    slicer.util.selectModule(panel.moduleName)
    slicer_host.wait_until(lambda: True)
    labels = [each for each in panel.parent.findChildren(qt.QLabel) if each.wordWrap and each.isVisible()]
    for label in labels:
        label.setText("This is what a label may have to say. " * 20)
    assert labels
    slicer_host.wait_until(lambda: all(each.height >= each.heightForWidth(each.width) for each in labels))


def test_room_that_a_panel_does_not_need_is_below_it(panel):
    sections = [each for each in vars(panel.ui).values() if each.className() == "ctkCollapsibleButton"]
    sections[0].parent().setMinimumHeight(3000)
    slicer_host.wait_until(lambda: panel.parent.height >= 3000)
    assert len(sections) >= 5
    for section in sections:
        needed = max(section.sizeHint().height(), section.heightForWidth(section.width))
        assert section.height <= needed, section.name
