"""Keeps open the review of the chosen scan and reader."""

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.scene_nodes import show_only

from .parameters import ModalityChoice


class ReviewFollower:
    """Opens the review of the chosen scan whenever another one is chosen, and adds the candidates of a run to it.

    Parameters
    ----------
    keeper : the `ReviewKeeper`
    chosen : returns the chosen volume, its `ModalityChoice` and the results folder
    reader : the `ReaderLine`
    say : shows a message for the reader
    show : called with a scan that was chosen instead of another one
    """

    def __init__(self, keeper, chosen, reader, say, show):
        self._keeper = keeper
        self._chosen = chosen
        self._reader = reader
        self._say = say
        self._show = show
        self._followed = None
        self._searched = None
        self._searchedAt = None
        self._named = None
        self._isRefused = False

    def forget(self):
        """Search again for the review of the scan at the next `follow`, since the scene or its folder has changed."""
        self._followed = self._searched = None

    def retry(self):
        """Search again for a review that was refused at the next `follow`: its file may have been repaired."""
        if self._isRefused:
            self._followed = None

    def follow(self):
        """Open the review of the chosen scan that is in the scene or the results folder; without one, none is open."""
        following = self._chosen()
        if following == self._followed:
            return
        before, self._followed, self._isRefused = self._followed, following, False
        self._say("")
        volume, modality, folder = following
        self._keeper.close()
        self._named = self._reader.name
        show_only(volume)
        earlier = before[0] if before is not None else None
        if earlier is not None and volume not in (None, earlier):
            # the views must not show the earlier scan until there is a review
            self._show(volume)
        if volume is None or modality == ModalityChoice.UNKNOWN:
            return
        try:
            self._keeper.goOn(volume, modality.value, folder, self._named)
        except CMMDetectError as error:
            self._isRefused = True
            self._say(str(error))

    def begin(self, blind):
        """Start a review without candidates, for a reader who marks before the detector does."""
        volume, modality, folder = self._chosen()
        if not self._keeper.goOn(volume, modality.value, folder, self._reader.name):
            self._keeper.start(volume, modality.value, folder, self._reader.name, blind=blind)

    def search(self):
        """Return the chosen scan and the results folder for a run.

        They are stored for `takeRun`, since another scan, contrast and folder may be chosen when the run ends.
        """
        volume, modality, folder = self._searched = self._chosen()
        scan = self._keeper.scanOf(volume, modality.value, folder)
        self._searchedAt = scan.affine
        return scan, folder

    def takeRun(self, files, blind):
        """Open the review of the scan with the candidates that the run found, and return its volume.

        Raises
        ------
        InputError
            If the volume is gone.
        """
        volume, modality, folder = self._searched
        if not slicer.mrmlScene.IsNodePresent(volume):
            raise InputError(_("The scan was removed while it was searched; the results are in the results folder."))
        whose = volume, modality.value, folder, self._reader.name
        self._keeper.takeRun(*whose, files, blind, self._searchedAt)
        self._followed = self._searched
        return volume

    def changeReader(self, name):
        """Continue under another name; without an open review, `follow` searches for that reader's."""
        session = self._keeper.session
        if session is not None and name != session.reader:
            self._keeper.changeReader(name)
        elif session is None and name != self._named:
            self._followed = None
