"""The line with the reader's name: who reads here, or whose review is open."""

from .reader_setting import rememberedReader, rememberReader


class ReaderLine:
    """Shows whose review is open, and afterwards again the name that was given here.

    What is opened or started next is in the name of who sits here: another reader's review, as a scene may hold it,
    must not sign that too.

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
        """The name in the line, "" without one."""
        return self._line.text.strip()

    @property
    def isLent(self):
        """Whether the line shows another reader than the one who sits here."""
        return self._own is not None and self.name == self._shown

    def setSession(self, session):
        """Show whose review is open, or with none who sits here."""
        if self._session is not None:
            self._session.remove_listener(self._onChanged)
        self._session = session
        if session is not None:
            session.add_listener(self._onChanged)
            self._show(session.reader)
        elif self.isLent:
            self._show(self._own)

    def keep(self):
        """Take the name in the line for that of who sits here, now and the next time."""
        self._own = None
        rememberReader(self.name)

    def _show(self, name):
        own = self._own if self.isLent else self.name
        self._shown, self._own = name, None if name == own else own
        if name != self.name:
            self._line.setText(name)

    def _onChanged(self, _ids):
        # a name that is just being typed is left alone by all other changes
        if self._session.reader != self._shown:
            self._show(self._session.reader)
