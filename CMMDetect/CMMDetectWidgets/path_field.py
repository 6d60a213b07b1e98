"""A field for a path that is taken when the user has finished it, not at every key."""

import qt
import slicer

TYPING_MS = 700
"""Who types nothing for so long has finished the path."""


class PathField:
    """Tells the path of a ctkPathLineEdit once it is whole.

    What is typed, completed or picked from the history is taken after a pause or when editing is finished; what the
    button beside the field or a script sets is taken at once.

    Parameters
    ----------
    widget : ctkPathLineEdit
    onChosen : told the new path, never the same one twice in a row
    """

    def __init__(self, widget, onChosen):
        self._widget = widget
        self._onChosen = onChosen
        self._path = widget.currentPath
        self._showing = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_MS)
        self._timer.connect("timeout()", self.flush)
        # the line itself, too: ctk does not tell that a field was emptied; PythonQt knows no comboBox() of the widget
        self._lines = slicer.util.findChildren(widget, className="QLineEdit")
        for line in self._lines:
            line.connect("textEdited(QString)", self._onTyped)
            line.connect("textChanged(QString)", self._onChanged)
            line.connect("editingFinished()", self.flush)
        widget.connect("currentPathChanged(QString)", self._onChanged)

    @property
    def path(self):
        """The path that was taken last; what is just being typed is none yet."""
        return self._path

    def show(self, path):
        """Write a path into the widget without telling so, unless it is there or the user is typing."""
        if self._timer.isActive():
            return
        self._path = path
        if self._widget.currentPath == path:
            return
        self._showing = True
        try:
            self._widget.setCurrentPath(path)
        finally:
            self._showing = False

    def flush(self):
        """Take now what is in the widget."""
        self._timer.stop()
        path = self._widget.currentPath
        if path != self._path:
            self._path = path
            self._onChosen(path)

    def drop(self):
        """Forget what is just being typed: what it is for is gone."""
        self._timer.stop()

    def _onTyped(self, _text=""):
        self._timer.start()

    def _onChanged(self, _path=""):
        if self._showing or self._widget.signalsBlocked():
            return
        # completions and the history write into the line while it has the keyboard
        if self._timer.isActive() or any(line.hasFocus() for line in self._lines):
            self._timer.start()
        else:
            self.flush()
