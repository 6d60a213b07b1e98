"""The Review section: going through the candidates, judging them, moving and adding points."""

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.review_records import Certainty, Mimic, Origin, Verdict, moved_mm, position_of

from .candidate_table import CERTAINTIES, MIMICS, CandidateTable
from .note_line import NoteLine, isSameLesion
from .point_placing import PointPlacing
from .shortcuts import KeyBindings, legend, tooltip

BUTTONS = {
    "accept": "acceptButton",
    "reject": "rejectButton",
    "undecided": "undecidedButton",
    "previous": "previousButton",
    "next": "nextButton",
    "nextUndecided": "nextUndecidedButton",
    "move": "moveButton",
    "add": "addButton",
    "undo": "undoButton",
    "redo": "redoButton",
}
"""Action to the button that does the same."""
BLIND = _("Blind read: mark every microbleed that you see (key A), then show the candidates.")
BLIND_AND_SEARCH = _("Blind read: mark every microbleed that you see (key A), press Apply, then show the candidates.")
SAY_CERTAINTY = (None, *Certainty)
SAY_MIMIC = (None, *Mimic)


class ReviewSection:
    """Shows a review session and takes the reader's decisions.

    Parameters
    ----------
    panel : the loaded .ui
    ui : its widgets by name
    view : a `slice_views.SliceViews`
    shownFilter : returns the filter of candidates that the Stages section sets
    begin : starts a review without candidates, for a reader who marks before the detector does
    onReader : called with the name when it was edited
    """

    def __init__(self, panel, ui, view, shownFilter, begin, onReader):
        self._ui = ui
        self._view = view
        self._shownFilter = shownFilter
        self._begin = begin
        self._onReader = onReader
        self._session = None
        self._updating = False
        self._said = self._asked = self._unsaved = ""
        self._table = CandidateTable(ui.candidateTable, self._onChosen)
        self._note = NoteLine(ui.noteLineEdit, self._keepNote)
        actions = {name: getattr(self, name) for name in BUTTONS} | {"cancel": self.stopPlacing}
        self.keys = KeyBindings(panel, {**actions, "slab": self.toggleSlab, "hide": self.hideMarkings})
        self._placing = PointPlacing(view, self._do, self.takeNote, self.say, self.choose, self._ask)
        self._fillWidgets()
        self._connectWidgets(panel)
        self.setSession(None)

    @property
    def session(self):
        """The review that is shown, None without one."""
        return self._session

    @property
    def current(self):
        """Id of the chosen candidate, None without one."""
        return self._table.current

    @property
    def listed(self):
        """Ids of the candidates in view, in the order of the table."""
        return self._table.order

    def setSession(self, session):
        """Show another review, or none."""
        self.takeNote()
        if self._session is not None:
            self._session.remove_listener(self._onChanged)
        self._placing.setSession(session)
        self._said, self._unsaved = "\n".join(filter(None, (self._unsaved, self._said))), ""
        self._session = session
        if session is not None:
            session.add_listener(self._onChanged)
        self.refresh()

    def refresh(self):
        """List the candidates that are in view now."""
        self.takeNote()
        shown = self._session.shown(self._shownFilter()) if self._session else []
        self._table.show(shown)
        self._placing.stopUnlessFor(self.current)
        self._updateState()

    def say(self, text):
        """Show a message for the reader about what was just done."""
        self._said = text
        self._showMessage()

    def _ask(self, text):
        self._asked = text
        self.keys.want("cancel", bool(text))
        self._showMessage()

    def _showMessage(self):
        # that decisions are not saved, or that a click is awaited, stays in sight, whatever else is told
        text = "\n".join(filter(None, (self._unsaved, self._said, self._asked)))
        self._ui.messageLabel.setText(text)
        self._ui.messageLabel.setVisible(bool(text))

    # ------------------------------------------------------------------ going through the list

    def choose(self, candidateId):
        """Select a candidate and center all views on it."""
        self.takeNote()
        self._table.choose(candidateId)

    def next(self, _checked=False):
        """Go to the next candidate."""
        self._go("next")

    def previous(self, _checked=False):
        """Go to the previous candidate."""
        self._go("previous")

    def nextUndecided(self, _checked=False):
        """Go to the next candidate without a verdict."""
        self._go("next_undecided")

    def goOn(self, writing=None):
        """Go to the next candidate without a verdict, after a run.

        Parameters
        ----------
        writing : what `takeNote` returned before the run was taken; a reader who is writing stays at that lesion,
            which may have another name now
        """
        near = self._session.nearby(position_of(writing)) if writing is not None else []
        same = [item.id for item, _distance in near if item.note == writing.note and item.id in self.listed]
        if same:
            self.choose(same[0])
        else:
            self.nextUndecided()

    def _go(self, step):
        if self._session is None:
            return
        self.takeNote()
        target = getattr(self._session, step)(self.current, self.listed)
        if target is not None:
            self.choose(target)
        elif self.listed:
            self.say(_("Every candidate in view is decided."))

    # ------------------------------------------------------------------ judging

    def accept(self, _checked=False):
        """Accept the candidate as a microbleed and go to the next undecided one."""
        self._judge(Verdict.ACCEPTED)

    def reject(self, _checked=False):
        """Reject the candidate and go to the next undecided one."""
        self._judge(Verdict.REJECTED)

    def undecided(self, _checked=False):
        """Clear the verdict and stay at the candidate."""
        self._judge(Verdict.UNDECIDED)

    def _judge(self, verdict):
        current = self.current
        if current is None:
            return
        self.takeNote()
        self.say("")
        self._do(lambda: self._session.judge(current, verdict))
        if verdict != Verdict.UNDECIDED:
            self._go("next_undecided")

    def undo(self, _checked=False):
        """Undo the last change and select the candidate that it concerned."""
        self._step("undo")

    def redo(self, _checked=False):
        """Redo the change that was undone last and select the candidate that it concerned."""
        self._step("redo")

    def _step(self, name):
        if self._session is None:
            return
        self.takeNote()
        # what was said of a point is not true any more
        self.say("")
        change = self._do(getattr(self._session, name))
        about = [each for each in (change.ids if change else ()) if each in self.listed]
        if about:
            self.choose(sorted(about)[0])

    # ------------------------------------------------------------------ points

    def move(self, _checked=False):
        """Wait for a click in a slice view, which becomes the candidate's position."""
        if self.current is not None:
            self._placing.move(self.current)

    def add(self, _checked=False):
        """Wait for a click in a slice view, which adds a microbleed that was missed."""
        if self._session is None:
            self._do(self._begin)
        if self._session is not None:
            self._placing.add()

    def stopPlacing(self):
        """Stop waiting for a click."""
        self._placing.stop()

    def remove(self, _checked=False):
        """Remove an added point, or restore the detector's position of a moved candidate."""
        current = self.current
        if current is None:
            return
        self.takeNote()
        self.say("")
        self.stopPlacing()
        if self._session[current].origin == Origin.READER:
            self._do(lambda: self._session.remove(current))
        else:
            self._do(lambda: self._session.put_back(current))
            self.choose(current)

    # ------------------------------------------------------------------ views

    def toggleSlab(self, _checked=False):
        """Switch the slab on or off."""
        self._ui.slabButton.setChecked(not self._ui.slabButton.isChecked())

    def hideMarkings(self, hidden=True):
        """Hide all markings, or show them again."""
        self._view.hideMarkings(hidden)

    # ------------------------------------------------------------------ blind read and reader

    def _onBlind(self, checked=False):
        if self._updating or self._session is None:
            return
        if checked:
            self._do(self._session.start_blind)
        else:
            self._reveal()
        self.refresh()

    def _reveal(self, _checked=False):
        searched, matches = self._session.searched, self._do(self._session.reveal)
        if searched and matches is not None:
            text = _("The detector has {count} of your points too; the rest is listed for your judgment.")
            self.say(text.format(count=len(matches)))
        self.refresh()

    def _onReaderEdited(self):
        self._do(lambda: self._onReader(self._ui.readerLineEdit.text.strip()))

    # ------------------------------------------------------------------ widgets

    def _fillWidgets(self):
        for name, button in {**BUTTONS, "slab": "slabButton", "hide": "hideButton"}.items():
            getattr(self._ui, button).setToolTip(tooltip(name))
        self._ui.keysLabel.setText(legend())
        self._ui.keysLabel.setVisible(False)
        for certainty in SAY_CERTAINTY:
            self._ui.certaintyComboBox.addItem(CERTAINTIES[certainty] if certainty else _("not said"))
        for mimic in SAY_MIMIC:
            self._ui.mimicComboBox.addItem(MIMICS[mimic] if mimic else _("not said"))

    def _connectWidgets(self, panel):
        ui = self._ui
        for name, button in BUTTONS.items():
            getattr(ui, button).connect("clicked(bool)", getattr(self, name))
        ui.removeButton.connect("clicked(bool)", self.remove)
        ui.revealButton.connect("clicked(bool)", self._reveal)
        ui.blindCheckBox.connect("toggled(bool)", self._onBlind)
        ui.readerLineEdit.connect("editingFinished()", self._onReaderEdited)
        # the keys of the review work again as soon as a name, a note or a number is written
        for line in slicer.util.findChildren(panel, className="QLineEdit"):
            line.connect("returnPressed()", ui.candidateTable.setFocus)
        ui.certaintyComboBox.connect("activated(int)", self._onCertainty)
        ui.mimicComboBox.connect("activated(int)", self._onMimic)
        ui.slabButton.connect("toggled(bool)", self._view.setSlab)
        ui.hideButton.connect("pressed()", self._onHidePressed)
        ui.hideButton.connect("released()", self._onHideReleased)
        ui.keysButton.connect("toggled(bool)", ui.keysLabel.setVisible)

    def _onHidePressed(self):
        self.hideMarkings(True)

    def _onHideReleased(self):
        self.hideMarkings(False)

    def _onCertainty(self, _index=0):
        self._detail("set_certainty", SAY_CERTAINTY[self._ui.certaintyComboBox.currentIndex])

    def _onMimic(self, _index=0):
        self._detail("set_mimic", SAY_MIMIC[self._ui.mimicComboBox.currentIndex])

    def takeNote(self):
        """Store the note that is being written; return its candidate, None if no note is being written."""
        return self._note.take()

    def _keepNote(self, noted, text):
        if noted.id in self._session and isSameLesion(self._session[noted.id], noted):
            self._do(lambda: self._session.set_note(noted.id, text))

    def _detail(self, setter, value):
        self.takeNote()
        current = self.current
        if current is not None and not self._updating:
            self._do(lambda: getattr(self._session, setter)(current, value))

    # ------------------------------------------------------------------ the session's side

    def _do(self, change):
        """Make a change; what prevents it or its saving is shown in the panel, without a pop-up."""
        session, problem, result = self._session, "", None
        before = session.state.revision if session is not None else None
        try:
            result = change()
        except CMMDetectError as error:
            problem = str(error)
        if session is not None and session is self._session and session.state.revision != before:
            self._unsaved = _("Not saved: {problem}").format(problem=problem) if problem else ""
        elif problem:
            self._said = problem
        self._showMessage()
        return result

    def _onChanged(self, ids):
        self._placing.stopIfGone()
        listed, view = set(self.listed), self._shownFilter()
        shown = {name for name in ids if name in self._session and view.shows(self._session[name])}
        if shown != listed & ids:
            self.refresh()
            return
        for name in shown:
            self._table.update(self._session[name])
        self._updateState()

    def _onChosen(self, candidateId):
        self._placing.stopUnlessFor(candidateId)
        self.takeNote()
        self._updateState()
        if candidateId is not None:
            self._view.centerOn(position_of(self._session[candidateId]))

    def _updateState(self):
        self._updating = True
        try:
            self._updateSessionWidgets()
            self._updateCandidateWidgets()
        finally:
            self._updating = False

    def _updateSessionWidgets(self):
        ui, session = self._ui, self._session
        if session is not None:
            ui.blindCheckBox.setChecked(session.blind)
        blind = session is not None and session.blind
        ui.blindLabel.setVisible(blind)
        ui.revealButton.setVisible(blind)
        ui.revealButton.setEnabled(blind and session.searched)
        ui.blindLabel.setText(BLIND if ui.revealButton.enabled else BLIND_AND_SEARCH)
        ui.reviewProgressLabel.setText(self._progressText())
        ui.undoButton.setEnabled(session is not None and session.undo_text is not None)
        ui.redoButton.setEnabled(session is not None and session.redo_text is not None)
        for button in (ui.previousButton, ui.nextButton, ui.nextUndecidedButton):
            button.setEnabled(bool(self.listed))

    def _progressText(self):
        if self._session is None:
            return _("Nothing to review yet.")
        if not self.listed:
            return _("No candidate is listed.")
        progress = self._session.progress(self._session[name] for name in self.listed)
        text = _("{decided} of {total}, {accepted} accepted")
        return text.format(decided=progress.decided, total=progress.total, accepted=progress.accepted)

    def _updateCandidateWidgets(self):
        ui = self._ui
        candidate = self._session[self.current] if self.current is not None else None
        chosen = candidate is not None
        details = (ui.certaintyComboBox, ui.mimicComboBox, ui.noteLineEdit)
        for widget in (ui.acceptButton, ui.rejectButton, ui.undecidedButton, ui.moveButton, *details):
            widget.setEnabled(chosen)
        added = chosen and candidate.origin == Origin.READER
        ui.removeButton.setEnabled(chosen and (added or moved_mm(candidate) > 0))
        ui.removeButton.setText(_("Put back") if chosen and not added else _("Remove"))
        certainty = Certainty(candidate.certainty) if chosen and candidate.certainty else None
        ui.certaintyComboBox.setCurrentIndex(SAY_CERTAINTY.index(certainty))
        mimic = candidate.mimic if chosen else None
        # one that another program named has no entry: it stands in the table only
        ui.mimicComboBox.setCurrentIndex(SAY_MIMIC.index(mimic) if mimic in SAY_MIMIC else -1)
        self._note.show(candidate)
