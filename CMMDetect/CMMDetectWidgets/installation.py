"""PyTorch, which the neural networks need: whether it is installed, and its installation with the user's consent."""

import contextlib
import importlib.metadata
import importlib.util
import subprocess
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.bundle import SHIPPED_BUNDLE
from CMMDetectLib.bundle_choice import chosen_bundle

from .models_folder import modelsFolder

REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "CMMDetect-requirements.txt"
TORCH_REQUIREMENT = ">=2.2"


def torchVersion():
    """Version of the installed PyTorch, None without it. PyTorch is never imported into the application."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def networksReady():
    """Whether all packages that the networks need are installed."""
    return torchVersion() is not None and importlib.util.find_spec("safetensors") is not None


def modelFolder(chosen):
    """Folder of the model to use: the given one, else the user's own, else the shipped one; None if there is none."""
    own = Path(chosen).expanduser() if chosen else chosen_bundle(modelsFolder())
    if own is not None:
        return own
    return SHIPPED_BUNDLE if SHIPPED_BUNDLE.is_dir() else None


def installNetworks():
    """Ask for consent, then download and install what the networks need.

    Raises
    ------
    RuntimeError
        If the user declined or the installation failed; the message is for the user.
    """
    with failuresInOneLine():
        if torchVersion() is None and not _installTorch():
            raise RuntimeError(_("PyTorch was not installed. Detection with the classical method works without it."))
        _installRequirements()
    if not networksReady():
        raise RuntimeError(_("The installation is not complete. Restart Slicer and try again."))


@contextlib.contextmanager
def failuresInOneLine():
    """Turn a failure of pip into a RuntimeError with a message for the user; pip itself has logged the cause."""
    try:
        yield
    except (subprocess.CalledProcessError, OSError) as error:
        text = _(
            "The packages could not be downloaded or installed. Check the connection to the internet and try again;"
            " the Python console says more."
        )
        raise RuntimeError(text) from error


def _installTorch():
    """Install PyTorch through the PyTorch extension, which picks the build for the graphics card."""
    try:
        import PyTorchUtils
    except ImportError:
        text = _(
            "PyTorch comes by another extension: open the Extensions Manager, install 'PyTorch', and restart Slicer."
            " Detection with the classical method works without it."
        )
        raise RuntimeError(text) from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    return logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT) is not None


def installedBySlicer(requirements, requester):
    """Install a requirements file after Slicer's own dialog; False if this Slicer has none (before 5.12)."""
    try:
        import slicer.packaging as packaging
    except ImportError:
        return False
    packaging.pip_ensure(packaging.load_requirements(str(requirements)), requester=requester)
    return True


def _installRequirements():
    """Install the small packages besides PyTorch."""
    if installedBySlicer(REQUIREMENTS, "CMMDetect") or importlib.util.find_spec("safetensors") is not None:
        return
    question = _(
        "To read the models, CMMDetect needs the small package 'safetensors' (below 1 MB). It is downloaded from the"
        " Python package index and installed into Slicer. Install it now?"
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError(_("Nothing was installed. Detection with the classical method works without it."))
    slicer.util.pip_install(f'-r "{REQUIREMENTS}"')
