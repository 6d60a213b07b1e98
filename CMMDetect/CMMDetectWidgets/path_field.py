"""A path field that reports a path when the user has finished it, not at every key press."""

import qt
import slicer

TYPING_MS = 700
"""Pause in typing after which a path counts as finished."""


class PathField:
    """Reports the path of a ctkPathLineEdit once it is complete.

    A path that is typed, completed or picked from the history is reported after a pause or when editing is finished;
    one that is set by the browse button or a script is reported at once.

    Parameters
    ----------
    widget : ctkPathLineEdit
    onChosen : called with the new path, never with the same one twice in a row
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
        # the line edit, too: ctk does not report that a field was emptied; comboBox() is not accessible in PythonQt
        self._lines = slicer.util.findChildren(widget, className="QLineEdit")
        for line in self._lines:
            line.connect("textEdited(QString)", self._onTyped)
            line.connect("textChanged(QString)", self._onChanged)
            line.connect("editingFinished()", self.flush)
        widget.connect("currentPathChanged(QString)", self._onChanged)

    @property
    def path(self):
        """The path that was reported last, without what is still being typed."""
        return self._path

    def show(self, path):
        """Show a path without reporting it, unless it is shown already or the user is typing."""
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
        """Report the path in the widget now."""
        self._timer.stop()
        path = self._widget.currentPath
        if path != self._path:
            self._path = path
            self._onChosen(path)

    def drop(self):
        """Discard what is still being typed."""
        self._timer.stop()

    def _onTyped(self, _text=""):
        self._timer.start()

    def _onChanged(self, _path=""):
        if self._showing or self._widget.signalsBlocked():
            return
        # completion and history change the line edit while it has the keyboard focus
        if self._timer.isActive() or any(line.hasFocus() for line in self._lines):
            self._timer.start()
        else:
            self.flush()
