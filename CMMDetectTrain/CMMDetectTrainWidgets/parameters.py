"""What the panel remembers in the scene, and the choices that it offers."""

import enum
from typing import Annotated

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from CMMDetectLib.region_growing import GrowthSettings
from CMMDetectWidgets.parameters import DeviceChoice, ModalityChoice


class NetworksChoice(enum.Enum):
    """Which networks are trained. The names are kept in saved scenes."""

    ALL = ("detector", "teacher", "student")
    STAGE_1 = ("detector",)
    STAGE_2 = ("teacher", "student")

    def label(self):
        """Text in the panel."""
        return {
            "ALL": _("Both stages"),
            "STAGE_1": _("Stage 1 (finds candidates)"),
            "STAGE_2": _("Stage 2 (judges candidates)"),
        }[self.name]


class FieldStrength(enum.Enum):
    """Field strength of the scanner, T. The names are kept in saved scenes."""

    T1_5 = 1.5
    T3 = 3.0
    T7 = 7.0

    def label(self):
        """Text in the panel."""
        return _("{field} T").format(field=f"{self.value:g}")


USUAL = GrowthSettings()


@parameterNodeWrapper
class CMMDetectTrainParameterNode:
    """The panel's settings; the data set and the models are folders and belong to no scene."""

    labelVolume: vtkMRMLScalarVolumeNode
    labelModality: ModalityChoice = ModalityChoice.UNKNOWN
    points: vtkMRMLMarkupsFiducialNode
    tolerance: Annotated[float, WithinRange(0.4, 2.5)] = USUAL.tolerance
    inPlaneVox: Annotated[int, WithinRange(1, 30)] = USUAL.in_plane_vox
    throughPlaneVox: Annotated[int, WithinRange(1, 30)] = USUAL.through_plane_vox
    networks: NetworksChoice = NetworksChoice.ALL
    inserted: Annotated[int, WithinRange(0, 50)] = 0
    fieldStrength: FieldStrength = FieldStrength.T3
    epochs: Annotated[int, WithinRange(1, 1000)] = 100
    patience: Annotated[int, WithinRange(1, 1000)] = 20
    batch: Annotated[int, WithinRange(1, 256)] = 8
    width: Annotated[int, WithinRange(2, 64)] = 16
    patchesAnEpoch: Annotated[int, WithinRange(0, 100000)] = 0
    device: DeviceChoice = DeviceChoice.AUTO
