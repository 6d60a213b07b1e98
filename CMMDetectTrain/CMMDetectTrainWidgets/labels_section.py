"""The Labels section: from points to regions, and on into the data set."""

import qt
import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.region_growing import GrowthFlag, GrowthSettings
from CMMDetectLib.scene import saved_review, scan_of
from CMMDetectLib.scene_views import jump_to
from CMMDetectTrainLib.annotations import grow_annotations
from CMMDetectTrainLib.case_list import CaseStatus, NewCase, case_name
from CMMDetectTrainLib.label_map import label_map
from CMMDetectWidgets.parameters import ModalityChoice
from CMMDetectWidgets.review_keeper import stemOf

from .contrast import Contrast
from .label_nodes import LabelNodes
from .point_lists import loadPoints, loadReview, pointsOf, readerOf, sourceOf
from .simple_table import SimpleTable

READER_SETTING = "CMMDetect/Reader"
WAIT_MS = 120
"""A slider that is dragged, or points that are loaded, are answered once."""
COLUMNS = (_("Point"), _("Diameter"), _("Volume"), _("Moved"), _("Check"))
TIPS = (
    _("Name of the point"),
    _("Diameter of the sphere with the region's volume"),
    _("Volume of the region"),
    _("How far the darkest (QSM: brightest) place of the lesion is from the point"),
    _("What to look at before the case is saved"),
)
WARNINGS = {
    GrowthFlag.VESSEL: _("followed a vessel and was cut back"),
    GrowthFlag.CAPPED: _("reaches the largest radius, may be larger"),
}


