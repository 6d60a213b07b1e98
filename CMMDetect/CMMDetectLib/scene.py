"""A review in the scene: candidates as MRML nodes, and the user's edits of the nodes back to the session.

The session is the source of truth and the nodes are its view: whatever happens to them, they are restored from it.
This file, `scene_nodes`, `scene_views` and `scene_volume` are the only ones in the library that depend on Slicer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from .candidates import Candidate, Stage
from .errors import CMMDetectError, InputError
from .placement import as_placement
from .review import ReviewSession
from .review_file import to_text
from .review_records import Position, Verdict
from .review_state import ShownFilter
from .scene_nodes import (
    ACCEPTED,
    REGIONS,
    ROLES,
    SKY_BLUE,
    TABLE,
    Point,
    Written,
    find_hub,
    forget_changed,
    keep_in_scene_file,
    lay,
    make_hub,
    make_points,
    make_regions,
    make_table,
    own,
    owned,
    placed_by_user,
    point_of,
    positions_by_id,
    remove_points,
    show_all_regions,
    write_points,
    write_rows,
)
from .scene_views import Later, at_once
from .scene_volume import VolumeWatch


def saved_review(volume: Any) -> str | None:
    """Return the text of the review that the scene holds of a volume, None if there is none."""
    hub = find_hub(volume)
    return (hub.GetText() or None) if hub is not None else None


_ATTACHED: list[ReviewScene] = []


def shown_review(volume: Any) -> ReviewScene | None:
    """Return the open view of a volume's review, None if there is none."""
    return next((shown for shown in _ATTACHED if shown.volume is volume), None)


