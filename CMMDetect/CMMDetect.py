"""Slicer module "Cerebral Microbleed Detection": run the detector, see every stage, judge the candidates."""

import sys
import tempfile
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.review_records import Origin
from CMMDetectLib.scan import parse_modality
from CMMDetectLib.scene_volume import scan_of
from CMMDetectWidgets.contrast import settleContrast
from CMMDetectWidgets.export_section import ExportSection
from CMMDetectWidgets.input_section import InputSection
from CMMDetectWidgets.inputs import bestMethod, guessModality, jobOptions, maskArray, methodOptions, writeJob
from CMMDetectWidgets.message_in_sight import MessageInSight
from CMMDetectWidgets.panel_height import PanelHeight
from CMMDetectWidgets.parameter_binding import ParameterBinding
from CMMDetectWidgets.parameters import CMMDetectParameterNode
from CMMDetectWidgets.reader_line import ReaderLine
from CMMDetectWidgets.review_follower import ReviewFollower
from CMMDetectWidgets.review_keeper import ReviewKeeper, showDetection, stemOf
from CMMDetectWidgets.review_section import ReviewSection
from CMMDetectWidgets.run_section import RunSection
from CMMDetectWidgets.sample_data import loadSampleScan, registerSampleData
from CMMDetectWidgets.slice_views import SliceViews, later
from CMMDetectWidgets.stages_section import StagesSection
from CMMDetectWidgets.worker_process import runBlocking

SEARCH_TIP = _("Search the scan for microbleeds.")
STOP_TIP = _("Stop the search; nothing is kept of it, unless it is done before it can stop.")


