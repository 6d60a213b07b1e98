"""The contrast of the chosen scan: guessed once; what the user chose for a scan stays with it."""

from .inputs import guessModality
from .parameters import ModalityChoice

ATTRIBUTE = "CMMDetect.Modality"
"""Attribute of a volume: name of the `ModalityChoice` of the user, in either module, or of its review."""
NOT_YET = object()
"""No guess was made since the module or the scene was opened, which is not the same as having no volume chosen."""


class Contrast:
    """Keeps the contrast in a parameter node correct for the chosen volume.

    Parameters
    ----------
    volume, modality : names of the two parameters
    """

    def __init__(self, volume, modality):
        self._volume = volume
        self._modality = modality
        self._guessedFor = NOT_YET
        self._guess = (ModalityChoice.UNKNOWN, "")
        self._given = ModalityChoice.UNKNOWN

    def trust(self):
        """Keep the current value, which came with a scene or from the other module, instead of guessing."""
        self._guessedFor = NOT_YET

    def update(self, parameters):
        """Guess the contrast of a newly chosen volume, or remember what the user chose for it."""
        volume, modality = getattr(parameters, self._volume), getattr(parameters, self._modality)
        name = volume.GetID() if volume else None
        if name == self._guessedFor:
            self._remember(volume, modality)
            return
        first, self._guessedFor = self._guessedFor is NOT_YET, name
        found, where = guessModality(volume) if volume else (None, "")
        self._guess = ModalityChoice(found), where
        if volume is not None:
            kept = first and modality != ModalityChoice.UNKNOWN
            modality = chosenContrast(volume) or (modality if kept else self._guess[0])
            setattr(parameters, self._modality, modality)
        self._given = modality

    def hint(self, parameters):
        """Return where the contrast was read, in words; "" if the user chose it."""
        guessed, where = self._guess
        return where if getattr(parameters, self._modality) == guessed else ""

    def _remember(self, volume, modality):
        if volume is not None and modality != self._given:
            self._given = modality
            if modality == ModalityChoice.UNKNOWN:
                volume.RemoveAttribute(ATTRIBUTE)
            else:
                volume.SetAttribute(ATTRIBUTE, modality.name)


def settleContrast(volume, modality):
    """Remember the `Modality` by which a scan is reviewed, so that renaming the scan does not change it."""
    volume.SetAttribute(ATTRIBUTE, ModalityChoice(modality).name)


def chosenContrast(volume):
    """Return the contrast that the user chose for a volume, None if there is none."""
    name = volume.GetAttribute(ATTRIBUTE)
    return ModalityChoice[name] if name in ModalityChoice.__members__ else None
