"""A small review and its view in the scene, and what a user can do to its nodes."""

import numpy as np

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.orientation import Turn
from CMMDetectLib.placement import placement_of
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_state import ReviewState, ScanIdentity
from CMMDetectLib.scan import write_image
from CMMDetectLib.scene import ReviewScene
from CMMDetectLib.scene_nodes import ROLES

AFFINE = np.diag([-0.8, -0.8, 3.0, 1.0])
SHAPE = (20, 30, 8)

CANDIDATES = [
    Candidate(id="cmb-0001", x=-4.0, y=-4.0, z=6.0, stage=Stage.FINAL, p_detection=0.9, p_discrimination=0.95),
    Candidate(id="cmb-0002", x=-8.0, y=-4.0, z=6.0, stage=Stage.FINAL, p_detection=0.7, p_discrimination=0.6),
    Candidate(
        id="cmb-0003",
        x=-4.0,
        y=-12.0,
        z=9.0,
        stage=Stage.DISCRIMINATION,
        rejected_by="volume",
        p_detection=0.8,
        p_discrimination=0.7,
    ),
    Candidate(id="cmb-0004", x=-9.0, y=-9.0, z=3.0, rejected_by="discrimination", p_detection=0.6),
]


def session_of(candidates=CANDIDATES, **state) -> ReviewSession:
    scan = ScanIdentity("sub-01_swi", affine=placement_of(AFFINE, SHAPE))
    return ReviewSession(scan, candidates, state=ReviewState(**state))


def labels(node, only_visible=False) -> list[str]:
    return [
        node.GetNthControlPointLabel(index)
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointVisibility(index) or not only_visible
    ]


def seen(shown: ReviewScene) -> list[str]:
    """The candidates that have a mark on the scan; one with two marks would be there twice."""
    return sorted(label for role in ROLES for label in labels(shown.points(role), only_visible=True))


def point_index(node, label: str) -> int:
    return labels(node).index(label)


def place_of(node, label: str) -> list[float]:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(point_index(node, label), position)
    return position


def add_regions(shown: ReviewScene, folder) -> None:
    """A label map on the grid of the volume: one voxel labeled 1, in a left-handed file, which Slicer turns."""
    array = np.zeros(SHAPE, np.int32)
    array[5:7, 5:7, 2] = 1
    turn = Turn((0, 1, 2), (True, False, False))
    write_image(folder / "labels.nii.gz", turn.apply(array), turn.affine(AFFINE, array.shape))
    shown.show_regions(folder / "labels.nii.gz")
