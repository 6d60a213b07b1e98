"""The inputs of a detection: checks, the guessed contrast, and the files that the worker reads."""

import re
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from CMMDetectLib.bundle import read_bundle
from CMMDetectLib.candidates import write_json
from CMMDetectLib.errors import InputError
from CMMDetectLib.orientation import is_right_angled
from CMMDetectLib.scan import PLAUSIBLE_SPACING_MM, Modality, guess_modality, write_image
from CMMDetectLib.scene_volume import affine_of

from .installation import modelFolder, networksReady
from .parameters import MethodChoice, ModalityChoice

NAME_WORDS = (
    (Modality.QSM, r"qsm|chi|chimap|suscept\w*map"),
    (Modality.SWI, r"swi\w*|swan|venobold|minip"),
    (Modality.T2STAR, r"t2star\w*|t2s|t2|gre|ge|ffe|flash|medic|merge|hemo|heme"),
)
"""Words in the names of volumes and series, as scanner vendors use them; the first match counts."""
MASK_PARTS = 100
"""Parts in which the voxels of a mask are searched, until one has what is looked for."""
DICOM_TAGS = {"0008,103E": _("series description"), "0018,1030": _("protocol name"), "0018,0024": _("sequence name")}


def guessFromText(text):
    """Return the contrast that a free text names, None if it names none.

    >>> guessFromText("AX SWAN 3mm"), guessFromText("ep2d_diff")
    (<Modality.SWI: 'swi'>, None)
    """
    words = re.findall(r"[a-z0-9]+", text.lower().replace("t2*", "t2star"))
    for modality, pattern in NAME_WORDS:
        if any(re.fullmatch(pattern, word) for word in words):
            return modality
    return None


def guessModality(volumeNode):
    """Return the contrast of a volume and, in words, where it was read; None and "" if it is not known."""
    # Slicer numbers volumes with the same name
    name = re.sub(r"_\d+$", "", volumeNode.GetName() or "")
    found = guess_modality(name) or guessFromText(name)
    if found:
        return found, _("from the name")
    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if uids and database:
        for tag, words in DICOM_TAGS.items():
            found = guessFromText(database.instanceValue(uids[0], tag))
            if found:
                return found, _("from the DICOM {tag}").format(tag=words)
    return None, ""


def problemOf(parameters):
    """Return in one line why the detection cannot be started, "" if it can."""
    volume = parameters.inputVolume
    if volume is None:
        return _("Choose the scan to search.")
    return (
        _problemOfVolume(volume)
        or (_("Say what contrast the scan has.") if parameters.modality == ModalityChoice.UNKNOWN else "")
        or _problemOfMask(parameters)
        or _problemOfMethod(parameters)
    )


def methodName(parameters):
    """Return the worker's name of the method that runs: the chosen one, or the best that can run here."""
    if parameters.method != MethodChoice.BEST:
        return parameters.method.value
    return bestMethod(parameters.model)


def bestMethod(model=""):
    """Return the worker's name of the best method that can run here; ``model`` as in `modelFolder`."""
    ready = networksReady() and modelFolder(model) is not None
    return MethodChoice.NETWORKS.value if ready else MethodChoice.CLASSICAL.value


def methodOptions(method, model=""):
    """Return method and model as fields of `DetectionJob`; without a model, the one in use."""
    if method != MethodChoice.NETWORKS.value:
        return {"method": method}
    return {"method": method, "model": str(modelFolder(model))}


def jobOptions(parameters):
    """Return the panel's settings as fields of `DetectionJob`."""
    options = {**methodOptions(methodName(parameters), parameters.model), "device": parameters.device.value}
    if parameters.ownThresholds:
        options |= {
            "th_detection": parameters.thDetection,
            "th_discrimination": parameters.thDiscrimination,
            "min_volume_mm3": parameters.minVolumeMm3,
            "max_ellipticity": parameters.maxEllipticity,
            "min_skull_distance_mm": parameters.minSkullDistanceMm,
        }
    return options


