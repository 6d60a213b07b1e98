"""The Export and compare section: export of results, saved reviews, comparison of two readers."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.reader_agreement import adjudicate, agreement_path, compare_readers, write_agreement
from CMMDetectLib.review_export import export_review, export_training_case
from CMMDetectLib.review_file import read_review
from CMMDetectLib.review_records import Verdict

TRAINING_FOLDER = "training"
MAY_BREAK = "\u200b"
"""Zero-width space, where a line may break: a long file name without one would make the whole panel wider."""


class ExportSection:
    """Exports the results of a review and opens saved reviews.

    Parameters
    ----------
    ui : the panel's widgets
    currentReview : returns the session, its scan and the folder to write to; None without a review
    takeNote : stores the note that is still being written
    onOpen : called with the path of a saved review to continue
    onAdjudicate : called with the session that settles what two readers disagree on
    """

    def __init__(self, ui, currentReview, takeNote, onOpen, onAdjudicate):
        self._ui = ui
        self._currentReview = currentReview
        self._takeNote = takeNote
        self._onOpen = onOpen
        self._onAdjudicate = onAdjudicate
        ui.agreementTable.setVisible(False)
        ui.agreementTable.horizontalHeader().setStretchLastSection(True)
        ui.exportButton.connect("clicked(bool)", self._onExport)
        ui.trainingButton.connect("clicked(bool)", self._onTraining)
        ui.openSessionButton.connect("clicked(bool)", self._onOpenClicked)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.adjudicateButton.connect("clicked(bool)", self._onAdjudicateClicked)
        ui.sessionPathLineEdit.connect("currentPathChanged(QString)", self.update)
        self.update()

    def forget(self):
        """Clear the messages and the table of agreement, since another review is open."""
        self._say("")
        self._ui.agreementTable.setVisible(False)
        self.update()

    def update(self, _path=None):
        """Enable what can be done now; the tool tip of a disabled button says why it is disabled."""
        review = self._currentReview()
        chosen = Path(self._ui.sessionPathLineEdit.currentPath).is_file()
        for button in (self._ui.exportButton, self._ui.trainingButton):
            self._enable(button, review is not None, _("There is no review to export yet."))
        for button in (self._ui.openSessionButton, self._ui.compareButton, self._ui.adjudicateButton):
            self._enable(
                button, chosen and review is not None, _("Load the scan and choose a saved review of it first.")
            )

    def _enable(self, button, possible, why):
        button.setEnabled(possible)
        # the tool tip of the .ui is restored when the button is enabled again
        usual = button.property("usualToolTip") or button.toolTip
        button.setProperty("usualToolTip", usual)
        button.setToolTip(usual if possible else why)

    def _onExport(self, _checked=False):
        session, scan, folder = self._finishedReview()
        files = self._try(lambda: export_review(session, scan, folder))
        if files is not None:
            listed = "\n".join(path.name for path in files.values())
            text = _("Accepted microbleeds: {count}. Written to {folder}:\n{files}")
            self._say(text.format(count=len(session.accepted), folder=folder, files=listed))

    def _onTraining(self, _checked=False):
        session, scan, folder = self._finishedReview()
        undecided = [item for item in at_stage(session.visible, Stage.FINAL) if item.verdict == Verdict.UNDECIDED]
        if undecided:
            text = _(
                "Training takes everything not accepted as healthy: judge the final candidates first."
                " Not judged yet: {count}."
            )
            self._say(text.format(count=len(undecided)))
            return
        files = self._try(lambda: export_training_case(session, scan, folder / TRAINING_FOLDER))
        if files is not None:
            text = _("Scan and labels added to {folder}.").format(folder=folder / TRAINING_FOLDER)
            if "kept" in files:
                text += " " + _("The other labels that were there are kept as {file}.").format(file=files["kept"].name)
            self._say(text)

    def _onOpenClicked(self, _checked=False):
        self._takeNote()
        self._try(lambda: self._onOpen(self._chosenPath()))

    def _onCompare(self, _checked=False):
        agreement = self._try(self._compare)
        if agreement is not None:
            self._show(agreement)

    def _compare(self):
        session, _scan, folder = self._finishedReview()
        agreement = compare_readers(session, self._otherReview(session))
        path = agreement_path(folder, session.scan.name, agreement.readers)
        write_agreement(path, agreement)
        self._say(_("Every lesion of both readers: {path}").format(path=path))
        return agreement

    def _onAdjudicateClicked(self, _checked=False):
        session = self._finishedReview()[0]
        third = self._try(lambda: adjudicate(session, self._otherReview(session), _("adjudication")))
        if third is not None:
            self._try(lambda: self._onAdjudicate(third))

    def _finishedReview(self):
        """Return the review, with the note that is being written: a click on a button need not end its editing."""
        self._takeNote()
        return self._currentReview()

    def _otherReview(self, session):
        """Return the saved review that was chosen; a reader would always agree with themselves."""
        path, shown = self._chosenPath(), session.save.path
        if path.is_file() and shown.is_file() and path.samefile(shown):
            text = _("{file}: is the review that is shown here; choose that of another reader")
            raise InputError(text.format(file=path.name))
        return read_review(path)

    def _chosenPath(self):
        return Path(self._ui.sessionPathLineEdit.currentPath)

    def _show(self, agreement):
        first, second = agreement.readers
        rows = (
            (_("Both accepted"), agreement.both),
            (_("Only {name}").format(name=first), agreement.only_first),
            (_("Only {name}").format(name=second), agreement.only_second),
            (_("Neither"), agreement.neither),
            (_("Not decided by both"), agreement.undecided),
            (_("Cohen's kappa"), _number(agreement.kappa)),
            (_("Positive agreement"), _number(agreement.positive_agreement)),
            (_("Same certainty"), f"{agreement.same_certainty} / {agreement.with_certainty}"),
        )
        table = self._ui.agreementTable
        table.setRowCount(len(rows))
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Lesions matched within 3 mm"), _("Number")])
        table.verticalHeader().setVisible(False)
        for row, (name, value) in enumerate(rows):
            table.setItem(row, 0, qt.QTableWidgetItem(name))
            table.setItem(row, 1, qt.QTableWidgetItem(str(value)))
        table.resizeColumnToContents(0)
        table.resizeRowsToContents()
        table.setVisible(True)

    def _try(self, action):
        """Do something; an error is shown in the panel, without a pop-up."""
        try:
            return action()
        except CMMDetectError as error:
            self._say(str(error))
            return None

    def _say(self, text):
        self._ui.exportLabel.setText(text.replace("_", f"_{MAY_BREAK}"))


def _number(value):
    return _("not defined") if value is None else f"{value:.2f}"
