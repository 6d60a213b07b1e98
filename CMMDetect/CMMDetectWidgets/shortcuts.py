"""The keys of the review. One table defines what they do, their tooltips and the list on the screen."""

import qt
import slicer
from slicer.i18n import tr as _

SHORTCUTS = {
    "accept": ("Y", _("Accept: it is a microbleed")),
    "reject": ("N", _("Reject: it is none")),
    "undecided": ("U", _("Undecided: take the verdict back")),
    "previous": (",", _("Previous candidate")),
    "next": (".", _("Next candidate")),
    "nextUndecided": ("J", _("Next candidate without a verdict; starts again at the end")),
    "move": ("M", _("Move: click in a slice view where the candidate really is")),
    "add": ("A", _("Add: click in a slice view on a microbleed that was missed")),
    "undo": ("Ctrl+Z", _("Undo")),
    "redo": ("Ctrl+Y", _("Redo")),
    "slab": ("S", _("Slab of least intensity (QSM: greatest) on or off")),
    "hide": ("H", _("Hold down to hide all markings")),
}
"""Name of the action to its key and what it does."""
APPLICATION_ACTIONS = ("EditUndoAction", "EditRedoAction")
"""Actions of Slicer's main window on Ctrl+Z and Ctrl+Y: of two live shortcuts on one key neither would work."""


def tooltip(name):
    """What an action's button says when the mouse rests on it."""
    key, text = SHORTCUTS[name]
    return _("{action} (key: {key})").format(action=text, key=key)


def legend():
    """The list of keys, as rich text for a label."""
    rows = [f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>" for key, text in SHORTCUTS.values()]
    return "<table>" + "".join(rows) + "</table>"


class KeyBindings:
    """Makes the keys live, and takes them away again.

    Parameters
    ----------
    panel : the module's widget, for an application without a main window
    actions : name of an action to what it does; 'hide' takes True when the key goes down and False when it is released
    """

    def __init__(self, panel, actions):
        self._panel = panel
        self._actions = actions
        self._shortcuts = []
        self._lent = []
        self._release = ReleaseWatch(self._onReleased)

    @property
    def live(self):
        """Whether the keys work now."""
        return bool(self._shortcuts)

    def install(self):
        """Make the keys live."""
        if self.live:
            return
        window = slicer.util.mainWindow() or self._panel.window()
        self._lendApplicationKeys(window)
        for name, (key, _text) in SHORTCUTS.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.setAutoRepeat(name in ("previous", "next", "undo", "redo"))
            shortcut.connect("activated()", self._onHidden if name == "hide" else self._actions[name])
            self._shortcuts.append(shortcut)

    def remove(self):
        """Give the keys back to the application."""
        self._release.stop()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        for action, keys in self._lent:
            action.setShortcut(keys)
        self._lent = []

    def _lendApplicationKeys(self, window):
        for action in slicer.util.findChildren(window, className="QAction"):
            if action.name in APPLICATION_ACTIONS:
                self._lent.append((action, action.shortcut))
                action.setShortcut(qt.QKeySequence())

    def _onHidden(self):
        self._actions["hide"](True)
        self._release.start(qt.QApplication.focusWidget() or self._panel)

    def _onReleased(self):
        self._actions["hide"](False)


class ReleaseWatch(qt.QWidget):
    """Tells when a key that a shortcut took is released: a shortcut itself tells only that it went down.

    It watches one widget, and only while the key is down.
    """

    def __init__(self, onReleased):
        qt.QWidget.__init__(self)
        self._onReleased = onReleased
        self._watched = None

    def start(self, widget):
        """Watch the widget that has the keyboard until the key is released or the keyboard goes elsewhere."""
        self.stop()
        self._watched = widget
        widget.installEventFilter(self)

    def stop(self):
        """Watch no longer; whoever waits is told that the key is up."""
        if self._watched is None:
            return
        watched, self._watched = self._watched, None
        watched.removeEventFilter(self)
        self._onReleased()

    def eventFilter(self, watched, event):
        """Look at what happens to the watched widget, and let it happen."""
        kind = event.type()
        up = kind == qt.QEvent.KeyRelease and not event.isAutoRepeat()
        if up or kind in (qt.QEvent.FocusOut, qt.QEvent.WindowDeactivate, qt.QEvent.Hide):
            self.stop()
        return False