def writeJob(scan, mask, options, folder):
    """Write a scan, its mask ((k, j, i) or None) and the job for the worker; return the path of the job file."""
    folder = Path(folder)
    # not compressed, since the user is waiting
    job = {
        "scan": str(folder / f"{scan.name}.nii"),
        "output": str(folder / "results"),
        "modality": scan.modality,
        **options,
    }
    write_image(Path(job["scan"]), scan.array, scan.affine)
    if mask is not None:
        job["mask"] = str(folder / "mask.nii")
        write_image(Path(job["mask"]), mask.T.astype(np.uint8), scan.affine)
    write_json(folder / "job.json", job)
    return folder / "job.json"


def maskArray(parameters):
    """Return the brain mask on the voxels of the scan, in Slicer's (k, j, i) order; None without one."""
    if parameters.maskVolume is not None:
        return slicer.util.arrayFromVolume(parameters.maskVolume) != 0
    if parameters.maskSegmentation is not None and parameters.maskSegment:
        segment = (parameters.maskSegmentation, parameters.maskSegment, parameters.inputVolume)
        return slicer.util.arrayFromSegmentBinaryLabelmap(*segment) != 0
    return None


def methodSettings(parameters):
    """Return the thresholds and cut-offs that belong to the method; None if the model cannot be read."""
    from CMMDetectLib.classical_method import ClassicalMethod

    folder = modelFolder(parameters.model)
    if methodName(parameters) == MethodChoice.CLASSICAL.value or folder is None:
        return ClassicalMethod().settings
    try:
        return read_bundle(folder).settings
    except InputError:
        return None


def _problemOfVolume(volume):
    image = volume.GetImageData()
    if image is None:
        return _("The scan is empty. Load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        return _("The scan has colors or vectors. One gray value per voxel is needed.")
    if min(image.GetDimensions()) < 2:
        return _("The scan is one 2D slice. A 3D volume is needed.")
    low, high = PLAUSIBLE_SPACING_MM
    if not all(low <= step <= high for step in volume.GetSpacing()):
        return _("The voxel size of the scan cannot be right. Correct it in the Volumes module.")
    bottom, top = image.GetScalarRange()
    if not bottom < top:
        return _("Every voxel of the scan has the same value. There is no image in it.")
    transform = volume.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        return _("The scan is warped by a transform. Harden the transform in the Data module first.")
    if not is_right_angled(affine_of(volume)):
        return _("A transform has sheared the scan. Resample it to a right-angled grid first.")
    return ""


def _problemOfMask(parameters):
    mask, scan = parameters.maskVolume, parameters.inputVolume
    if mask is not None:
        if mask.GetImageData() is None or not mask.GetImageData().GetScalarRange()[1] > 0:
            return _("The brain mask is empty.")
        same = mask.GetImageData().GetDimensions() == scan.GetImageData().GetDimensions()
        if not (same and np.allclose(affine_of(mask), affine_of(scan), atol=0.01)):
            return _("The brain mask has other voxels than the scan. Resample it to the scan first.")
    elif parameters.maskSegmentation is not None:
        segmentation = parameters.maskSegmentation.GetSegmentation()
        if segmentation.GetSegment(parameters.maskSegment) is None:
            return _("Choose the segment that is the brain.")
        if _isEmpty(parameters):
            return _("The segment that is the brain mask is empty.")
    return ""


def _isEmpty(parameters):
    """Whether a segment has no voxels; checked in its stored representation, so that nothing has to be exported."""
    bounds = np.zeros(6)
    segment = parameters.maskSegmentation.GetSegmentation().GetSegment(parameters.maskSegment)
    segment.GetBounds(bounds)
    if not vtk.vtkMath.AreBoundsInitialized(bounds):
        return True
    # segments that do not overlap share one label map, whose bounds are those of all of them
    labels = segment.GetRepresentation("Binary labelmap")
    values = labels.GetPointData().GetScalars() if labels is not None else None
    if values is None:
        return False
    # this is asked at every change of a slider: as a rule the first parts of a head tell it
    label = segment.GetLabelValue()
    return not any(label in part for part in np.array_split(vtk_to_numpy(values), MASK_PARTS))


def _problemOfMethod(parameters):
    if parameters.method != MethodChoice.NETWORKS:
        return ""
    if not networksReady():
        return _("The neural networks need PyTorch, which is not installed. The classical method needs nothing.")
    if modelFolder(parameters.model) is None:
        return _("No model comes with this version. Choose a model folder under Advanced, or the classical method.")
    return ""
