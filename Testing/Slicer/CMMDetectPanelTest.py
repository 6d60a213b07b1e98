"""The panel inside the application: detect in the sample scan, judge, save, reopen. Needs no network and no torch."""

import tempfile
import time
import unittest
from pathlib import Path

import slicer

LONGEST_RUN_S = 300
STAGES = ("detection", "discrimination", "final")


class CMMDetectPanelTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        slicer.util.selectModule("CMMDetect")
        self.panel = slicer.modules.CMMDetectWidget
        # first, or the user's own review of the sample scan would be opened
        self.panel.parameters().resultsFolder = self.folder.name
        self.panel.ui.blindCheckBox.setChecked(False)
        self.volume = self.loadSample()
        self.panel.parameters().inputVolume = self.volume

    def tearDown(self):
        slicer.mrmlScene.Clear(0)

    def loadSample(self):
        sample = self.panel.resourcePath("SampleData/CMMDetectSample_swi.nii.gz")
        return slicer.util.loadVolume(sample)

    def waitFor(self, condition):
        end = time.monotonic() + LONGEST_RUN_S
        while not condition() and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.02)
        self.assertTrue(condition())

    def detect(self):
        # the classical method, so that the test means the same with and without torch
        self.panel.ui.methodComboBox.setCurrentIndex(2)
        self.assertTrue(self.panel.ui.applyButton.isEnabled(), self.panel.ui.inputProblemLabel.text)
        self.panel.ui.applyButton.click()
        self.waitFor(lambda: not self.panel.run.running)
        self.assertIsNotNone(self.panel.keeper.session, self.panel.ui.stepLabel.text)

    def judge(self):
        """Accept the first candidate, reject the second, and give their names."""
        names = self.panel.review.listed[:2]
        self.panel.review.choose(names[0])
        self.panel.ui.acceptButton.click()
        self.assertEqual(self.panel.review.current, names[1])
        self.panel.ui.rejectButton.click()
        return names

    def test_DetectJudgeSaveReopen(self):
        self.assertEqual(self.panel.ui.modalityComboBox.currentText, "SWI")
        self.detect()
        accepted, rejected = self.judge()
        scene = str(Path(self.folder.name) / "case.mrb")
        self.assertTrue(slicer.util.saveScene(scene))
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.panel.keeper.session)
        slicer.util.loadScene(scene)
        self.waitFor(lambda: self.panel.keeper.session is not None)
        session = self.panel.keeper.session
        self.assertEqual((session[accepted].verdict, session[rejected].verdict), ("accepted", "rejected"))

    def test_EveryStageIsAPointList(self):
        self.detect()
        counts = [self.panel.keeper.markings.points(stage).GetNumberOfControlPoints() for stage in STAGES]
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertEqual(counts[0], len(self.panel.keeper.session.candidates))

    def test_Cancel(self):
        self.panel.ui.methodComboBox.setCurrentIndex(2)
        self.panel.ui.applyButton.click()
        self.waitFor(lambda: self.panel.ui.progressBar.value > 0)
        self.panel.ui.applyButton.click()
        self.waitFor(lambda: not self.panel.run.running)
        self.assertIsNone(self.panel.keeper.session)

    def test_Export(self):
        self.detect()
        self.judge()
        self.panel.ui.exportButton.click()
        files = {path.name for path in Path(self.folder.name).iterdir()}
        self.assertLess({"CMMDetectSample_swi_reviewed.tsv", "CMMDetectSample_swi_accepted.mrk.json"}, files)
