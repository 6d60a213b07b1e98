"""The line in which the reader writes about the chosen candidate: what is being written is not lost."""

from CMMDetectLib.review_records import marked_position


class NoteLine:
    """Shows the note of a candidate, and tells what the reader makes of it.

    The line tells that by itself only when it loses the keyboard: too late where the panel is about to show another
    candidate, and never where a click on a button leaves the keyboard where it was, as on macOS.

    Parameters
    ----------
    line : QLineEdit
    keep : told the candidate, as it was shown, and its new note
    """

    def __init__(self, line, keep):
        self._line = line
        self._keep = keep
        self._candidate = None
        self._taken = ""
        line.connect("editingFinished()", self.take)

    def take(self):
        """Tell the note as it stands; give the candidate that the reader is writing about, else None."""
        text = self._line.text
        if text != self._taken:
            self._taken = text
            if self._candidate is not None:
                self._keep(self._candidate, text)
        return self._candidate if self._line.hasFocus() else None

    def show(self, candidate):
        """Show a candidate's note, but leave alone what the reader is writing about it."""
        before, self._candidate = self._candidate, candidate
        same = candidate is not None and before is not None and isSameLesion(candidate, before)
        if same and self._line.text != self._taken:
            return
        note = (candidate.note or "") if candidate is not None else ""
        # a text that is set moves the cursor to its end
        if self._line.text != note:
            self._line.setText(note)
        # a line of text shows some characters otherwise
        self._taken = self._line.text


def isSameLesion(first, second):
    """Whether two records are of one candidate; a new run may give its name to another lesion."""
    return first.id == second.id and marked_position(first) == marked_position(second)
