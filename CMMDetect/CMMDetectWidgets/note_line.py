"""The line edit for the note on the chosen candidate, which never loses what is being written."""

from CMMDetectLib.review_records import marked_position


class NoteLine:
    """Shows the note of a candidate and reports changes.

    The line edit itself reports a change only when it loses the keyboard focus: too late if the panel is about to show
    another candidate, and never if a click on a button does not take the focus, as on macOS.

    Parameters
    ----------
    line : QLineEdit
    keep : called with the candidate, as it was shown, and its new note
    """

    def __init__(self, line, keep):
        self._line = line
        self._keep = keep
        self._candidate = None
        self._taken = ""
        line.connect("editingFinished()", self.take)

    def take(self):
        """Report the note as it is now; return the candidate that the reader is writing about, else None."""
        text = self._line.text
        if text != self._taken:
            self._taken = text
            if self._candidate is not None:
                self._keep(self._candidate, text)
        return self._candidate if self._line.hasFocus() else None

    def show(self, candidate):
        """Show a candidate's note, unless the reader is writing about the same candidate."""
        before, self._candidate = self._candidate, candidate
        same = candidate is not None and before is not None and isSameLesion(candidate, before)
        if same and self._line.text != self._taken:
            return
        note = (candidate.note or "") if candidate is not None else ""
        # setting a text moves the cursor to its end
        if self._line.text != note:
            self._line.setText(note)
        # the line edit may change some characters
        self._taken = self._line.text


def isSameLesion(first, second):
    """Whether two records are of one candidate; in a new run another lesion may have its id."""
    return first.id == second.id and marked_position(first) == marked_position(second)
