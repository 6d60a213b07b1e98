"""The height of a panel, which follows its texts."""

import qt


class PanelHeight(qt.QWidget):
    """Keeps a panel as high as it has to be for its texts at its width.

    The layout of Slicer's module panel cannot be relied on for that: Slicer leaves the layout item behind with which a
    module was shown before, and Qt tells only that one when the contents change. A module that is shown again would
    have the height that it once needed at this width, and its longer texts would be cut off.

    Parameters
    ----------
    panel : the widget that Slicer shows
    """

    def __init__(self, panel):
        qt.QWidget.__init__(self)
        self._panel = panel
        panel.installEventFilter(self)

    def release(self):
        """Leave the panel alone."""
        self._panel.removeEventFilter(self)

    def eventFilter(self, watched, event):
        """Measure the panel when its contents or its width have changed, and let the event happen."""
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            self._panel.setMinimumHeight(max(0, self._panel.heightForWidth(self._panel.width)))
        return False
