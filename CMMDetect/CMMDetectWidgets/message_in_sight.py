"""Keeps a message from appearing where the user has not scrolled to."""

import qt

from .slice_views import later


class MessageInSight(qt.QWidget):
    """Scrolls a panel to a message when it appears.

    A panel is higher than most screens: that a decision was not saved must not be told below its visible part.

    Parameters
    ----------
    label : the QLabel of the message, hidden as long as there is none
    """

    def __init__(self, label):
        qt.QWidget.__init__(self)
        self._label = label
        label.installEventFilter(self)

    def release(self):
        """Stop observing the label."""
        self._label.removeEventFilter(self)

    def eventFilter(self, watched, event):
        """Look for the moment when the label is shown; the event is passed on."""
        if event.type() == qt.QEvent.Show:
            # the panel has no room for it yet
            later(self._scroll)
        return False

    def _scroll(self):
        area = self._label.parent()
        while area is not None and not area.inherits("QScrollArea"):
            area = area.parent()
        if area is not None and self._label.isVisible():
            area.ensureWidgetVisible(self._label)
