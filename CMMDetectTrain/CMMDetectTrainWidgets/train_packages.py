"""The Python packages that a training needs: whether they are installed, and their installation with consent."""

import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMMDetectWidgets.installation import failuresInOneLine, installedBySlicer, installNetworks, networksReady

REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "CMMDetectTrain-requirements.txt"
PACKAGES = ("matplotlib", "sklearn", "threadpoolctl")
"""Import names of the requirements, besides what the networks need anyway."""


def trainingReady():
    """Whether all packages are installed; none of them is imported into the application."""
    return networksReady() and all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def installTraining():
    """Ask for consent, then download and install what is missing.

    Raises
    ------
    RuntimeError
        If the user declined or the installation failed; the message is for the user.
    """
    if not networksReady():
        installNetworks()
    if not trainingReady():
        with failuresInOneLine():
            _installRequirements()
    if not trainingReady():
        raise RuntimeError(_("The installation is not complete. Restart Slicer and try again."))


def _installRequirements():
    if installedBySlicer(REQUIREMENTS, "CMMDetectTrain"):
        return
    question = _(
        "To draw the report of a training, CMMDetectTrain needs the packages 'matplotlib' and 'scikit-learn' (about"
        " 20 MB). They are downloaded from the Python package index and installed into Slicer. Install them now?"
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError(_("Nothing was installed. Nothing can be trained without these packages."))
    slicer.util.pip_install(f'-r "{REQUIREMENTS}"')