class CMMDetect(ScriptedLoadableModule):
    """What Slicer knows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Cerebral Microbleed Detection")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        parent.dependencies = ["Markups", "Segmentations", "Volumes"]
        parent.contributors = ["CMMDetect contributors"]
        parent.helpText = _(
            "Finds cerebral microbleeds on one susceptibility-weighted scan (SWI, T2*-weighted GRE or QSM), shows what"
            " each stage found, and lets a reader judge, correct and export the candidates. For research only."
            ' See the <a href="https://github.com/CMMDetect/SlicerCMMDetect#readme">manual</a>.'
        )
        parent.acknowledgementText = _(
            "Method: Sundaresan V. et al. (2023), Automated detection of cerebral microbleeds on MR images using"
            " knowledge distillation framework, Front. Neuroinform. 17:1204186."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


class CMMDetectWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: makes its sections and lets them talk to each other."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._updating = False
        self._shown = None

    def setup(self):
        """Build the panel once."""
        ScriptedLoadableModuleWidget.setup(self)
        self._panel = slicer.util.loadUI(self.resourcePath("UI/CMMDetect.ui"))
        self.layout.addWidget(self._panel)
        self.ui = slicer.util.childWidgetVariables(self._panel)
        self._panel.setMRMLScene(slicer.mrmlScene)
        self._height = PanelHeight(self.parent)
        self._message = MessageInSight(self.ui.messageLabel)
        self.logic = CMMDetectLogic()
        masks = ("maskVolume", "maskSegmentation")
        self._binding = ParameterBinding(self.logic, self.ui, self.update, self._takeLoadedScene, masks)
        self._makeSections()
        self.initializeParameterNode()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReady)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartLoad)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneLoaded)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.update()
        # Reload in developer mode builds the panel of a module that is shown already
        if getattr(self.parent, "isEntered", False):
            self.enter()

    def _makeSections(self):
        ui = self.ui
        self.reader = ReaderLine(ui.readerLineEdit)
        self.views = SliceViews(self.parameters)
        self.inputs = InputSection(ui, self._binding)
        self.stages = StagesSection(ui, self.parameters)
        shown = self.stages.shownFilter
        self.review = ReviewSection(self._panel, ui, self.views, shown, self._beginReview, self._onReader)
        self.keeper = ReviewKeeper(later, self.review.takeNote, self._onReviewOpened, self.review.say)
        self.follower = ReviewFollower(self.keeper, self._chosen, self.reader, self.review.say, self.views.showScan)
        self.run = RunSection(ui, self._prepareJob, self.update, self._onRunDone, self._onRunEnded)
        opening = (self.keeper.openFile, self.keeper.openSession)
        self.export = ExportSection(ui, self._currentReview, self.review.takeNote, *opening)
        ui.applyButton.connect("clicked(bool)", self.onApply)

    def cleanup(self):
        """The module is about to be unloaded."""
        self.run.stop()
        self.review.keys.remove()
        self.keeper.close()
        self.views.leave()
        self._height.release()
        self._message.release()
        self._binding.release()
        self.removeObservers()

    def onReload(self):
        """Forget the packages too, so that Reload in developer mode loads them again."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("CMMDetectWidgets", "CMMDetectLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        """The module is shown: its keys become live."""
        self.initializeParameterNode()
        self.inputs.keepContrast()
        self.views.enter()
        self.follower.retry()
        self.update()
        self.review.keys.install()

    def exit(self):
        """Another module is shown: its keys are its own. A running detection goes on."""
        self.review.keys.remove()
        self.review.stopPlacing()
        self.ui.slabButton.setChecked(False)
        self.views.leave()

    def onSceneStartClose(self, _caller=None, _event=None):
        """Whatever belongs to the scene ends with it; decisions are saved already."""
        self.run.stop()
        self.keeper.close()
        self.follower.forget()
        self.inputs.forget()
        self._binding.release()

    def onSceneReady(self, _caller=None, _event=None):
        """The scene was closed."""
        self.inputs.sceneFile.leave()
        self.initializeParameterNode()
        self.update()

    def onSceneStartLoad(self, _caller=None, _event=None):
        """A scene is being added to this one."""
        self._binding.pause()

    def onSceneLoaded(self, _caller=None, _event=None):
        """The scene was loaded; its path and the lists of its nodes are right only after the event."""
        self.inputs.sceneFile.enter()
        later(self._takeLoadedScene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, _caller, _event, node):
        """A volume comes in; its voxels do so after the event."""
        if node.IsA("vtkMRMLScalarVolumeNode") and self.views.entered and not slicer.mrmlScene.IsImporting():
            later(self._takeFirstScan)

    def _takeFirstScan(self):
        if self.views.entered:
            self.initializeParameterNode()

    def _takeLoadedScene(self):
        self.initializeParameterNode()
        self.inputs.keepContrast()
        self.update()

    # ------------------------------------------------------------------ parameters

    def parameters(self):
        """Return the parameter node, None while no scene is open."""
        return self._binding.node

    def initializeParameterNode(self):
        """Connect the widgets to the scene's parameter node, and choose the first scan if none is chosen."""
        self._binding.connect()
        if self.parameters().inputVolume is None:
            self.parameters().inputVolume = firstScan()

    def update(self, _caller=None, _event=None):
        """Update everything from the parameters; called at every change of them."""
        scene = slicer.mrmlScene
        if not self._binding.bound or self._updating or scene.IsImporting() or scene.IsClosing():
            return
        self._updating = True
        try:
            problem = self.inputs.update()
            self._updateRun(problem)
            if not self.run.running:
                self.follower.follow()
            self._updateShown()
            self.export.update()
        finally:
            self._updating = False

    def _updateRun(self, problem):
        button, running = self.ui.applyButton, self.run.running
        button.setText(_("Cancel") if running else _("Apply"))
        button.setEnabled(running or not problem)
        button.setToolTip(STOP_TIP if running else problem or SEARCH_TIP)
        self.ui.inputsCollapsibleButton.setEnabled(not running)
        self.ui.advancedCollapsibleButton.setEnabled(not running)

    def _updateShown(self):
        self.views.updateSlab()
        shown = self.stages.shownFilter()
        if self.keeper.session is not None and shown != self._shown:
            self._shown = shown
            self.keeper.markings.show(shown)
            self.review.refresh()

    # ------------------------------------------------------------------ run

    def onApply(self, _checked=False):
        """Start the detection, or cancel it."""
        if self.run.running:
            self.run.cancel()
        else:
            self.run.start()

    def _prepareJob(self, folder):
        self.inputs.settle()
        problem = self.inputs.update()
        if problem:
            raise InputError(problem)
        parameters = self.parameters()
        scan, output = self.follower.search()
        options = {**jobOptions(parameters), "output": str(output)}
        return writeJob(scan, maskArray(parameters), options, folder)

    def _onRunDone(self, files):
        # what was wrong with the marks is not with the new ones
        self.review.say("")
        writing = self.review.takeNote()
        volume = self.follower.takeRun(files, self.ui.blindCheckBox.checked)
        self.review.goOn(writing)
        # what is said stays when another scan is chosen, or when a blind read ends
        if self.keeper.session.blind:
            text = _("{name} was searched. What was found is hidden as long as the read is blind.")
            return text.format(name=volume.GetName())
        detected = [item for item in self.keeper.session.candidates if item.origin == Origin.DETECTOR]
        found = [len(at_stage(detected, stage)) for stage in Stage]
        return _("Candidates in {name} after stage 1, 2 and 3: {0}, {1}, {2}.").format(*found, name=volume.GetName())

    def _onRunEnded(self, _message):
        self.update()

    # ------------------------------------------------------------------ review

    def _chosen(self):
        parameters = self.parameters()
        return parameters.inputVolume, parameters.modality, self.inputs.folder()

    def _beginReview(self):
        problem = self.inputs.update()
        if problem:
            raise InputError(problem)
        self.follower.begin(self.ui.blindCheckBox.checked)

    def _onReviewOpened(self):
        self.views.markings = self.keeper.markings
        self._shown = self.stages.shownFilter() if self.parameters() is not None else None
        if self.keeper.session is not None:
            self.keeper.markings.show(self._shown)
            self.views.showScan(self.keeper.volume)
            settleContrast(self.keeper.volume, self.keeper.session.scan.modality)
        self.reader.setSession(self.keeper.session)
        self.stages.setSession(self.keeper.session)
        self.review.setSession(self.keeper.session)
        self.export.forget()

    def _onReader(self, name):
        if self.reader.isLent:
            return
        try:
            self.follower.changeReader(name)
        except CMMDetectError:
            self.ui.readerLineEdit.setText(self.keeper.session.reader)
            raise
        self.reader.keep()
        self.update()

    def _currentReview(self):
        keeper = self.keeper
        return None if keeper.session is None else (keeper.session, keeper.scan, keeper.folder)


