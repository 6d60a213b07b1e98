"""What the slice views show during a review, as the panel asks for it."""

import qt
import slicer

from CMMDetectLib.scene_views import PointPlacer, Slab, jump_to, show_scan


def later(function):
    """Call a function when the event that is being handled is over."""
    qt.QTimer.singleShot(0, function)


class SliceViews:
    """The slice views, and the markings in them. While another module is shown they are left alone.

    Parameters
    ----------
    parameters : gives the parameter node
    """

    def __init__(self, parameters):
        self._parameters = parameters
        self._placer = PointPlacer(later)
        self._slab = Slab()
        self._slabWanted = False
        self.entered = False
        """Whether the panel is shown, so that the views are its own."""
        self._waiting = {}
        self.markings = None
        """The `ReviewScene` whose markings are shown, None without a review."""

    @property
    def placing(self):
        """Whether a click is awaited."""
        return self._placer.active

    def centerOn(self, position):
        """Bring a position (RAS mm) into the middle of all views, with the fixed field of view."""
        if self.entered:
            jump_to(position, self._parameters().fieldOfViewMm)
        else:
            self._waiting["position"] = position

    def place(self, placed, cancelled):
        """Take the next click in a view, and call a function with its position, or another one if none comes."""
        self._placer.start(placed, cancelled)

    def stopPlacing(self):
        """Await no click any more."""
        self._placer.stop()

    def setSlab(self, on=False):
        """Switch the slab of the chosen thickness: the minimum of dark lesions, the maximum of bright ones."""
        self._slabWanted = on
        self.updateSlab()

    def updateSlab(self):
        """Bring the slab to the settings as they are now; the views of who wants none are left alone."""
        parameters = self._parameters()
        modality = parameters.modality.value if parameters is not None else None
        # of an unknown contrast nobody knows whether its lesions are dark or bright
        if self._slabWanted and modality is not None:
            self._slab.show(modality, parameters.slabMm)
        else:
            self._slab.end()

    def hideMarkings(self, hidden):
        """Hide all that lies on the scan, or show it again."""
        if self.markings is not None:
            self.markings.show_markings(not hidden)

    def showScan(self, volume):
        """Put the scan into the background of the views if another volume is there."""
        if self.entered:
            show_scan(volume)
        else:
            self._waiting = {"volume": volume}

    def enter(self):
        """Show what there was to show while another module had the views; else they stay as the user had them."""
        self.entered = True
        waiting, self._waiting = self._waiting, {}
        if "volume" in waiting and slicer.mrmlScene.IsNodePresent(waiting["volume"]):
            self.showScan(waiting["volume"])
        if "position" in waiting and self.markings is not None:
            self.centerOn(waiting["position"])

    def leave(self):
        """Take back what was done to the views and would be in the way elsewhere; their place stays."""
        self.entered = False
        self._placer.stop()
        self.hideMarkings(False)
        self._slab.end()
