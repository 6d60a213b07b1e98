"""What the slice views show during a review, as requested by the panel."""

import qt
import slicer

from CMMDetectLib.scene_views import PointPlacer, Slab, jump_to, show_scan


def later(function):
    """Call a function after the current event has been handled."""
    qt.QTimer.singleShot(0, function)


class SliceViews:
    """The slice views and the markings in them. While another module is shown they are left untouched.

    Parameters
    ----------
    parameters : returns the parameter node
    """

    def __init__(self, parameters):
        self._parameters = parameters
        self._placer = PointPlacer(later)
        self._slab = Slab()
        self._slabWanted = False
        self.entered = False
        """Whether the panel is shown, so that it may change the views."""
        self._waiting = {}
        self.markings = None
        """The `ReviewScene` whose markings are shown, None without a review."""

    @property
    def placing(self):
        """Whether it is waiting for a click."""
        return self._placer.active

    def centerOn(self, position):
        """Center all views on a position (RAS mm), with the fixed field of view."""
        if self.entered:
            jump_to(position, self._parameters().fieldOfViewMm)
        else:
            self._waiting["position"] = position

    def place(self, placed, cancelled):
        """Call ``placed`` with the position of the next click in a view, or ``cancelled`` if the user cancels."""
        self._placer.start(placed, cancelled)

    def stopPlacing(self):
        """Stop waiting for a click."""
        self._placer.stop()

    def setSlab(self, on=False):
        """Switch the slab on or off: minimum intensity for dark lesions, maximum for bright ones."""
        self._slabWanted = on
        self.updateSlab()

    def updateSlab(self):
        """Update the slab from the settings; without a slab the views are left untouched."""
        parameters = self._parameters()
        modality = parameters.modality.value if parameters is not None else None
        # in an unknown contrast it is not known whether lesions are dark or bright
        if self._slabWanted and modality is not None:
            self._slab.show(modality, parameters.slabMm)
        else:
            self._slab.end()

    def hideMarkings(self, hidden):
        """Hide all markings on the scan, or show them again."""
        if self.markings is not None:
            self.markings.show_markings(not hidden)

    def showScan(self, volume):
        """Show the scan in the background of the views if another volume is there."""
        if self.entered:
            show_scan(volume)
        else:
            self._waiting = {"volume": volume}

    def enter(self):
        """Show what was requested while another module was shown; otherwise the views stay as the user left them."""
        self.entered = True
        waiting, self._waiting = self._waiting, {}
        if "volume" in waiting and slicer.mrmlScene.IsNodePresent(waiting["volume"]):
            self.showScan(waiting["volume"])
        if "position" in waiting and self.markings is not None:
            self.centerOn(waiting["position"])

    def leave(self):
        """Undo the changes to the views that would disturb other modules; their position stays."""
        self.entered = False
        self._placer.stop()
        self.hideMarkings(False)
        self._slab.end()