def firstScan():
    """Return the first volume of the scene that is a scan; a label map is a volume as well, but no scan."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)


class CMMDetectLogic(ScriptedLoadableModuleLogic):
    """Detection for scripts."""

    def getParameterNode(self):
        """Return the panel's settings in this scene."""
        return CMMDetectParameterNode(super().getParameterNode())

    def process(self, volumeNode, modality=None, maskNode=None, outputFolder=None, **options):
        """Detect in a volume of the scene; blocks, and asks nothing.

        Parameters
        ----------
        volumeNode : vtkMRMLScalarVolumeNode
        modality : 'swi', 't2star' or 'qsm'; None reads it from the name or the DICOM header
        maskNode : label map volume on the same voxels; None finds the brain
        outputFolder : where the result files go; None keeps none
        options : others of `CMMDetectLib.job.DetectionJob`, e.g. ``method="classical", th_detection=0.4``
            Without a method the best one runs that can, without a model the one in use, as in the panel.

        Returns
        -------
        Detection
            The candidates, and the point list of each stage in the scene.

        Raises
        ------
        InputError
            If something cannot be used; the message is one line.
        """
        kind = parse_modality(modality) if modality else guessModality(volumeNode)[0]
        if kind is None:
            raise InputError(f"{volumeNode.GetName()}: neither name nor header tells the contrast; give the modality")
        scan = scan_of(volumeNode, kind, stemOf(volumeNode))
        mask = None if maskNode is None else slicer.util.arrayFromVolume(maskNode) != 0
        with tempfile.TemporaryDirectory(prefix="cmmdetect-") as folder:
            output = str(outputFolder or Path(folder) / "results")
            model = options.pop("model", "")
            chosen = methodOptions(options.pop("method", "") or bestMethod(model), model)
            files = runBlocking(writeJob(scan, mask, {**chosen, **options, "output": output}, folder))
            return showDetection(volumeNode, scan, files)


class CMMDetectTest(ScriptedLoadableModuleTest):
    """The self-test that Reload and Test runs: the sample scan, detected by the classical method, reviewed."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run every test."""
        self.setUp()
        self.test_TheSampleScanHasMicrobleeds()

    def test_TheSampleScanHasMicrobleeds(self):
        """Detect in the sample scan, as a script would."""
        volume = loadSampleScan()
        found = CMMDetectLogic().process(volume, method="classical")
        final = at_stage(found.candidates, Stage.FINAL)
        self.assertGreater(len(final), 3)
        self.assertEqual(found.points["final"].GetNumberOfControlPoints(), len(final))
        self.assertEqual(found.points["detection"].GetNumberOfControlPoints(), len(found.candidates))
        self.delayDisplay("Test passed")
