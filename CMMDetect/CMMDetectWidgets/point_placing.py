"""Placing points: the click that says where a candidate really is, or where a microbleed was missed."""

from slicer.i18n import tr as _

from CMMDetectLib.review_records import added_id, position_of


class PointPlacing:
    """Waits for a click in a slice view, which applies only to the review and the candidate that it was meant for.

    Parameters
    ----------
    view : a `slice_views.SliceViews`
    do : makes a change; what prevents it is shown in the panel
    takeNote : stores the note that is being written about a candidate, before it is moved
    say : shows a message for the reader
    onPlaced : called with the id of the candidate that was moved or added
    ask : shows what the reader is asked to do for as long as it is waiting; called with "" when the wait has ended
    """

    def __init__(self, view, do, takeNote, say, onPlaced, ask):
        self._view = view
        self._do = do
        self._takeNote = takeNote
        self._say = say
        self._onPlaced = onPlaced
        self._ask = ask
        self._session = None
        self._moving = None

    def setSession(self, session):
        """Place the points of another review, or of none."""
        self.stop()
        self._session = session

    def move(self, candidateId):
        """Wait for a click, which becomes the candidate's position."""
        text = _("Click in a slice view where {name} is. Esc or a right click leaves it where it was.")
        moving = self._session[candidateId]
        self._place(text.format(name=candidateId), lambda position: self._moveTo(candidateId, position), moving)

    def add(self):
        """Wait for a click, which adds a microbleed that was missed."""
        self._place(_("Click in a slice view on the microbleed. Esc or a right click adds nothing."), self._addAt)

    def stop(self):
        """Stop waiting for a click."""
        self._view.stopPlacing()
        self._end()

    def stopIfGone(self):
        """Stop waiting for a click that would move a candidate which is gone, or lies elsewhere now."""
        if not self._isInPlace(self._moving):
            self.stop()

    def stopUnlessFor(self, candidateId):
        """Stop waiting for a click that would move another candidate than this one."""
        if self._moving is not None and candidateId != self._moving.id:
            self.stop()

    def _place(self, text, placed, moving=None):
        """Wait for a click; it is dropped if the review or the candidate that it moves has changed by then."""
        session = self._session
        self._moving = moving

        def placeWhereMeant(position):
            # the click is reported only after Slicer has handled it: what it was meant for may be gone by then
            meant = self._session is session and self._isInPlace(moving)
            self._end()
            if meant:
                placed(position)

        self._view.place(placeWhereMeant, self._end)
        self._say("")
        self._ask(text)

    def _end(self):
        self._moving = None
        self._ask("")

    def _isInPlace(self, candidate):
        """Whether the candidate that a click moves is still there, and not another one of that name from a new run."""
        if candidate is None:
            return True
        return candidate.id in self._session and position_of(self._session[candidate.id]) == position_of(candidate)

    def _moveTo(self, candidateId, position):
        self._takeNote()
        near = self._session.nearby(position, but=candidateId)
        self._do(lambda: self._session.move(candidateId, position))
        self._say(_warning(near))
        self._onPlaced(candidateId)

    def _addAt(self, position):
        near = self._session.nearby(position)
        self._do(lambda: self._session.add(position))
        self._say(_warning(near))
        # it was added even if it could not be saved
        self._onPlaced(added_id(self._session.state.last_added))


def _warning(near):
    if not near:
        return ""
    candidate, distance = near[0]
    text = _("Warning: {name} is only {distance:.1f} mm away. Is it the same lesion? Ctrl+Z takes the point back.")
    return text.format(name=candidate.id, distance=distance)
