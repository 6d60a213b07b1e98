"""The Labels section: from points to regions, and on into the data set."""

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.region_growing import GrowthSettings
from CMMDetectLib.scan import read_labels
from CMMDetectLib.scene import saved_review
from CMMDetectLib.scene_views import jump_to, show_scan
from CMMDetectLib.scene_volume import affine_of, scan_of
from CMMDetectTrainLib.annotations import grow_annotations
from CMMDetectTrainLib.label_map import label_map, numbered
from CMMDetectWidgets.contrast import Contrast
from CMMDetectWidgets.parameters import ModalityChoice
from CMMDetectWidgets.review_keeper import stemOf

from .case_saving import CaseSaving
from .label_nodes import LabelNodes
from .point_lists import loadPoints, loadReview, pointsOf, readerOf
from .regions import COLUMNS, TIPS, correctedRegions, grownRegions
from .simple_table import SimpleTable

READ_TIP = _("Read the points of the file into the scene.")
WAIT_MS = 120
"""A slider that is dragged, or points that are loaded, are answered once."""


class LabelsSection:
    """Grows the regions of a scan's points and shows them; `CaseSaving` makes a case of them.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : gives the parameter node
    dataset : the `DatasetSection` that cases go into
    """

    def __init__(self, ui, parameters, dataset):
        self._ui = ui
        self._parameters = parameters
        self._nodes = LabelNodes(self._onCorrected)
        self._table = SimpleTable(ui.lesionTable, COLUMNS, TIPS, self._onLesion)
        self._scan = (None, None)
        self.regions = None
        self._place = None
        self._grownFor = None
        self._contrast = Contrast("labelVolume", "labelModality")
        self._problems, self._problemsOf = [], None
        self._observed = []
        self._entered = False
        self._unseen = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.connect("timeout()", self._grow)
        self._saving = CaseSaving(ui, parameters, dataset, self)
        ui.readPointsButton.connect("clicked(bool)", self._onReadPoints)
        ui.reviewButton.connect("clicked(bool)", self._onReview)
        ui.editButton.connect("clicked(bool)", self._onEdit)
        ui.growButton.connect("clicked(bool)", self._onGrowAgain)

    @property
    def corrected(self):
        """Whether the scan has regions that were corrected by hand, which are not grown again unasked."""
        parameters = self._parameters()
        return parameters is not None and self._nodes.isCorrected(parameters.labelVolume)

    @property
    def problem(self):
        """Say why there are no regions that could be saved, "" if there are, though it may be none."""
        if self._timer.isActive():
            return _("The regions are being grown.")
        if self.regions is None:
            return _("The scan or its points cannot be used.")
        if self._deleted:
            return _("The regions were deleted. Grow them again.")
        return ""

    def labelMap(self):
        """Give the regions as they are now, (I, J, K) on the voxels of the scan; raises as `LabelNodes.labels`."""
        return self._nodes.labels(self._parameters().labelVolume)

    def update(self):
        """Bring the section to the parameters; regions that do not fit them any more are grown again."""
        parameters = self._parameters()
        self._contrast.update(parameters)
        self._takePoints(parameters)
        wanted = self._wanted(parameters)
        if wanted != self._grownFor:
            self._grownFor = wanted
            self._observe(parameters.labelVolume, parameters.points)
            self._renew()
        self.updateButtons()

    def enter(self):
        """The module is shown: so is the scan, if its regions were made meanwhile."""
        self._entered = True
        # a contrast that was chosen in another module is taken over
        self._contrast.trust()
        if self._unseen:
            self._unseen = False
            self._catchUp()

    def _catchUp(self):
        """Show what was made outside of the module, and measure what was corrected there."""
        parameters = self._parameters()
        if self.regions is None:
            self._grow()
        elif parameters.labelVolume is not None:
            self._showScan(parameters.labelVolume)

    def leave(self):
        """Another module is shown, and the views are its own."""
        self._entered = False

    def keepContrast(self):
        """The contrast in the parameters came with a scene: do not guess over it."""
        self._contrast.trust()

    def forget(self):
        """Let go of everything in the scene: it is about to be closed."""
        self._timer.stop()
        self._observe(None, None)
        self._nodes.forget()
        self._contrast.trust()
        self._scan, self.regions, self._grownFor = (None, None), None, None
        self._problems, self._problemsOf = [], None
        self._table.fill([])
        self._ui.lesionMessageLabel.setText("")
        self._saving.forgetResult()

    def _takePoints(self, parameters):
        """Choose the points of a scan that is chosen again: at those of another one its regions would be lost."""
        volume = parameters.labelVolume
        if self._grownFor is None or volume is None or volume.GetID() == self._grownFor[0]:
            return
        if self._nodes.of(volume) is not None:
            parameters.points = self._nodes.pointsOf(volume)

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

    def _observe(self, volume, points):
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        if volume is not None:
            # the case has the name of the scan, which may be renamed; it may be moved, too
            for event in (vtk.vtkCommand.ModifiedEvent, volume.TransformModifiedEvent):
                self._observed.append((volume, volume.AddObserver(event, self._onScan)))
        if points is not None:
            for event in (
                points.PointPositionDefinedEvent,
                points.PointModifiedEvent,
                points.PointRemovedEvent,
                points.PointPositionUndefinedEvent,
                points.TransformModifiedEvent,
            ):
                self._observed.append((points, points.AddObserver(event, self._onPoints)))

    def _onScan(self, _caller=None, _event=None):
        if self.regions is not None and self._isMoved():
            self._renew()
        self._saving.update()

    def _isMoved(self):
        try:
            return not np.array_equal(affine_of(self._parameters().labelVolume), self._place)
        except CMMDetectError:
            return True

    def _onPoints(self, _caller=None, _event=None):
        if not self.corrected:
            self._renew()
            self._saving.update()

    def _renew(self):
        """Regions that do not fit any more are not saved; those that do follow shortly."""
        self.regions = None
        self._saving.forgetResult()
        self._timer.start()

    def scan(self):
        """Give the chosen volume as a scan; it is read again only if it changed.

        Raises
        ------
        InputError
            If it is none.
        """
        parameters = self._parameters()
        volume = parameters.labelVolume
        image = volume.GetImageData()
        times = (image.GetMTime() if image else 0, volume.GetMTime())
        key = (volume.GetID(), parameters.labelModality, times, affine_of(volume).tobytes())
        if self._scan[0] != key:
            self._scan = (key, scan_of(volume, parameters.labelModality.value, stemOf(volume)))
        return self._scan[1]

    def _grow(self):
        self._timer.stop()
        parameters = self._parameters()
        if parameters is None:
            return
        self.regions = None
        if parameters.labelVolume is None or parameters.labelModality == ModalityChoice.UNKNOWN:
            self._show()
            return
        try:
            self.regions = self._regionsOf(parameters, self.scan())
        except CMMDetectError as error:
            self._show()
            self._say(str(error))
            return
        self._place = affine_of(parameters.labelVolume)
        self._showScan(parameters.labelVolume)
        self._show()

    def _regionsOf(self, parameters, scan):
        """Take corrected regions as they are; grow all others at the points."""
        volume, nodes = parameters.labelVolume, self._nodes
        nodes.compare(volume)
        if nodes.isCorrected(volume):
            return correctedRegions(nodes.labels(volume), nodes.names(volume), scan, nodes.isOpened(volume))
        settings = GrowthSettings(parameters.inPlaneVox, parameters.throughPlaneVox, tolerance=parameters.tolerance)
        problems = self._problems if parameters.points is self._problemsOf else []
        annotations = grow_annotations(pointsOf(parameters.points), scan, settings, problems)
        names = [point.name for point in annotations.points]
        nodes.show(volume, label_map(scan, annotations.lesions), names, parameters.points)
        return grownRegions(annotations)

    def _show(self):
        regions = self.regions
        self._table.fill(regions.rows if regions is not None else [])
        self._say(regions.message if regions is not None else "")
        self.updateButtons()

    def _say(self, text):
        self._ui.lesionMessageLabel.setText(text)
        self._ui.lesionMessageLabel.setVisible(bool(text))

    def _showScan(self, volume):
        if not self._entered:
            self._unseen = True
            return
        show_scan(volume)

    def _onLesion(self):
        row = self._table.row
        position = self.regions.positions_mm[row] if self.regions is not None and row is not None else None
        if position is not None:
            jump_to(position)

    # ------------------------------------------------------------------ points

    def _onReadPoints(self, _checked=False):
        path = self._ui.pointsPathLineEdit.currentPath.strip()
        if path:
            self._take(lambda volume, scan: loadPoints(path, volume, scan))
        else:
            self._say(_("Choose the file with the points first."))

    def _onReview(self, _checked=False):
        self._take(lambda volume, scan: (loadReview(volume, scan), []))

    def _take(self, load):
        """Choose the points that a function loads for the scan, or say why there are none."""
        parameters = self._parameters()
        try:
            node, problems = load(parameters.labelVolume, self.scan())
        except CMMDetectError as error:
            self._say(str(error))
            return
        if readerOf(node):
            self._saving.setReader(readerOf(node))
        # what could not be read of a file is told with its points, and not with those of another list
        self._problems, self._problemsOf = problems, node
        parameters.points = node

    # ------------------------------------------------------------------ corrections

    def _onCorrected(self):
        self._renew()
        if not self._entered:
            # measured when the module is shown again: the Segment Editor shall not wait at every stroke
            self._timer.stop()
            self._unseen = True
        self.updateButtons()

    def open(self, volume, case, mask):
        """Show the labels of a case as the regions of its scan, which can be corrected and saved as that case again.

        Parameters
        ----------
        volume : the scan's node
        case : the `TrainingCase`
        mask : file of its labels

        Raises
        ------
        InputError
            If the labels cannot be read, or lie on another grid.
        """
        scan = scan_of(volume, case.modality, case.name)
        labels, numbers = numbered(read_labels(mask, scan))
        if not self._nodes.holds(volume, labels) and self._mayReplace(volume, case):
            names = [_("microbleed {number}").format(number=number) for number in numbers]
            self._nodes.open(volume, labels, names)
        parameters = self._parameters()
        parameters.labelVolume = volume
        parameters.points = self._nodes.pointsOf(volume)
        self._saving.open(case)
        self._renew()
        self.updateButtons()

    def _mayReplace(self, volume, case):
        self._nodes.compare(volume)
        if not self._nodes.isCorrected(volume) or self._nodes.isOpened(volume):
            return True
        question = _("Throw the corrections in the scene away, and show the labels of {case} as they were saved?")
        return slicer.util.confirmOkCancelDisplay(question.format(case=case.name))

    def _onGrowAgain(self, _checked=False):
        self._nodes.release(self._parameters().labelVolume)
        self._renew()
        self._grow()

    def _onEdit(self, _checked=False):
        slicer.util.selectModule("SegmentEditor")
        editor = getattr(getattr(slicer.modules, "SegmentEditorWidget", None), "editor", None)
        if editor is not None:
            volume = self._parameters().labelVolume
            editor.setSegmentationNode(self._nodes.of(volume))
            editor.setSourceVolumeNode(volume)

    def updateButtons(self):
        """Enable what can be done with the scan and its regions."""
        ui, parameters = self._ui, self._parameters()
        volume = parameters.labelVolume
        known = volume is not None and parameters.labelModality != ModalityChoice.UNKNOWN
        corrected, deleted = self.corrected, self._deleted
        if deleted:
            self._table.fill([])
            self._say(_("The regions were deleted."))
        ui.readPointsButton.setEnabled(known)
        ui.readPointsButton.setToolTip(READ_TIP if known else _("Choose the scan and its contrast first."))
        ui.reviewButton.setVisible(known and saved_review(volume) is not None)
        ui.editButton.setEnabled(self._nodes.of(volume) is not None)
        ui.growButton.setVisible(corrected or deleted)
        for widget in (ui.toleranceSlider, ui.inPlaneSpinBox, ui.throughPlaneSpinBox):
            widget.setEnabled(not corrected)
        self._saving.update()

    @property
    def _deleted(self):
        """Whether the regions that were shown are gone from the scene."""
        return self.regions is not None and self._nodes.of(self._parameters().labelVolume) is None
