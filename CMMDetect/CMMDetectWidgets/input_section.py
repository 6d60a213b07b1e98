"""The Inputs and Advanced sections: what is chosen, what that implies, and why it may not work."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError

from .contrast import NOT_YET, Contrast
from .inputs import methodName, methodSettings, problemOf
from .installation import installNetworks, modelFolder, networksReady
from .parameters import LEAST_THRESHOLD, MethodChoice
from .path_field import PathField
from .scene_file import SceneFile

SETTING_WIDGETS = (
    "thDetectionSlider",
    "thDiscriminationSlider",
    "minVolumeSpinBox",
    "maxEllipticitySpinBox",
    "minSkullDistanceSpinBox",
)


class InputSection:
    """Synchronizes those input widgets with the parameter node that `connectGui` cannot.

    Parameters
    ----------
    ui : the panel's widgets
    binding : the `ParameterBinding` of the panel
    """

    def __init__(self, ui, binding):
        self._ui = ui
        self._binding = binding
        self._updating = False
        self._contrast = Contrast("inputVolume", "modality")
        self._settingsOf = None
        self._default = (NOT_YET, None)
        self.sceneFile = SceneFile()
        ui.maskSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onMask)
        ui.maskSegmentComboBox.connect("activated(int)", self._onSegment)
        self._resultsField = PathField(ui.resultsFolderPathLineEdit, self._onResultsFolder)
        self._modelField = PathField(ui.modelPathLineEdit, self._onModel)
        ui.installButton.connect("clicked(bool)", self._onInstall)

    def _parameters(self):
        return self._binding.node

    def folder(self):
        """Results folder; without a choice it stays the same for a scan, even if the scene is saved elsewhere."""
        parameters = self._parameters()
        if parameters.resultsFolder:
            return Path(parameters.resultsFolder).expanduser()
        return self._usualFolder()

    def settle(self):
        """Accept paths that are still being typed."""
        self._resultsField.flush()
        self._modelField.flush()

    def _usualFolder(self):
        volume = _idOf(self._parameters().inputVolume)
        if volume != self._default[0]:
            self._default = (volume, self.sceneFile.defaultFolder())
        return self._default[1]

    def update(self):
        """Update the widgets from the parameter node; return why nothing can be started, "" if it can."""
        self._updating = True
        try:
            parameters = self._parameters()
            self._contrast.update(parameters)
            hint = self._contrast.hint(parameters)
            self._ui.modalityHintLabel.setText(hint)
            # an empty one would still keep the contrast from aligning with the edge of the other fields
            self._ui.modalityHintLabel.setVisible(bool(hint))
            self._updateMask(parameters)
            self._resultsField.show(parameters.resultsFolder or str(self._usualFolder()))
            self._modelField.show(parameters.model)
            self._updateSettings(parameters)
        finally:
            self._updating = False
        problem = problemOf(parameters)
        self._say(parameters, problem)
        return problem

    def forget(self):
        """Forget everything about the scene, which is closing: the next one may reuse the IDs of its nodes."""
        self._contrast.trust()
        self._settingsOf = None
        self._resultsField.drop()
        self._modelField.drop()
        self._default = (NOT_YET, None)

    def keepContrast(self):
        """Keep the contrast, which came with a scene or from the other module, instead of guessing."""
        self._contrast.trust()

    def _updateMask(self, parameters):
        segmentation = parameters.maskSegmentation
        self._ui.maskSelector.setCurrentNode(parameters.maskVolume or segmentation)
        box = self._ui.maskSegmentComboBox
        box.setVisible(segmentation is not None)
        box.clear()
        if segmentation is None:
            return
        held = segmentation.GetSegmentation()
        ids = list(held.GetSegmentIDs())
        for segmentId in ids:
            box.addItem(held.GetSegment(segmentId).GetName(), segmentId)
        if parameters.maskSegment not in ids and ids:
            parameters.maskSegment = ids[0]
        box.setCurrentIndex(ids.index(parameters.maskSegment) if parameters.maskSegment in ids else -1)

    def _updateSettings(self, parameters):
        """Show the method's own thresholds unless the user sets their own."""
        for name in SETTING_WIDGETS:
            getattr(self._ui, name).setEnabled(parameters.ownThresholds)
        method = None if parameters.ownThresholds else (methodName(parameters), modelFolder(parameters.model))
        if method == self._settingsOf:
            return
        self._settingsOf = method
        settings = methodSettings(parameters) if method else None
        if settings is not None:
            parameters.thDetection = max(settings.th_detection, LEAST_THRESHOLD)
            parameters.thDiscrimination = max(settings.th_discrimination, LEAST_THRESHOLD)
            parameters.minVolumeMm3 = settings.cutoffs.min_volume_mm3
            parameters.maxEllipticity = settings.cutoffs.max_ellipticity
            parameters.minSkullDistanceMm = settings.cutoffs.min_skull_distance_mm

    def _say(self, parameters, problem):
        label, classical = self._ui.inputProblemLabel, methodName(parameters) == MethodChoice.CLASSICAL.value
        text = problem
        if not problem and parameters.method == MethodChoice.BEST and classical:
            text = _("The classical method will run: it needs nothing installed, but finds more false candidates.")
        label.setText(text)
        label.setVisible(bool(text))
        self._ui.installButton.setVisible(not networksReady() and parameters.method != MethodChoice.CLASSICAL)

    def _onMask(self, node=None):
        # the selector also loses its node when a scene is closed or added
        if self._updating or not self._binding.bound:
            return
        parameters = self._parameters()
        node = self._ui.maskSelector.currentNode()
        isSegmentation = node is not None and node.IsA("vtkMRMLSegmentationNode")
        parameters.maskVolume = None if isSegmentation else node
        parameters.maskSegmentation = node if isSegmentation else None

    def _onSegment(self, _index=0):
        if not self._updating:
            box = self._ui.maskSegmentComboBox
            self._parameters().maskSegment = box.itemData(box.currentIndex, qt.Qt.UserRole)

    def _onResultsFolder(self, path):
        parameters = self._parameters()
        if parameters is not None:
            parameters.resultsFolder = "" if path == str(self._usualFolder()) else path
            # an emptied field shows the usual folder again
            self._resultsField.show(path or str(self._usualFolder()))

    def _onModel(self, path):
        if self._parameters() is not None:
            self._parameters().model = path

    def _onInstall(self, _checked=False):
        try:
            installNetworks()
        except (RuntimeError, CMMDetectError) as error:
            self.update()
            self._ui.inputProblemLabel.setText(str(error))
            self._ui.inputProblemLabel.setVisible(True)
            return
        self.update()


def _idOf(node):
    return node.GetID() if node is not None else None
