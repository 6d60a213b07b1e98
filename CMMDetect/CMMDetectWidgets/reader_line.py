"""The line with the name of the reader: of whoever sits here, or of the review that is open."""

from .reader_setting import rememberedReader, rememberReader


class ReaderLine:
    """Shows the reader of the open review, and without one the name that was entered here.

    The next review is opened or started in the name that was entered: that of another reader's review, which may have
    come with a scene, is shown only while that review is open.

    Parameters
    ----------
    line : QLineEdit
    """

    def __init__(self, line):
        self._line = line
        self._session = None
        self._shown = None
        self._own = None
        line.setText(rememberedReader())

    @property
    def name(self):
        """The name in the line, "" if it is empty."""
        return self._line.text.strip()

    @property
    def isLent(self):
        """Whether the line shows another name than was entered here."""
        return self._own is not None and self.name == self._shown

    def setSession(self, session):
        """Show the reader of a review; with None, the name that was entered here."""
        if self._session is not None:
            self._session.remove_listener(self._onChanged)
        self._session = session
        if session is not None:
            session.add_listener(self._onChanged)
            self._show(session.reader)
        elif self.isLent:
            self._show(self._own)

    def keep(self):
        """Store the name in the line as that of whoever sits here, also for the next start of Slicer."""
        self._own = None
        rememberReader(self.name)

    def _show(self, name):
        own = self._own if self.isLent else self.name
        self._shown, self._own = name, None if name == own else own
        if name != self.name:
            self._line.setText(name)

    def _onChanged(self, _ids):
        # other changes must not replace a name that is being typed
        if self._session.reader != self._shown:
            self._show(self._session.reader)
