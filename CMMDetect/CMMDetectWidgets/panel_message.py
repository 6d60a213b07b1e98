"""Messages of a worker in the words of the panel: the library speaks of files and of options of the command line."""

import os
import re

from slicer.i18n import tr as _

from .parameters import ModalityChoice

MODALITY_OPTIONS = re.compile(r"say --modality (\w+)(?: or --modality (\w+))?")
WORDS = {
    "with --mask": _('under "Brain mask"'),
    "with --model": _('under "Model"'),
    "--method classical": _("the classical method"),
    "--device": _('under "Device"'),
}


def panelMessage(message, folder):
    """Return what a worker says as the panel says it.

    Parameters
    ----------
    message : one line
    folder : the temporary folder of the job, which is deleted with the run

    >>> panelMessage(f"{os.path.join('x7', 'sub-01_swi.nii')}: no brain; give the brain with --mask", "x7")
    'sub-01_swi.nii: no brain; give the brain under "Brain mask"'
    >>> panelMessage("as in a magnitude; give the map, or say --modality swi or --modality t2star", "x7")
    'as in a magnitude; give the map, or choose the contrast "SWI" or "T2*-weighted GRE, magnitude"'
    """
    message = MODALITY_OPTIONS.sub(_contrasts, message.replace(f"{folder}{os.sep}", ""))
    for option, words in WORDS.items():
        message = message.replace(option, words)
    return message


def _contrasts(found):
    labels = {choice.value: choice.label() for choice in ModalityChoice}
    chosen = [f'"{labels.get(name, name)}"' for name in found.groups() if name]
    return _("choose the contrast {names}").format(names=_(" or ").join(chosen))
