"""What the panel remembers in the scene, and the choices that it offers."""

import enum
from typing import Annotated

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from CMMDetectLib.scan import Modality

LEAST_THRESHOLD = 0.001
"""Smallest threshold that can be set; models may have one as low as this."""


class ModalityChoice(enum.Enum):
    """The contrast of the scan. The names are kept in saved scenes."""

    UNKNOWN = None
    SWI = Modality.SWI
    T2STAR = Modality.T2STAR
    QSM = Modality.QSM

    def label(self):
        """Text in the panel."""
        return {
            "UNKNOWN": _("Choose..."),
            "SWI": _("SWI"),
            "T2STAR": _("T2*-weighted GRE, magnitude"),
            "QSM": _("QSM, susceptibility map"),
        }[self.name]


class MethodChoice(enum.Enum):
    """The detection method. The names are kept in saved scenes."""

    BEST = "best"
    NETWORKS = "paper"
    CLASSICAL = "classical"

    def label(self):
        """Text in the panel."""
        return {
            "BEST": _("Best available"),
            "NETWORKS": _("Neural networks"),
            "CLASSICAL": _("Classical (radial symmetry)"),
        }[self.name]


class DeviceChoice(enum.Enum):
    """Where the neural networks run. The names are kept in saved scenes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        """Text in the panel."""
        return {
            "AUTO": _("Automatic"),
            "CPU": _("Processor (CPU)"),
            "CUDA": _("NVIDIA graphics card (CUDA)"),
            "MPS": _("Apple graphics (MPS)"),
        }[self.name]


@parameterNodeWrapper
class CMMDetectParameterNode:
    """The panel's settings; the review itself is a text node of its own."""

    inputVolume: vtkMRMLScalarVolumeNode
    modality: ModalityChoice = ModalityChoice.UNKNOWN
    method: MethodChoice = MethodChoice.BEST
    maskVolume: vtkMRMLLabelMapVolumeNode
    maskSegmentation: vtkMRMLSegmentationNode
    maskSegment: str = ""
    device: DeviceChoice = DeviceChoice.AUTO
    model: str = ""
    ownThresholds: bool = False
    thDetection: Annotated[float, WithinRange(LEAST_THRESHOLD, 1)] = 0.3
    thDiscrimination: Annotated[float, WithinRange(LEAST_THRESHOLD, 1)] = 0.5
    minVolumeMm3: Annotated[float, WithinRange(0, 1000)] = 2.5
    maxEllipticity: Annotated[float, WithinRange(0, 1)] = 0.2
    minSkullDistanceMm: Annotated[float, WithinRange(0, 50)] = 5.0
    showFinal: bool = True
    showDiscrimination: bool = False
    showDetection: bool = False
    minDetection: Annotated[float, WithinRange(0, 1)] = 0.0
    minDiscrimination: Annotated[float, WithinRange(0, 1)] = 0.0
    fieldOfViewMm: Annotated[float, WithinRange(10, 300)] = 60.0
    slabMm: Annotated[float, WithinRange(2, 50)] = 10.0
    resultsFolder: str = ""
