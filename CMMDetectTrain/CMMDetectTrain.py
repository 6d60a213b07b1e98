"""Slicer module "Cerebral Microbleed Training": from annotated coordinates to a better model."""

import sys
import tempfile
from pathlib import Path

import numpy as np
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

from CMMDetectLib.region_growing import GrowthSettings
from CMMDetectLib.scan import parse_modality
from CMMDetectLib.scene_volume import scan_of
from CMMDetectTrainLib.annotations import grow_annotations
from CMMDetectTrainLib.bundle_shelf import BundleShelf
from CMMDetectTrainLib.case_list import NewCase, add_case, read_cases
from CMMDetectTrainLib.label_map import label_map
from CMMDetectTrainWidgets.dataset_section import DatasetSection
from CMMDetectTrainWidgets.labels_section import LabelsSection
from CMMDetectTrainWidgets.models_section import ModelsSection
from CMMDetectTrainWidgets.parameters import CMMDetectTrainParameterNode
from CMMDetectTrainWidgets.point_lists import pointsOf, sourceOf
from CMMDetectTrainWidgets.training_section import TrainingSection
from CMMDetectWidgets.models_folder import modelsFolder, setModelsFolder
from CMMDetectWidgets.panel_height import PanelHeight
from CMMDetectWidgets.parameter_binding import ParameterBinding
from CMMDetectWidgets.path_field import PathField
from CMMDetectWidgets.review_keeper import stemOf
from CMMDetectWidgets.slice_views import later

PACKAGES = ("CMMDetectTrainWidgets", "CMMDetectTrainLib", "CMMDetectWidgets", "CMMDetectLib")


class CMMDetectTrain(ScriptedLoadableModule):
    """Module metadata."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Cerebral Microbleed Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        parent.dependencies = ["CMMDetect", "Markups", "Segmentations", "Volumes"]
        parent.contributors = ["CMMDetect contributors"]
        parent.helpText = _(
            "Makes the model of CMMDetect better with a site's own scans: grows labels at marked microbleeds, collects"
            " them in a data set, trains, and says on subjects that were held back whether the new model is better."
            " Nothing leaves this computer. For research only."
            ' See the <a href="https://github.com/CMMDetect/SlicerCMMDetect#readme">manual</a>.'
        )
        parent.acknowledgementText = _(
            "Method: Sundaresan V. et al. (2023), Automated detection of cerebral microbleeds on MR images using"
            " knowledge distillation framework, Front. Neuroinform. 17:1204186."
        )


def shelf():
    """Return the shelf of the user's own models."""
    return BundleShelf(modelsFolder())


class CMMDetectTrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: creates its sections and connects them."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._updating = False

    def setup(self):
        """Build the panel once."""
        ScriptedLoadableModuleWidget.setup(self)
        self._panel = slicer.util.loadUI(self.resourcePath("UI/CMMDetectTrain.ui"))
        self.layout.addWidget(self._panel)
        self.ui = slicer.util.childWidgetVariables(self._panel)
        self._panel.setMRMLScene(slicer.mrmlScene)
        self._height = PanelHeight(self.parent)
        self.logic = CMMDetectTrainLogic()
        self._binding = ParameterBinding(self.logic, self.ui, self.update, self._takeLoadedScene, ("points",))
        self._makeSections()
        self.initializeParameterNode()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReady)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartLoad)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneLoaded)
        self.refresh()
        # Reload in developer mode builds the panel of a module that is shown already
        if getattr(self.parent, "isEntered", False):
            self.enter()

    def _makeSections(self):
        ui = self.ui
        self.dataset = DatasetSection(ui, self.update, self._onOpenCase)
        self.labels = LabelsSection(ui, self.parameters, self.dataset)
        self.training = TrainingSection(ui, self.parameters, self.dataset, shelf, self._onTrained)
        self.models = ModelsSection(ui, shelf, self._onModelsChanged)
        self._modelsPath = PathField(ui.modelsPathLineEdit, self._onModelsFolder)
        self._modelsPath.show(str(modelsFolder()))

    def cleanup(self):
        """Called before the module is unloaded: a training is paused."""
        self.settle()
        self.training.close()
        self.labels.forget()
        self._height.release()
        self._binding.release()
        self.removeObservers()

    def onReload(self):
        """Reload the packages, too, in developer mode."""
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        """Called when the module is shown: data set, models and contrast may have changed meanwhile."""
        self.initializeParameterNode()
        self.labels.enter()
        self.refresh()

    def exit(self):
        """Called when another module is shown. A running training continues."""
        self.labels.leave()
        self.settle()

    def settle(self):
        """Accept folders that are still being typed."""
        self.dataset.settle()
        self._modelsPath.flush()

    def onSceneStartClose(self, _caller=None, _event=None):
        """Called before the scene is closed: labels belong to the scene, data set and training do not."""
        self.labels.forget()
        self._binding.release()

    def onSceneReady(self, _caller=None, _event=None):
        """Called after the scene was closed."""
        self.initializeParameterNode()
        self.update()

    def onSceneStartLoad(self, _caller=None, _event=None):
        """Called before a scene is imported."""
        self._binding.pause()

    def onSceneLoaded(self, _caller=None, _event=None):
        """Called when a scene was imported; the lists of its nodes are complete only after the event."""
        later(self._takeLoadedScene)

    def _takeLoadedScene(self):
        self.initializeParameterNode()
        self.labels.keepContrast()
        self.parameters().Modified()
        self.update()

    # ------------------------------------------------------------------ parameters

    def parameters(self):
        """Return the parameter node, None while the scene is closed."""
        return self._binding.node

    def initializeParameterNode(self):
        """Connect the widgets to the scene's parameter node."""
        self._binding.connect()

    def refresh(self):
        """Read data set and models again."""
        self.dataset.refresh()
        self.training.refresh()
        self.models.refresh()

    def update(self, _caller=None, _event=None):
        """Update everything from the parameters; called at every change of them."""
        scene = slicer.mrmlScene
        if not self._binding.bound or self._updating or scene.IsImporting() or scene.IsClosing():
            return
        self._updating = True
        try:
            self.labels.update()
            self.training.update()
        finally:
            self._updating = False

    def _onOpenCase(self, volume, case, mask):
        self.labels.open(volume, case, mask)
        self.ui.labelsCollapsibleButton.collapsed = False

    def _onTrained(self, folder):
        self.models.refresh(folder)
        self.ui.resultCollapsibleButton.collapsed = False

    def _onModelsChanged(self):
        self.training.refresh()

    def _onModelsFolder(self, path):
        setModelsFolder(path)
        self.training.refresh()
        self.models.refresh()


