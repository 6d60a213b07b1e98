"""Draw the application with the panel in it, for the README and the Extensions Index.

    Slicer --python-script Testing/Slicer/picture.py FILE

Both modules have to be known to that Slicer, and PyTorch to be installed.
"""

import sys
import tempfile
import time

import qt
import slicer

SIZE_PX = (1400, 960)
QUALITY = 85
JUDGED = 4
LONGEST_RUN_S = 600


def main():
    """Detect, judge, draw."""
    window = slicer.util.mainWindow()
    slicer.util.setApplicationLogoVisible(False)
    slicer.util.setDataProbeVisible(False)
    slicer.util.setPythonConsoleVisible(False)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.selectModule("CMMDetect")
    panel = slicer.modules.CMMDetectWidget
    with tempfile.TemporaryDirectory() as results:
        panel.parameters().resultsFolder = results
        slicer.util.loadVolume(panel.resourcePath("SampleData/CMMDetectSample_swi.nii.gz"))
        wait_for(lambda: panel.ui.applyButton.enabled)
        panel.ui.applyButton.click()
        wait_for(lambda: not panel.run.running)
        review(panel)
        window.showNormal()
        window.resize(*SIZE_PX)
        settle()
        picture = window.grab().toImage().convertToFormat(qt.QImage.Format_RGB32)
        assert picture.save(sys.argv[-1], "JPG", QUALITY), sys.argv[-1]
        slicer.mrmlScene.Clear(0)


def review(panel):
    """Judge some, note something, and show the sections of the review."""
    for name in panel.review.listed[:JUDGED]:
        panel.review.choose(name)
        panel.ui.acceptButton.click()
    panel.review.choose(panel.review.listed[0])
    panel.ui.noteLineEdit.setText("also on phase")
    panel.review.takeNote()
    panel.ui.inputsCollapsibleButton.collapsed = True


def wait_for(condition):
    """Let the application work until something is so."""
    end = time.monotonic() + LONGEST_RUN_S
    while not condition():
        assert time.monotonic() < end
        settle()


def settle():
    """Let the application draw."""
    for _step in range(20):
        slicer.app.processEvents()
        time.sleep(0.02)


main()
slicer.app.exit(0)
