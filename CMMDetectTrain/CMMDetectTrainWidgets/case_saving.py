"""The end of the Labels section: from the regions of a scan to a case of the data set."""

from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectTrainLib.case_list import CaseStatus, NewCase, case_name
from CMMDetectWidgets.parameters import ModalityChoice
from CMMDetectWidgets.reader_setting import rememberedReader, rememberReader
from CMMDetectWidgets.review_keeper import stemOf

from .point_lists import pointsOf, sourceOf

LONGEST_NAME = 40
"""Of a case on the button: a longer one would make the whole panel wider."""


class CaseSaving:
    """Saves the regions of the chosen scan, and says before what it will do.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : gives the parameter node
    dataset : the `DatasetSection` that cases go into
    labels : the `LabelsSection` that has the regions
    """

    def __init__(self, ui, parameters, dataset, labels):
        self._ui = ui
        self._parameters = parameters
        self._dataset = dataset
        self._labels = labels
        self._toldOf = None
        self.setReader(rememberedReader())
        ui.caseReaderLineEdit.connect("textChanged(QString)", self._onReader)
        ui.subjectLineEdit.connect("textChanged(QString)", self.update)
        ui.saveCaseButton.connect("clicked(bool)", self._onSave)

    def setReader(self, name):
        """Show who marked the points."""
        self._ui.caseReaderLineEdit.setText(name)

    def open(self, case):
        """Show what the data set stores about a case whose labels are shown."""
        self._ui.subjectLineEdit.setText("")
        if case.reader:
            self.setReader(case.reader)

    def forgetResult(self):
        """Clear the message about what was saved, since the regions or the data set have changed."""
        self._ui.saveMessageLabel.setText("")

    def update(self, _text=""):
        """Show on the button what it will do, or why it cannot."""
        if self._dataset.folder != self._toldOf:
            self.forgetResult()
        button, problem = self._ui.saveCaseButton, self._problem()
        button.setEnabled(not problem)
        if problem:
            button.setText(_("Save as training case"))
            button.setToolTip(problem)
            return
        name = self._name()
        button.setToolTip(_("Write the scan and its labels into the data set, as {case}.").format(case=name))
        if self._dataset.has(name) and self._labels.regions.count:
            button.setText(_("Replace the labels of {case}").format(case=_shortened(name)))
        elif self._dataset.has(name):
            button.setText(_("Replace the labels of {case} by none").format(case=_shortened(name)))
        elif not self._labels.regions.count:
            button.setText(_("Save as a scan without microbleeds"))
        else:
            button.setText(_("Save as training case {case}").format(case=_shortened(name)))

    def _problem(self):
        parameters = self._parameters()
        if parameters is None or parameters.labelVolume is None:
            return _("Choose the scan first.")
        if parameters.labelModality == ModalityChoice.UNKNOWN:
            return _("Say what contrast the scan has.")
        if self._dataset.folder is None:
            return _("Choose the folder of the data set first.")
        return self._labels.problem

    def _name(self):
        parameters = self._parameters()
        modality = parameters.labelModality.value
        return self._caseOfFile() or case_name(stemOf(parameters.labelVolume), modality, self._subject())

    def _subject(self):
        return self._ui.subjectLineEdit.text.strip()

    def _caseOfFile(self):
        """Return the name of the case whose file the scan is, "" if there is none or a subject was entered."""
        case = self._dataset.caseOf(self._parameters().labelVolume)
        return case.name if case is not None and not self._subject() else ""

    def _onReader(self, name):
        rememberReader(name)

    def _onSave(self, _checked=False):
        # what the button said counts: another folder whose case it did not name is not written over
        again = self._dataset.has(self._name())
        self._dataset.settle()
        self._toldOf = self._dataset.folder
        try:
            case = self._dataset.add(self._newCase(), again)
        except CMMDetectError as error:
            self._ui.saveMessageLabel.setText(str(error))
            self._labels.updateButtons()
            return
        text = _("Saved: {case}. Microbleeds: {count}.").format(case=case.name, count=case.microbleeds)
        self._ui.saveMessageLabel.setText(text)
        self.update()

    def _newCase(self):
        points = self._parameters().points
        return NewCase(
            scan=self._labels.scan(),
            labels=self._labels.labelMap(),
            points_mm=[point.position_mm for point in pointsOf(points)],
            points=sourceOf(points),
            subject=self._subject(),
            reader=self._ui.caseReaderLineEdit.text.strip(),
            status=CaseStatus.TO_CHECK if self._ui.toCheckCheckBox.checked else CaseStatus.OK,
            note=self._labels.regions.note,
            case=self._caseOfFile(),
        )


def _shortened(name):
    """Leave out the middle of a long name.

    >>> _shortened("sub-01_ses-20260131T1200_acq-highres3mm_run-01_swi")
    'sub-01_ses-20260131…ighres3mm_run-01_swi'
    """
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