class CMMDetectTrainLogic(ScriptedLoadableModuleLogic):
    """Labels for scripts, which start trainings with ``cmmdetect train``."""

    def getParameterNode(self):
        """Return the panel's settings in this scene."""
        return CMMDetectTrainParameterNode(super().getParameterNode())

    def process(self, volumeNode, modality, dataset, pointsNode=None, subject="", reader="", tolerance=1.0):
        """Grow the regions at points and save the scan as a training case, without asking anything.

        Parameters
        ----------
        volumeNode : vtkMRMLScalarVolumeNode
        modality : 'swi', 't2star' or 'qsm'
        dataset : folder of the data set
        pointsNode : vtkMRMLMarkupsFiducialNode; None for a scan without microbleeds
        subject, reader : names; "" takes the subject from the name of the scan
        tolerance : of the region growing, see `GrowthSettings`

        Returns
        -------
        TrainingCase

        Raises
        ------
        InputError
            If an input cannot be used; the message is one line.
        """
        scan = scan_of(volumeNode, parse_modality(modality), stemOf(volumeNode))
        points = pointsOf(pointsNode)
        annotations = grow_annotations(points, scan, GrowthSettings(tolerance=tolerance))
        new = NewCase(
            scan=scan,
            labels=label_map(scan, annotations.lesions),
            points_mm=[point.position_mm for point in points],
            points=sourceOf(pointsNode),
            subject=subject,
            reader=reader,
            note="; ".join(annotations.problems),
        )
        return add_case(Path(dataset), new)


class CMMDetectTrainTest(ScriptedLoadableModuleTest):
    """The self-test of Reload and Test: points become a training case. Needs no torch."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run every test."""
        self.setUp()
        self.test_PointsBecomeACase()

    def test_PointsBecomeACase(self):
        """Label the darkest voxel of a small scan, as a script would."""
        k, j, i = np.ogrid[:16, :44, :40]
        array = 100.0 - 80.0 * (((i - 20) ** 2 + (j - 22) ** 2 + (k - 8) ** 2) <= 4)
        volume = slicer.util.addVolumeFromArray(array + (i + j + k) % 3, name="sub-01_swi")
        points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        position = matrix.MultiplyPoint((20, 22, 8, 1))[:3]
        points.AddControlPointWorld(vtk.vtkVector3d(*position))
        with tempfile.TemporaryDirectory() as folder:
            case = CMMDetectTrainLogic().process(volume, "swi", folder, points)
            self.assertEqual(case.microbleeds, 1)
            self.assertEqual([listed.name for listed in read_cases(Path(folder))], ["sub-01_swi"])
        self.delayDisplay("The test passed.")