class ReviewScene:
    """Shows a session in the scene of its volume and keeps its text there; replaces an earlier one of that volume.

    Parameters
    ----------
    session : observed until `detach`
    volume : the volume node that the candidates lie in
    later : defers a change of the scene until the current event is handled, for example
        ``lambda function: qt.QTimer.singleShot(0, function)``
    failed : called with the error if something cannot be saved or loaded while an event is handled
    moved : called when the volume was moved, told whether there were marks that went with it

    Examples
    --------
    >>> shown = ReviewScene(session, volume)  # doctest: +SKIP
    >>> shown.show(ShownFilter({Stage.FINAL}, min_p_discrimination=0.5))  # doctest: +SKIP
    """

    def __init__(
        self,
        session: ReviewSession,
        volume: Any,
        later: Later = at_once,
        failed: Callable[[CMMDetectError], None] | None = None,
        moved: Callable[[bool], None] | None = None,
    ) -> None:
        self.session = session
        self.volume = volume
        self.view = ShownFilter()
        self.markings_visible = True
        self._own_visibility: dict[str, bool] = {}
        self._later, self._failed, self._moved = later, failed, moved
        self._hub: Any = None
        self._nodes: dict[str, Any] = {}
        self._written: dict[str, Written] = {}
        self._strays: set[str] = set()
        self._updating = False
        self._was_blind = session.blind
        self._regions_path: Path | None = None
        self._observed: dict[Any, list[int]] = {}
        self._attached = True
        self._began = session.scan.affine
        self._watch = VolumeWatch(volume, later, self._follow_volume, self._report)
        # two that write to the same nodes would take each other's points for the user's
        for other in [shown for shown in _ATTACHED if shown.volume is volume]:
            other.detach()
        _ATTACHED.append(self)
        scene = slicer.mrmlScene
        self._observe(scene, scene.StartCloseEvent, self._on_close)
        self._observe(scene, scene.NodeRemovedEvent, self._on_node_removed)
        session.add_listener(self._on_change)
        self.refresh()

    @property
    def attached(self) -> bool:
        """Whether the session is shown: until `detach`, the scene is closed, or the volume is removed."""
        return self._attached

    def points(self, role: str) -> Any:
        """Return the point list of a stage or of 'accepted' (`scene_nodes.ROLES`); None once detached."""
        return self._nodes.get(role)

    @property
    def has_regions(self) -> bool:
        """Whether the scene holds outlines of this review."""
        return REGIONS in self._nodes

    def detach(self) -> None:
        """Stop observing the session and the scene; the nodes stay as they are."""
        self.show_markings(True)
        self._attached = False
        if self in _ATTACHED:
            _ATTACHED.remove(self)
        self._watch.stop()
        self.session.remove_listener(self._on_change)
        for node, tags in self._observed.items():
            for tag in tags:
                node.RemoveObserver(tag)
        self._observed.clear()
        self._nodes.clear()
        self._hub = None

    def refresh(self) -> None:
        """Create missing nodes and update all of them from the session."""
        if self._ready():
            self._make_missing()
            for role in ROLES:
                self._quietly(forget_changed, self._nodes[role], self._written[role])
            self._update(None)

    def show(self, view: ShownFilter) -> None:
        """Show only some candidates; nothing is removed."""
        self.view = view
        if self._ready():
            self._update_points()

    def show_markings(self, visible: bool) -> None:
        """Hide all markings on the scan (while a key is held), or show again those that the user had not hidden."""
        if visible == self.markings_visible:
            return
        self.markings_visible = visible
        if visible:
            for role, before in self._own_visibility.items():
                self._set_visible(role, before)
        else:
            for role in (*ROLES, REGIONS):
                self._hide(role)

    def show_regions(self, path: Path) -> None:
        """Show a label map of the detector or of the review as outlines; in a blind read only after `reveal`.

        Raises
        ------
        InputError
            If the file cannot be loaded.
        """
        if not self._ready():
            return
        old, self._regions_path = self._nodes.pop(REGIONS, None), None
        if old is not None:
            slicer.mrmlScene.RemoveNode(old)
        if not self.session.blind:
            self._nodes[REGIONS] = make_regions(self._hub, self.volume, path, SKY_BLUE)
            lay(self._nodes[REGIONS], self.session.scan.affine)
            self._bring_into_view(REGIONS, True)
        self._regions_path = path

    # ------------------------------------------------------------------ session -> scene

    def _ready(self) -> bool:
        """Whether the volume is there and the scene is not being closed."""
        return self._attached and slicer.mrmlScene.IsNodePresent(self.volume) and not slicer.mrmlScene.IsClosing()

    def _on_change(self, ids: frozenset[str]) -> None:
        if self._ready():
            self._make_missing()
            self._update(ids)

    def _make_missing(self) -> None:
        """Adopt the nodes of the scene, or create them."""
        hub = find_hub(self.volume) or make_hub(self.volume)
        keep_in_scene_file(hub)
        for role, node in self._nodes.items():
            if hub is not self._hub and slicer.mrmlScene.IsNodePresent(node):
                own(hub, self.volume, role, node)
        self._hub = hub
        for role in ROLES:
            node = owned(hub, role) or make_points(hub, self.volume, role)
            if node is not self._nodes.get(role):
                self._take_points(role, node)
        self._nodes[TABLE] = owned(hub, TABLE) or make_table(hub, self.volume)
        self._take_regions(owned(hub, REGIONS))

    def _take_regions(self, node: Any) -> None:
        """Adopt the regions, load them again, or hide them in a blind read."""
        if node is not None:
            lay(node, self.session.scan.affine)
            known = self._nodes.get(REGIONS) is node and self._was_blind == self.session.blind
            self._nodes[REGIONS], self._was_blind = node, self.session.blind
            if not known:
                show_all_regions(node)
                self._bring_into_view(REGIONS, not self.session.blind)
            return
        self._nodes.pop(REGIONS, None)
        if self._regions_path is not None and not self.session.blind:
            try:
                self.show_regions(self._regions_path)
            except InputError as error:
                # the file is gone: the review goes on without outlines
                self._report(error)

    def _bring_into_view(self, role: str, visible: bool) -> None:
        """Set the visibility that a node has while the markings are not hidden."""
        self._set_visible(role, visible)
        if not self.markings_visible:
            self._hide(role)

    def _hide(self, role: str) -> None:
        node = self._nodes.get(role)
        if node is not None and node.GetDisplayNode() is not None:
            self._own_visibility[role] = bool(node.GetDisplayNode().GetVisibility())
            node.GetDisplayNode().SetVisibility(False)

    def _set_visible(self, role: str, visible: bool) -> None:
        node = self._nodes.get(role)
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)

    def _take_points(self, role: str, node: Any) -> None:
        self._nodes[role] = node
        self._written[role] = {}
        # marks that were set while no review was open
        for point_id, position in placed_by_user(node, {item.id for item in self.session.candidates}).items():
            self._strays.add(point_id)
            self._later(partial(self._take_over, node, point_id, position))
        if not self.markings_visible:
            self._hide(role)
        self._observe(node, node.PointPositionDefinedEvent, self._on_placed)
        self._observe(node, node.PointRemovedEvent, self._on_point_removed)

    def _update(self, ids: Iterable[str] | None) -> None:
        self._update_points(ids)
        write_rows(self._nodes[TABLE], self.session.visible, ids)
        self._hub.SetText(to_text(self.session))

    def _update_points(self, ids: Iterable[str] | None = None) -> None:
        """Update the points of some candidates, or of all, from the session and the filter."""
        session = self.session
        items = session.visible if ids is None else [session[name] for name in ids if name in session]
        wanted: dict[str, dict[str, Point]] = {role: {} for role in ROLES}
        for item in items:
            shown_as = self._shown_as(item)
            for role in self._roles_of(item):
                wanted[role][item.id] = point_of(item, role == shown_as)
        for role in ROLES:
            names = list(self._written[role]) if ids is None else ids
            self._quietly(write_points, self._nodes[role], self._written[role], wanted[role], names)

    def _quietly(self, change: Callable[..., None], *arguments: Any) -> None:
        """Change nodes without treating it as a change by the user."""
        self._updating = True
        try:
            change(*arguments)
        finally:
            self._updating = False

    def _roles_of(self, item: Candidate) -> list[str]:
        stages = [stage.value for stage in Stage if stage.includes(item.stage)]
        return [*stages, ACCEPTED] if item.verdict == Verdict.ACCEPTED else stages

    def _shown_as(self, item: Candidate) -> str | None:
        """Return the list that shows a candidate, so that no candidate is shown twice; None hides it."""
        if item.verdict == Verdict.ACCEPTED:
            return ACCEPTED
        if not self.view.shows(item):
            return None
        passed = [stage for stage in Stage if stage.includes(item.stage) and stage in self.view.stages]
        return (passed[-1] if passed else item.stage).value

    # ------------------------------------------------------------------ scene -> session

    def _observe(self, node: Any, event: int, handler: Callable[..., None]) -> None:
        self._observed.setdefault(node, []).append(node.AddObserver(event, handler))

    def _on_placed(self, node: Any, _event: str) -> None:
        """Treat a point that the user placed in one of the lists as a microbleed that the detector missed."""
        if self._updating or not self._attached:
            return
        known = {point_id for point_id, _ in self._written[_role_of(node)].values()} | self._strays
        for point_id, position in positions_by_id(node).items():
            if point_id not in known:
                self._strays.add(point_id)
                self._later(partial(self._take_over, node, point_id, position))

    def _take_over(self, node: Any, point_id: str, position: Position) -> None:
        self._strays.discard(point_id)
        if self._ready():
            self._quietly(remove_points, node, {point_id})
            self._edit(partial(self.session.add, position))

    def _on_point_removed(self, _node: Any, _event: str) -> None:
        if not self._updating:
            self._later(self.refresh)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, _scene: Any, _event: str, node: Any) -> None:
        if slicer.mrmlScene.IsClosing():
            return
        if node is self.volume:
            self.detach()
        elif node is self._hub or node in self._nodes.values():
            self._later(self.refresh)

    def _on_close(self, _scene: Any, _event: str) -> None:
        self.detach()

    def _follow_volume(self, motion: NDArray[np.float64]) -> None:
        """Move the marks with the volume."""
        if self._began is not None and self._ready():
            scan = replace(self.session.scan, affine=as_placement(motion @ np.array(self._began)))
            followed = self.session.follow_scan(scan)
            if self._moved is not None:
                self._moved(followed)

    def _edit(self, change: Callable[[], Any]) -> None:
        """Change the session from an event handler, where an exception would be lost."""
        try:
            change()
        except CMMDetectError as error:
            self._report(error)

    def _report(self, error: CMMDetectError) -> None:
        if self._failed is None:
            raise error
        self._failed(error)


def _role_of(node: Any) -> str:
    return str(node.GetAttribute("CMMDetect.Role"))
