"""What the slice views show during a review, as the panel asks for it."""

import qt
import slicer

from CMMDetectLib.scene_views import PointPlacer, jump_to, show_slab


def later(function):
    """Call a function when the event that is being handled is over."""
    qt.QTimer.singleShot(0, function)


class SliceViews:
    """The slice views, and the markings in them.

    Parameters
    ----------
    parameters : gives the parameter node
    """

    def __init__(self, parameters):
        self._parameters = parameters
        self._placer = PointPlacer(later)
        self._slab = False
        self.markings = None
        """The `ReviewScene` whose markings are shown, None without a review."""

    @property
    def placing(self):
        """Whether a click is awaited."""
        return self._placer.active

    def centerOn(self, position):
        """Bring a position (RAS mm) into the middle of all views, with the fixed field of view."""
        jump_to(position, self._parameters().fieldOfViewMm)

    def place(self, placed):
        """Take the next click in a view, and call a function with its position."""
        self._placer.start(placed)

    def stopPlacing(self):
        """Await no click any more."""
        self._placer.stop()

    def setSlab(self, on=False):
        """Switch the slab of the chosen thickness: the minimum of dark lesions, the maximum of bright ones."""
        self._slab = on
        self.updateSlab()

    def updateSlab(self):
        """Bring the slab to the settings as they are now."""
        parameters = self._parameters()
        show_slab(parameters.modality.value if self._slab else None, parameters.slabMm)

    def hideMarkings(self, hidden):
        """Hide all that lies on the scan, or show it again."""
        if self.markings is not None:
            self.markings.show_markings(not hidden)

    def showScan(self, volume):
        """Put the scan into the background of the views if another volume is there."""
        if slicer.app.layoutManager() is None:
            return
        shown = {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
        if shown != {volume.GetID()}:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def leave(self):
        """Give the views back as another module expects them."""
        self._placer.stop()
        self.hideMarkings(False)
        show_slab(None)
