"""The contrast of the chosen scan: guessed once, and what the user says of a scan stays with it."""

from CMMDetectWidgets.inputs import guessModality
from CMMDetectWidgets.parameters import ModalityChoice

ATTRIBUTE = "CMMDetect.Modality"
"""Of a volume: name of the `ModalityChoice` that the user made, in this module or in CMMDetect."""
NOT_YET = object()
"""Nothing was guessed since the module or the scene was opened, which is not the same as: no volume is chosen."""


class Contrast:
    """Keeps the parameter `labelModality` right for the volume that is chosen."""

    def __init__(self):
        self._guessedFor = NOT_YET
        self._given = ModalityChoice.UNKNOWN

    def forget(self):
        """What is in the parameters now came with them: it is not guessed over."""
        self._guessedFor = NOT_YET

    def update(self, parameters):
        """Guess the contrast of a volume that was just chosen, or remember what the user chose for it."""
        volume = parameters.labelVolume
        name = volume.GetID() if volume else None
        if name == self._guessedFor:
            self._remember(volume, parameters.labelModality)
            return
        first, self._guessedFor = self._guessedFor is NOT_YET, name
        if volume is not None:
            kept = first and parameters.labelModality != ModalityChoice.UNKNOWN
            guessed = parameters.labelModality if kept else ModalityChoice(guessModality(volume)[0])
            parameters.labelModality = chosenContrast(volume) or guessed
        self._given = parameters.labelModality

    def _remember(self, volume, modality):
        if volume is not None and modality != self._given:
            self._given = modality
            if modality == ModalityChoice.UNKNOWN:
                volume.RemoveAttribute(ATTRIBUTE)
            else:
                volume.SetAttribute(ATTRIBUTE, modality.name)


def chosenContrast(volume):
    """Give the contrast that the user chose for a volume, None if there is none."""
    name = volume.GetAttribute(ATTRIBUTE)
    return ModalityChoice[name] if name in ModalityChoice.__members__ else None
