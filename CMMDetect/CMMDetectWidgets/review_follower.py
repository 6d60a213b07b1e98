"""Which review is open: that of the scan that is chosen, in the name of who reads."""

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.scene_nodes import show_only

from .parameters import ModalityChoice


class ReviewFollower:
    """Opens the review of the chosen scan whenever another one is chosen, and brings to it what a run has found.

    Parameters
    ----------
    keeper : the `ReviewKeeper`
    chosen : gives what is chosen: the volume, its `ModalityChoice` and the results folder
    reader : the `ReaderLine`
    say : tells the reader something
    show : told a scan that was chosen in place of another one
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
        """Look again for the review of the scan, though no other one is chosen; the scene or its folder is another."""
        self._followed = self._searched = None

    def retry(self):
        """Look again for a review that was refused: its file may have been put right meanwhile."""
        if self._isRefused:
            self._followed = None

    def follow(self):
        """Open the review that the scene or the results folder holds of the chosen scan."""
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
            # whoever looks before there is a review must not look at the earlier scan
            self._show(volume)
        if volume is None or modality == ModalityChoice.UNKNOWN:
            return
        try:
            self._keeper.goOn(volume, modality.value, folder, self._named)
        except CMMDetectError as error:
            self._isRefused = True
            self._say(str(error))

    def begin(self, blind):
        """Start a review of nothing, for a reader who marks before the detector does."""
        volume, modality, folder = self._chosen()
        if not self._keeper.goOn(volume, modality.value, folder, self._reader.name):
            self._keeper.start(volume, modality.value, folder, self._reader.name, blind=blind)

    def search(self):
        """Give the chosen scan and the results folder for a run.

        What is chosen when the run ends may be another scan, contrast and folder: what it finds goes to these.
        """
        volume, modality, folder = self._searched = self._chosen()
        scan = self._keeper.scanOf(volume, modality.value, folder)
        self._searchedAt = scan.affine
        return scan, folder

    def takeRun(self, files, blind):
        """Review what the run found; give the volume that it searched.

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
        """Go on under another name; without a review `follow` looks for theirs."""
        session = self._keeper.session
        if session is not None and name != session.reader:
            self._keeper.changeReader(name)
        elif session is None and name != self._named:
            self._followed = None
