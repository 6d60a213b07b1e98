"""Keyboard shortcuts of the review. One table defines their actions, tool tips and the list on the screen."""

import qt
import slicer
from slicer.i18n import tr as _

SHORTCUTS = {
    "accept": ("Y", _("Accept: it is a microbleed")),
    "reject": ("N", _("Reject: it is not a microbleed")),
    "undecided": ("U", _("Undecided: clear the verdict")),
    "previous": (",", _("Previous candidate")),
    "next": (".", _("Next candidate")),
    "nextUndecided": ("J", _("Next candidate without a verdict; starts again at the end")),
    "move": ("M", _("Move: click in a slice view where the candidate really is")),
    "add": ("A", _("Add: click in a slice view on a microbleed that was missed")),
    "cancel": ("Esc", _("Cancel a move or an addition that waits for its click")),
    "undo": ("Ctrl+Z", _("Undo")),
    "redo": ("Ctrl+Y", _("Redo")),
    "slab": ("S", _("Minimum intensity projection (QSM: maximum) of a slab on or off")),
    "hide": ("H", _("Hold down to hide all markings")),
}
"""Key and description of each action."""
APPLICATION_ACTIONS = ("EditUndoAction", "EditRedoAction")
"""Actions of Slicer's main window on Ctrl+Z and Ctrl+Y: if two shortcuts share a key, Qt triggers neither."""
AT_TIMES = ("cancel",)
"""Actions whose keys are Slicer's own except while they are wanted; see `KeyBindings.want`."""


def tooltip(name):
    """Tool tip of an action's button."""
    key, text = SHORTCUTS[name]
    return _("{action} (key: {key})").format(action=text, key=key)


def legend():
    """List of the shortcuts, as rich text for a label."""
    rows = [f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>" for key, text in SHORTCUTS.values()]
    return "<table>" + "".join(rows) + "</table>"


class KeyBindings:
    """Installs and removes the shortcuts.

    Parameters
    ----------
    panel : the module's widget, for an application without a main window
    actions : function of each action; 'hide' is called with True when the key is pressed and False when it is released
    """

    def __init__(self, panel, actions):
        self._panel = panel
        self._actions = actions
        self._shortcuts = {}
        self._unwanted = set(AT_TIMES)
        self._lent = []
        self._release = ReleaseWatch(self._onReleased)

    @property
    def live(self):
        """Whether the shortcuts are installed."""
        return bool(self._shortcuts)

    def install(self):
        """Install the shortcuts."""
        if self.live:
            return
        window = slicer.util.mainWindow() or self._panel.window()
        self._lendApplicationKeys(window)
        for name, (key, _text) in SHORTCUTS.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.setAutoRepeat(name in ("previous", "next", "undo", "redo"))
            shortcut.connect("activated()", self._onHidden if name == "hide" else self._actions[name])
            shortcut.setEnabled(name not in self._unwanted)
            self._shortcuts[name] = shortcut

    def want(self, name, wanted):
        """Let the key of an action do it, or leave the key to Slicer."""
        (self._unwanted.discard if wanted else self._unwanted.add)(name)
        if self.live:
            self._shortcuts[name].setEnabled(wanted)

    def remove(self):
        """Remove the shortcuts and return their keys to the application."""
        self._release.stop()
        for shortcut in self._shortcuts.values():
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = {}
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
    """Reports when the key of a shortcut is released, since QShortcut reports only that it is pressed.

    It watches one widget, and only while the key is down.
    """

    def __init__(self, onReleased):
        qt.QWidget.__init__(self)
        self._onReleased = onReleased
        self._watched = None

    def start(self, widget):
        """Watch the widget with the keyboard focus until the key is released or the focus is lost."""
        self.stop()
        self._watched = widget
        widget.installEventFilter(self)

    def stop(self):
        """Stop watching, and report that the key is up."""
        if self._watched is None:
            return
        watched, self._watched = self._watched, None
        watched.removeEventFilter(self)
        self._onReleased()

    def eventFilter(self, watched, event):
        """Look for the end of the key press; the event is passed on."""
        kind = event.type()
        up = kind == qt.QEvent.KeyRelease and not event.isAutoRepeat()
        if up or kind in (qt.QEvent.FocusOut, qt.QEvent.WindowDeactivate, qt.QEvent.Hide):
            self.stop()
        return False