class LabelsSection:
    """Grows the regions of a scan's points, shows them, and saves them as a case.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : gives the parameter node
    dataset : the `DatasetSection` that cases go into
    """

    def __init__(self, ui, parameters, dataset):
        self._ui = ui
        self._parameters = parameters
        self._dataset = dataset
        self._nodes = LabelNodes(self._onCorrected)
        self._table = SimpleTable(ui.lesionTable, COLUMNS, TIPS, self._onLesion)
        self._scan = (None, None)
        self._annotations = None
        self._grownFor = None
        self._contrast = Contrast()
        self._problems = []
        self._observed = []
        self.corrected = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.connect("timeout()", self._grow)
        ui.caseReaderLineEdit.setText(slicer.util.settingsValue(READER_SETTING, ""))
        ui.caseReaderLineEdit.connect("textChanged(QString)", self._onReader)
        ui.subjectLineEdit.connect("textChanged(QString)", self._updateSaving)
        ui.readPointsButton.connect("clicked(bool)", self._onReadPoints)
        ui.reviewButton.connect("clicked(bool)", self._onReview)
        ui.editButton.connect("clicked(bool)", self._onEdit)
        ui.growButton.connect("clicked(bool)", self._onGrowAgain)
        ui.saveCaseButton.connect("clicked(bool)", self._onSave)

    def update(self):
        """Bring the section to the parameters; regions that do not fit them any more are grown again."""
        parameters = self._parameters()
        self._contrast.update(parameters)
        wanted = self._wanted(parameters)
        if wanted != self._grownFor:
            # what was corrected belongs to the scan and its points, not to the sliders
            kept = self.corrected and self._grownFor is not None and wanted[:3] == self._grownFor[:3]
            self._grownFor = wanted
            if not kept:
                self.corrected = False
                self._observe(parameters.points)
                self._timer.start()
        self._updateButtons(parameters)

    def keepContrast(self):
        """The contrast in the parameters came with a scene, or was chosen in another module: do not guess over it."""
        self._contrast.forget()

    def forget(self):
        """Let go of everything in the scene: it is about to be closed."""
        self._timer.stop()
        self._observe(None)
        self._nodes.forget()
        self._contrast.forget()
        self._scan, self._annotations, self._grownFor = (None, None), None, None
        self._problems, self.corrected = [], False
        self._table.fill([])
        self._ui.lesionMessageLabel.setText("")

    def _wanted(self, parameters):
        volume, points = parameters.labelVolume, parameters.points
        return (
            volume.GetID() if volume else None,
            parameters.labelModality,
            points.GetID() if points else None,
            parameters.tolerance,
            parameters.inPlaneVox,
            parameters.throughPlaneVox,
        )

    def _observe(self, points):
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        if points is not None:
            for event in (
                points.PointPositionDefinedEvent,
                points.PointModifiedEvent,
                points.PointRemovedEvent,
                points.PointPositionUndefinedEvent,
            ):
                self._observed.append((points, points.AddObserver(event, self._onPoints)))

    def _onPoints(self, _caller=None, _event=None):
        if not self.corrected:
            self._timer.start()

    def _currentScan(self):
        """Give the chosen volume as a scan; it is read again only if it changed.

        Raises
        ------
        InputError
            If it is none.
        """
        parameters = self._parameters()
        volume = parameters.labelVolume
        image = volume.GetImageData()
        key = (volume.GetID(), parameters.labelModality, image.GetMTime() if image else 0, volume.GetMTime())
        if self._scan[0] != key:
            self._scan = (key, scan_of(volume, parameters.labelModality.value, stemOf(volume)))
        return self._scan[1]

    def _grow(self):
        parameters = self._parameters()
        if parameters is None or self.corrected:
            return
        self._annotations = None
        if parameters.labelVolume is None or parameters.labelModality == ModalityChoice.UNKNOWN:
            self._show(None)
            return
        settings = GrowthSettings(parameters.inPlaneVox, parameters.throughPlaneVox, tolerance=parameters.tolerance)
        try:
            scan = self._currentScan()
            self._annotations = grow_annotations(pointsOf(parameters.points), scan, settings, self._problems)
        except CMMDetectError as error:
            self._show(None)
            self._say(str(error))
            return
        names = [point.name for point in self._annotations.points]
        self._nodes.show(parameters.labelVolume, label_map(scan, self._annotations.lesions), names)
        self._showScan(parameters.labelVolume)
        self._show(self._annotations)

    def _show(self, annotations):
        rows = []
        for point, lesion in zip(annotations.points, annotations.lesions, strict=True) if annotations else ():
            moved = sum((a - b) ** 2 for a, b in zip(point.position_mm, lesion.position_mm, strict=True)) ** 0.5
            warnings = [WARNINGS[flag] for flag in lesion.flags if flag in WARNINGS]
            numbers = (
                _("{size} mm").format(size=f"{lesion.diameter_mm:.1f}"),
                _("{size} mm³").format(size=f"{lesion.volume_mm3:.0f}"),
                _("{size} mm").format(size=f"{moved:.1f}"),
            )
            rows.append((point.name, *numbers, ", ".join(warnings)))
        self._table.fill(rows)
        self._say("\n".join(annotations.problems) if annotations else "")
        self._updateButtons(self._parameters())

    def _say(self, text):
        self._ui.lesionMessageLabel.setText(text)
        self._ui.lesionMessageLabel.setVisible(bool(text))

    def _showScan(self, volume):
        if slicer.app.layoutManager() is None:
            return
        shown = {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
        if shown != {volume.GetID()}:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def _onLesion(self):
        if self._annotations is not None and self._table.row is not None:
            jump_to(self._annotations.lesions[self._table.row].position_mm)

    # ------------------------------------------------------------------ points

    def _onReader(self, name):
        qt.QSettings().setValue(READER_SETTING, name)

    def _onReadPoints(self, _checked=False):
        path = self._ui.pointsPathLineEdit.currentPath
        self._take(lambda scan: loadPoints(path, scan))

    def _onReview(self, _checked=False):
        self._take(lambda scan: (loadReview(self._parameters().labelVolume, scan), []))

    def _take(self, load):
        """Choose the points that a function loads for the scan, or say why there are none."""
        parameters = self._parameters()
        try:
            node, problems = load(self._currentScan())
        except CMMDetectError as error:
            self._say(str(error))
            return
        if readerOf(node):
            self._ui.caseReaderLineEdit.setText(readerOf(node))
        self._problems = problems
        parameters.points = node

    # ------------------------------------------------------------------ corrections

    def _onCorrected(self):
        self.corrected = True
        self._updateButtons(self._parameters())

    def _onGrowAgain(self, _checked=False):
        self.corrected = False
        self._grow()

    def _onEdit(self, _checked=False):
        slicer.util.selectModule("SegmentEditor")
        editor = getattr(getattr(slicer.modules, "SegmentEditorWidget", None), "editor", None)
        if editor is not None:
            editor.setSegmentationNode(self._nodes.node)
            editor.setSourceVolumeNode(self._parameters().labelVolume)

    # ------------------------------------------------------------------ saving

    def _updateButtons(self, parameters):
        ui, volume = self._ui, parameters.labelVolume
        known = volume is not None and parameters.labelModality != ModalityChoice.UNKNOWN
        ui.readPointsButton.setEnabled(known)
        ui.reviewButton.setVisible(known and saved_review(volume) is not None)
        ui.editButton.setEnabled(self._nodes.node is not None)
        ui.growButton.setVisible(self.corrected)
        for widget in (ui.toleranceSlider, ui.inPlaneSpinBox, ui.throughPlaneSpinBox):
            widget.setEnabled(not self.corrected)
        self._updateSaving()

    def _updateSaving(self, _text=""):
        """Say on the button what it will do, and why it cannot."""
        button, problem = self._ui.saveCaseButton, self._problem()
        button.setEnabled(not problem)
        button.setToolTip(problem or _("Write the scan and its labels into the data set."))
        parameters = self._parameters()
        if problem or parameters is None:
            button.setText(_("Save as training case"))
        elif self._dataset.has(self._name()):
            button.setText(_("Replace the labels of {case}").format(case=self._name()))
        elif not self._annotations.points and not self.corrected:
            button.setText(_("Save as a scan without microbleeds"))
        else:
            button.setText(_("Save as training case {case}").format(case=self._name()))

    def _problem(self):
        parameters = self._parameters()
        if parameters is None or parameters.labelVolume is None:
            return _("Choose the scan first.")
        if parameters.labelModality == ModalityChoice.UNKNOWN:
            return _("Say what contrast the scan has.")
        if self._dataset.folder is None:
            return _("Choose the folder of the data set first.")
        if self._annotations is None:
            return _("The scan or its points cannot be used.")
        return ""

    def _name(self):
        parameters = self._parameters()
        subject = self._ui.subjectLineEdit.text.strip()
        return case_name(stemOf(parameters.labelVolume), parameters.labelModality.value, subject)

    def _onSave(self, _checked=False):
        # what the button said counts: another folder whose case it did not name is not written over
        again = self._dataset.has(self._name())
        self._dataset.settle()
        try:
            case = self._dataset.add(self._newCase(), again)
        except CMMDetectError as error:
            self._ui.saveMessageLabel.setText(str(error))
            return
        text = _("Saved: {case}, {count} microbleeds.").format(case=case.name, count=case.microbleeds)
        self._ui.saveMessageLabel.setText(text)
        self._updateSaving()

    def _newCase(self):
        parameters = self._parameters()
        flagged = [
            f"{point.name}: {', '.join(lesion.flags)}"
            for point, lesion in zip(self._annotations.points, self._annotations.lesions, strict=True)
            if lesion.flags
        ]
        return NewCase(
            scan=self._currentScan(),
            labels=self._nodes.labels(parameters.labelVolume),
            points_mm=[point.position_mm for point in pointsOf(parameters.points)],
            points=sourceOf(parameters.points),
            subject=self._ui.subjectLineEdit.text.strip(),
            reader=self._ui.caseReaderLineEdit.text.strip(),
            status=CaseStatus.TO_CHECK if self._ui.toCheckCheckBox.checked else CaseStatus.OK,
            note="corrected by hand" if self.corrected else "; ".join(flagged),
        )
