"""The slice view of a review: marks do not cover lesions, can be distinguished and can be hidden."""

import numpy as np
import pytest
import slicer.util

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_records import Verdict, position_of
from CMMDetectLib.review_state import ScanIdentity
from CMMDetectLib.scan import Modality, to_world
from CMMDetectLib.scene import ReviewScene
from CMMDetectLib.scene_views import jump_to, show_slab
from CMMDetectLib.scene_volume import affine_of

LESIONS_IJK = {"cmb-0001": (50, 50, 6), "cmb-0002": (70, 50, 6), "cmb-0003": (50, 70, 6), "cmb-0004": (70, 70, 6)}
STAGES = (Stage.FINAL, Stage.FINAL, Stage.DISCRIMINATION, Stage.DETECTION)
DARK, TISSUE, SIZE_PX, FIELD_MM = 20, 200, 400, 60.0


@pytest.fixture
def volume(scene):
    """Even tissue with dark lesions of 3 x 3 pixels in one slice."""
    array = np.full((12, 120, 120), TISSUE, np.float32)
    for i, j, k in LESIONS_IJK.values():
        array[k, j - 1 : j + 2, i - 1 : i + 2] = DARK
    node = slicer.util.addVolumeFromArray(array, np.diag([-0.8, -0.8, 3.0, 1.0]), "sub-01_swi")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)
    display.SetInterpolate(False)
    return node


@pytest.fixture
def view(volume):
    from slicer_host.views import layout_manager

    view = layout_manager().sliceWidget("Red").sliceView().view
    view.resize(SIZE_PX, SIZE_PX)
    show_slab(None)
    view.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    view.fit()
    return view


def place(volume, name: str) -> tuple[float, ...]:
    return tuple(to_world(affine_of(volume), LESIONS_IJK[name]).tolist())


@pytest.fixture
def session(volume):
    candidates = [
        Candidate(id=name, **dict(zip("xyz", place(volume, name), strict=True)), stage=stage)
        for name, stage in zip(LESIONS_IJK, STAGES, strict=True)
    ]
    return ReviewSession(ScanIdentity("sub-01_swi"), candidates)


def around(view, half_mm: float) -> np.ndarray:
    """The colors around the middle of the view."""
    half_px = round(half_mm * SIZE_PX / FIELD_MM)
    middle = SIZE_PX // 2
    return view.picture()[middle - half_px : middle + half_px, middle - half_px : middle + half_px].astype(int)


def is_colored(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture, axis=-1) > 40


@pytest.mark.parametrize("name", LESIONS_IJK)
@pytest.mark.parametrize("verdict", Verdict)
def test_a_lesion_of_three_pixels_lies_free_within_its_mark(session, volume, view, name, verdict):
    ReviewScene(session, volume)
    session.judge(name, verdict)
    jump_to(place(volume, name), FIELD_MM)
    lesion = around(view, half_mm=1.0)
    assert np.abs(lesion - DARK).max() < 10
    marked = np.abs(around(view, half_mm=5.0) - TISSUE).max(axis=-1) > 20
    assert marked.sum() > 2 * (2.4 * SIZE_PX / FIELD_MM) ** 2 * 0.6


def test_marks_vanish_while_they_are_hidden_and_come_back(session, volume, view):
    shown = ReviewScene(session, volume)
    jump_to(place(volume, "cmb-0001"), FIELD_MM)
    assert is_colored(view.picture().astype(int)).sum() > 100
    shown.show_markings(False)
    assert not is_colored(view.picture().astype(int)).any()
    shown.show_markings(True)
    assert is_colored(view.picture().astype(int)).sum() > 100


def test_verdicts_and_stages_have_colors_of_their_own(session, volume, view):
    ReviewScene(session, volume)
    session.judge("cmb-0002", Verdict.ACCEPTED)
    colors = []
    for name in LESIONS_IJK:
        jump_to(place(volume, name), FIELD_MM)
        picture = around(view, half_mm=5.0)
        colors.append(np.median(picture[is_colored(picture)], axis=0))
    distances = [np.linalg.norm(a - b) for n, a in enumerate(colors) for b in colors[:n]]
    assert min(distances) > 50
    assert colors[1][2] > colors[1][0]


def test_a_slab_shows_a_lesion_of_another_slice_and_the_marks_only_their_own(session, volume, view):
    ReviewScene(session, volume)
    x, y, z = place(volume, "cmb-0001")
    jump_to((x, y, z + 6.0), FIELD_MM)
    assert np.abs(around(view, half_mm=1.0) - TISSUE).max() < 10
    assert not is_colored(view.picture().astype(int)).any()
    show_slab(Modality.SWI, thickness_mm=15.0)
    assert np.abs(around(view, half_mm=0.7) - DARK).max() < 10


def drag_from_the_middle(view, right_px: int) -> None:
    """Press the mouse in the middle of the view, pull it to the right, and let it go."""
    view.render()
    mouse, middle = view.style.GetInteractor(), SIZE_PX // 2
    for event, x in (
        ("MouseMoveEvent", 0),
        ("LeftButtonPressEvent", 0),
        *(("MouseMoveEvent", x) for x in range(2, right_px + 1, 2)),
        ("LeftButtonReleaseEvent", right_px),
    ):
        mouse.SetEventInformation(middle + x, middle, 0, 0, "\0", 0, None)
        mouse.InvokeEvent(event)


def test_the_mouse_moves_no_mark(session, volume, view):
    shown = ReviewScene(session, volume)
    jump_to(place(volume, "cmb-0001"), FIELD_MM)
    drag_from_the_middle(view, 20)
    assert position_of(session["cmb-0001"]) == place(volume, "cmb-0001")
    node, position = shown.points("final"), [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(0, position)
    np.testing.assert_allclose(position, place(volume, "cmb-0001"), atol=1e-6)
    # the same drag moves a point that is not locked
    node.SetNthControlPointLocked(0, False)
    drag_from_the_middle(view, 20)
    node.GetNthControlPointPositionWorld(0, position)
    assert np.linalg.norm(np.subtract(position, place(volume, "cmb-0001"))) > 2
