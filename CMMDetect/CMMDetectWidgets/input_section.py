"""The Inputs and Advanced sections: what is chosen, what it means, and why it may not work."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError

from .inputs import guessModality, methodName, methodSettings, problemOf
from .installation import installNetworks, networksReady
from .parameters import MethodChoice, ModalityChoice
from .review_keeper import defaultFolder

SETTING_WIDGETS = (
    "thDetectionSlider",
    "thDiscriminationSlider",
    "minVolumeSpinBox",
    "maxEllipticitySpinBox",
    "minSkullDistanceSpinBox",
)


class InputSection:
    """Keeps the input widgets and the parameter node together, where `connectGui` cannot.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : gives the parameter node
    """

    def __init__(self, ui, parameters):
        self._ui = ui
        self._parameters = parameters
        self._updating = False
        self._guessedFor = None
        self._settingsOf = None
        ui.maskSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onMask)
        ui.maskSegmentComboBox.connect("activated(int)", self._onSegment)
        ui.resultsFolderPathLineEdit.connect("currentPathChanged(QString)", self._onResultsFolder)
        ui.modelPathLineEdit.connect("currentPathChanged(QString)", self._onModel)
        ui.installButton.connect("clicked(bool)", self._onInstall)

    def folder(self):
        """Where results go."""
        chosen = self._parameters().resultsFolder
        return Path(chosen).expanduser() if chosen else defaultFolder()

    def update(self):
        """Bring the widgets to the parameter node, and give the reason why nothing can be started ("" if it can)."""
        self._updating = True
        try:
            parameters = self._parameters()
            self._guess(parameters)
            self._updateMask(parameters)
            self._ui.resultsFolderPathLineEdit.currentPath = parameters.resultsFolder or str(defaultFolder())
            self._ui.modelPathLineEdit.currentPath = parameters.model
            self._updateSettings(parameters)
        finally:
            self._updating = False
        problem = problemOf(parameters)
        self._say(parameters, problem)
        return problem

    def forget(self):
        """The scene closes: a volume of the next one may have the ID of one of this."""
        self._guessedFor = None

    def _guess(self, parameters):
        """Guess the contrast once for each volume; what the user chose then stays."""
        volume = parameters.inputVolume
        name = volume.GetID() if volume else None
        if name == self._guessedFor:
            return
        first, self._guessedFor = self._guessedFor is None, name
        found, where = guessModality(volume) if volume else (None, "")
        # a contrast that was saved with the scene is not guessed again
        if volume is not None and not (first and parameters.modality != ModalityChoice.UNKNOWN):
            parameters.modality = ModalityChoice(found)
        self._ui.modalityHintLabel.setText(where)

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
        """Show the method's own thresholds unless the user has their own."""
        for name in SETTING_WIDGETS:
            getattr(self._ui, name).setEnabled(parameters.ownThresholds)
        method = None if parameters.ownThresholds else (methodName(parameters), parameters.model)
        if method == self._settingsOf:
            return
        self._settingsOf = method
        settings = methodSettings(parameters) if method else None
        if settings is not None:
            parameters.thDetection = settings.th_detection
            parameters.thDiscrimination = settings.th_discrimination
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
        if self._updating:
            return
        node = self._ui.maskSelector.currentNode()
        parameters = self._parameters()
        isSegmentation = node is not None and node.IsA("vtkMRMLSegmentationNode")
        parameters.maskVolume = None if isSegmentation else node
        parameters.maskSegmentation = node if isSegmentation else None

    def _onSegment(self, _index=0):
        if not self._updating:
            box = self._ui.maskSegmentComboBox
            self._parameters().maskSegment = box.itemData(box.currentIndex, qt.Qt.UserRole)

    def _onResultsFolder(self, _path=""):
        path = self._ui.resultsFolderPathLineEdit.currentPath
        if not self._updating:
            self._parameters().resultsFolder = "" if path == str(defaultFolder()) else path

    def _onModel(self, _path=""):
        if not self._updating:
            self._parameters().model = self._ui.modelPathLineEdit.currentPath

    def _onInstall(self, _checked=False):
        try:
            installNetworks()
        except (RuntimeError, CMMDetectError) as error:
            self.update()
            self._ui.inputProblemLabel.setText(str(error))
            self._ui.inputProblemLabel.setVisible(True)
            return
        self.update()
