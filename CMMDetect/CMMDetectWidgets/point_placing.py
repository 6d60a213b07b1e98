"""Placing points: the click that the reader owes, where a candidate really is or where a microbleed was missed."""

from slicer.i18n import tr as _

from CMMDetectLib.review_records import added_id, position_of


class PointPlacing:
    """Awaits a click in a slice view, and takes it only for the review and the candidate that it was meant for.

    Parameters
    ----------
    view : a `slice_views.SliceViews`
    do : makes a change, and says what keeps it from being made
    takeNote : keeps what the reader is writing about a candidate, before it is moved
    say : tells the reader something
    onPlaced : told the id of the candidate that was moved or added
    """

    def __init__(self, view, do, takeNote, say, onPlaced):
        self._view = view
        self._do = do
        self._takeNote = takeNote
        self._say = say
        self._onPlaced = onPlaced
        self._session = None
        self._moving = None

    def setSession(self, session):
        """Place points in another review, or in none."""
        self.stop()
        self._session = session

    def move(self, candidateId):
        """Take the next click as the candidate's position."""
        text = _("Click in a slice view where {name} is. A right click leaves it where it was.")
        self._say(text.format(name=candidateId))
        self._place(lambda position: self._moveTo(candidateId, position), self._session[candidateId])

    def add(self):
        """Take the next click as a microbleed that was missed."""
        self._say(_("Click in a slice view on the microbleed. A right click adds nothing."))
        self._place(self._addAt)

    def stop(self):
        """Await no click any more."""
        if self._view.placing:
            self._view.stopPlacing()
            self._say("")
        self._moving = None

    def stopIfGone(self):
        """Await no click any more for a candidate that is gone, or that lies elsewhere now."""
        if not self._isInPlace(self._moving):
            self.stop()

    def stopUnlessFor(self, candidateId):
        """Await no click any more that would move a candidate which is not this one."""
        if self._moving is not None and candidateId != self._moving.id:
            self.stop()

    def _place(self, placed, moving=None):
        """Await a click for the review that is shown now, and for the candidate that it moves."""
        session = self._session
        self._moving = moving

        def placeWhereMeant(position):
            # the click is told only after Slicer has handled it: what it was meant for may be gone by then
            meant = self._session is session and self._isInPlace(moving)
            self._moving = None
            if meant:
                placed(position)

        self._view.place(placeWhereMeant, self._onCancelled)

    def _onCancelled(self):
        # what the panel asks for would do something else now
        self._say("")
        self._moving = None

    def _isInPlace(self, candidate):
        """Whether the candidate that a click moves is there, and is not another one of that name from a new run."""
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
        # it is there though it could not be saved
        self._onPlaced(added_id(self._session.state.last_added))


def _warning(near):
    if not near:
        return ""
    candidate, distance = near[0]
    text = _("Warning: {name} is only {distance:.1f} mm away. Is it the same lesion? Ctrl+Z takes the point back.")
    return text.format(name=candidate.id, distance=distance)
