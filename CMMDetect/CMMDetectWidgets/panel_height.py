"""Keeps a panel high enough for its texts."""

import qt


class PanelHeight(qt.QWidget):
    """Keeps a panel as high as its texts need at its width.

    The layout of Slicer's module panel does not do this reliably: Slicer keeps the layout item with which a module was
    shown before, and Qt notifies only that item when the contents change. A module that is shown again would keep the
    height that it once needed at this width, and longer texts would be cut off.

    Parameters
    ----------
    panel : the widget that Slicer shows
    """

    def __init__(self, panel):
        qt.QWidget.__init__(self)
        self._panel = panel
        panel.installEventFilter(self)

    def release(self):
        """Stop observing the panel."""
        self._panel.removeEventFilter(self)

    def eventFilter(self, watched, event):
        """Update the height when the contents or the width of the panel changed; the event is passed on."""
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            self._panel.setMinimumHeight(max(0, self._panel.heightForWidth(self._panel.width)))
        return False
