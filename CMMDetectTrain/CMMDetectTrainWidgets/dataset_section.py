"""The Data set section: the folder and the list of its cases."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectTrainLib.case_list import CaseStatus, add_case, read_cases, remove_case, set_status
from CMMDetectWidgets.path_field import PathField

from .simple_table import SimpleTable

DATASET_SETTING = "CMMDetectTrain/Dataset"
COLUMNS = (_("Case"), _("Microbleeds"), _("Status"), _("Reader"), _("Points"), _("Note"))
TIPS = (
    _("Name of the scan: its subject and its contrast"),
    _("Number of labels"),
    _("Cases to check are not used for training"),
    _("Who marked the points"),
    _("Where the points came from"),
    _("What to look at"),
)
STATUS = {CaseStatus.OK: _("ok"), CaseStatus.TO_CHECK: _("to check")}


class DatasetSection:
    """Lists the cases of a data set.

    Parameters
    ----------
    ui : the panel's widgets
    onChanged : called when another data set is chosen or its cases change
    onOpen : told (node of the scan, case, file of its labels) to show a case; may raise `CMMDetectError`
    """

    def __init__(self, ui, onChanged, onOpen):
        self._ui = ui
        self._onChanged = onChanged
        self._onOpen = onOpen
        self._updating = False
        self.cases = []
        self._table = SimpleTable(ui.caseTable, COLUMNS, TIPS, self._updateButtons)
        self._path = PathField(ui.datasetPathLineEdit, self._onFolder)
        self._path.show(slicer.util.settingsValue(DATASET_SETTING, ""))
        ui.okButton.connect("clicked(bool)", self._onOk)
        ui.toCheckButton.connect("clicked(bool)", self._onToCheck)
        ui.showCaseButton.connect("clicked(bool)", self._onShow)
        ui.removeCaseButton.connect("clicked(bool)", self._onRemove)

    @property
    def folder(self):
        """Folder of the data set, None without one; it need not exist."""
        chosen = self._path.path.strip()
        return Path(chosen) if chosen else None

    def settle(self):
        """Accept a folder that is still being typed: a click on a button need not end its editing."""
        self._path.flush()

    def has(self, name):
        """Whether there is a case of that name."""
        return any(case.name == name for case in self.cases)

    def caseOf(self, volume):
        """Return the case from whose file a scan in the scene was loaded, None if there is none."""
        storage = volume.GetStorageNode()
        path = Path(storage.GetFileName() or "") if storage is not None else None
        return next((case for case in self.cases if self.folder / case.volume == path), None)

    def add(self, new, again):
        """Add a case to the data set and return it; raises like `case_list.add_case`."""
        case = add_case(self.folder, new, again)
        self.refresh()
        return case

    def refresh(self):
        """Read the list of cases again."""
        self.cases, problem = [], ""
        if self.folder is not None and self.folder.is_dir():
            try:
                self.cases = read_cases(self.folder)
            except CMMDetectError as error:
                problem = str(error)
        self._table.fill([_row(case) for case in self.cases])
        self._ui.caseMessageLabel.setText(problem or self._summary())
        self._updateButtons()
        self._onChanged()

    def _summary(self):
        if self.folder is None:
            return _("Choose a folder for the data set; an empty one begins a new one.")
        ready = [case for case in self.cases if case.status == CaseStatus.OK]
        text = _("Cases: {cases}, of them ok: {ready}. Subjects: {subjects}. Microbleeds to learn from: {count}.")
        summary = text.format(
            cases=len(self.cases),
            subjects=len({case.subject for case in self.cases}),
            ready=len(ready),
            count=sum(case.microbleeds or 0 for case in ready),
        )
        uncounted = sum(case.microbleeds is None for case in ready)
        if uncounted:
            summary += " " + _("Cases in which they were not counted yet: {count}.").format(count=uncounted)
        return summary

    def _chosen(self):
        return None if self._table.row is None else self.cases[self._table.row]

    def _updateButtons(self):
        case, ui = self._chosen(), self._ui
        ui.okButton.setEnabled(case is not None and case.status != CaseStatus.OK)
        ui.toCheckButton.setEnabled(case is not None and case.status != CaseStatus.TO_CHECK)
        ui.showCaseButton.setEnabled(case is not None)
        ui.removeCaseButton.setEnabled(case is not None)

    def _onFolder(self, path):
        qt.QSettings().setValue(DATASET_SETTING, path)
        self.refresh()

    def _onOk(self, _checked=False):
        self._change(lambda case: set_status(self.folder, case.name, CaseStatus.OK))

    def _onToCheck(self, _checked=False):
        self._change(lambda case: set_status(self.folder, case.name, CaseStatus.TO_CHECK))

    def _onRemove(self, _checked=False):
        case = self._chosen()
        kept = "" if case.copied else _(" The scan itself is kept.")
        question = _("Delete the labels of {case} from the data set?{kept}").format(case=case.name, kept=kept)
        if slicer.util.confirmOkCancelDisplay(question):
            self._change(lambda case: remove_case(self.folder, case.name))

    def _change(self, change):
        try:
            change(self._chosen())
        except CMMDetectError as error:
            self.refresh()
            self._ui.caseMessageLabel.setText(str(error))
            return
        self.refresh()

    def _onShow(self, _checked=False):
        case = self._chosen()
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        # a second copy of the scan would get another name
        there = next((volume for volume in volumes if self.caseOf(volume) is case), None)
        try:
            volume = there or slicer.util.loadVolume(str(self.folder / case.volume))
            self._onOpen(volume, case, self.folder / case.mask)
        except (RuntimeError, CMMDetectError) as error:
            text = _("{case}: the scan or its labels cannot be loaded. {problem}")
            self._ui.caseMessageLabel.setText(text.format(case=case.name, problem=error))


def _row(case):
    known = (case.reader, case.points, case.note)
    count = "" if case.microbleeds is None else str(case.microbleeds)
    return (case.name, count, STATUS[case.status], *(text or "" for text in known))
