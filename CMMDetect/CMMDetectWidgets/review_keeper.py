"""The open review: its session, its scan, the nodes that show it and the file that it is saved in."""

import contextlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from slicer.i18n import tr as _

from CMMDetectLib.candidates import Stage, read_table
from CMMDetectLib.errors import InputError
from CMMDetectLib.placement import as_placement, motion
from CMMDetectLib.results import labels_of, prepare_folder
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_file import (
    Autosave,
    from_text,
    identify,
    open_review,
    read_review,
    start_review,
    to_text,
)
from CMMDetectLib.review_names import may_have_reviews, own_stem, review_path
from CMMDetectLib.review_records import EARLIER, READER_FIELDS, Origin, is_decided, positions_of, taken_along
from CMMDetectLib.review_state import ReviewState
from CMMDetectLib.scene import ReviewScene, saved_review, shown_review
from CMMDetectLib.scene_volume import affine_of, scan_of


@dataclass(frozen=True)
class Detection:
    """A detection in the scene: the candidates, and the point list of each stage."""

    candidates: list
    points: dict


NAMELESS = _("A review of this scan has no reader's name: clear the name to open it, then give it to make it yours.")
OPENED_NAMELESS = _("This review has no reader's name: give yours to make it your own.")
CHANGED = _("The scan has other voxels than were reviewed: check the marks. The review goes on as {file}.")
MOVED = _("The scan lies elsewhere than when it was reviewed: its marks went with it.")
LONGEST_STEM = 60
"""Longer file names fail on Windows in deeply nested folders."""


def stemOf(volume):
    """Return the stem of a volume's files: its name without characters that file names cannot contain."""
    return re.sub(r"[^\w.-]+", "-", volume.GetName())[:LONGEST_STEM].strip("-.") or "scan"


class ReviewKeeper:
    """Opens, starts and closes reviews. Every open review is saved after each decision.

    Parameters
    ----------
    later : calls a function after the current event has been handled
    onClosing : called before the open review is closed, while it still accepts a last change
    onOpened : called when another review, or none, is open
    say : called with a one-line message for the reader, such as what could not be saved
    """

    def __init__(self, later, onClosing, onOpened, say):
        self._later = later
        self._onClosing = onClosing
        self._onOpened = onOpened
        self._say = say
        self.session = None
        self.scan = None
        self.volume = None
        self.markings = None
        self.folder = None

    def scanOf(self, volume, modality, folder):
        """Return a volume as a `Scan`, named like its files in a folder."""
        return self._identified(volume, modality, folder)[0]

    def goOn(self, volume, modality, folder, reader):
        """Open the review of a volume that the scene or the folder holds; return whether there is one.

        A review without decisions, as a script or a run without a name leaves it, becomes the reader's. Decisions
        without a name belong to nobody until a reader claims them.
        """
        text = saved_review(volume)
        if not text and not may_have_reviews(Path(folder), stemOf(volume)):
            return False
        scan, identity = self._identified(volume, modality, folder)
        text, hasChanged = _asReviewOf(identity, text)
        # a review in the scene remains that of its reader, whoever opens it
        path = review_path(Path(folder), scan.name, from_text(text).reader if text else reader)
        nameless = review_path(Path(folder), scan.name)
        isWaiting = bool(reader) and _isDecided(_reviewOf(identity, nameless))
        if text:
            _makeFolder(folder)
        elif not path.exists():
            path = nameless
            if isWaiting:
                self._say(NAMELESS)
            if isWaiting or not path.exists():
                return False
        opened = open_review(path, identity, text)
        isDecided, isNameless = _isDecided(opened.session), not opened.session.reader
        news = [CHANGED.format(file=path.name)] if hasChanged else []
        if reader and isDecided and isNameless:
            news.append(OPENED_NAMELESS)
        elif isWaiting and not isDecided:
            news.append(NAMELESS)
        self._openFound(opened, scan, volume, folder, news)
        if isNameless and not isDecided:
            self.changeReader(reader)
        return True

    def start(self, volume, modality, folder, reader, candidates=(), run=None, blind=False, labels=None):
        """Start a review of candidates and their label map, or of none for a reader who marks first."""
        scan, identity = self._identified(volume, modality, folder)
        session = ReviewSession(identity, candidates, run, ReviewState(reader=reader))
        if blind:
            session.start_blind()
        self._begin(session, scan, volume, folder, labels)

    def takeRun(self, volume, modality, folder, reader, files, blind, searchedAt):
        """Review what a run found; an open or saved review of the scan adopts its candidates.

        Parameters
        ----------
        searchedAt : affine of the scan when it was searched; the scan may have been moved since then
        """
        candidates, run = _readRun(files)
        moved = motion(positions_of(candidates), as_placement(searchedAt), as_placement(affine_of(volume)))
        candidates = [taken_along(item, moved) for item in candidates]
        if self.volume is volume and not self._identified(volume, modality, folder)[1].may_be(self.session.scan):
            self.close()
        if self.volume is volume or self.goOn(volume, modality, folder, reader):
            self.session.take_run(candidates, run)
            self._showRegions(Path(files["microbleeds"]))
        else:
            self.start(volume, modality, folder, reader, candidates, run, blind, Path(files["microbleeds"]))

    def changeReader(self, reader):
        """Continue as another reader: in their existing review, else in a new one of their own.

        Decisions without a name become the reader's, unless the reader has decided something already.
        """
        session, path = self.session, review_path(self.folder, self.session.scan.name, reader)
        decided, known = _isDecided(session), _reviewOf(session.scan, path)
        # what the reader has is only a list, and what is decided here is theirs
        isTaken = decided and not session.reader and known is not None and not _isDecided(known)
        if path == session.save.path:
            session.set_reader(reader)
        elif path.exists() and not isTaken:
            self._goOnAs(path, session, decided)
        elif session.reader and decided:
            # a name that was mistyped in a blind read must not end it
            state = ReviewState(reader=reader, blind=session.blind)
            fresh = ReviewSession(session.scan, _unread(session), session.run, state)
            self._begin(fresh, self.scan, self.volume, self.folder)
            text = _('This is a new review. That of "{reader}" is kept: it comes back with that name.')
            self._say(text.format(reader=session.reader))
        else:
            # decisions must not stay behind for somebody else to take over; what a run found may
            session.save = session.save.moved(path) if decided else Autosave(path)
            session.set_reader(reader)
            if known is not None:
                self._takeNewer(known)

    def openFile(self, path):
        """Continue a saved review of the open scan; the one that was open stays in its file."""
        self._openFound(open_review(path, self.session.scan), self.scan, self.volume, self.folder)

    def openSession(self, session):
        """Start with a session that was created here, for example to settle what two readers disagree on."""
        self._begin(session, self.scan, self.volume, self.folder)

    def close(self):
        """Show no review; all decisions are saved already."""
        if self.session is None:
            return
        self._detach()
        self.session = self.scan = self.volume = self.markings = self.folder = None
        self._onOpened()

    @staticmethod
    def _identified(volume, modality, folder):
        """Return a volume as a `Scan`, and its identity; the checksum of a large one takes a moment."""
        scan = scan_of(volume, modality, stemOf(volume))
        identity = identify(scan)
        stem = own_stem(Path(folder), identity)
        return replace(scan, name=stem), replace(identity, name=stem)

    def _goOnAs(self, path, session, decided):
        """Open the review of a reader, and show them what a later run has found."""
        self._openFound(open_review(path, session.scan), self.scan, self.volume, self.folder)
        self._takeNewer(session)
        if decided and not session.reader:
            text = _("Your own review is continued. Decisions made without a name stay in {file}.")
            self._say(text.format(file=session.save.path.name))

    def _takeNewer(self, other):
        """Continue with the candidates of another review if they are of a later run."""
        if _isNewer(other.run, self.session.run):
            other.follow_scan(self.session.scan)
            self.session.take_run(_unread(other), other.run)

    def _begin(self, session, scan, volume, folder, labels=None):
        prepare_folder(Path(folder))
        kept = start_review(review_path(Path(folder), scan.name, session.reader), session)
        self._open(session, scan, volume, folder, labels)
        if kept is not None:
            self._say(_("There was a review of this scan already; it is kept as {file}.").format(file=kept.name))

    def _openFound(self, opened, scan, volume, folder, news=()):
        self._open(opened.session, scan, volume, folder)
        news = [*news]
        if opened.moved:
            news.append(MOVED)
        if opened.kept is not None:
            news.append(_("The older copy of this review is kept as {file}.").format(file=opened.kept.name))
        if opened.problem is not None:
            news.append(_("Not saved: {problem}").format(problem=opened.problem))
        if news:
            self._say(" ".join(news))
        if opened.unread is not None:
            self._takeNewer(opened.unread)

    def _onMoved(self, withMarks):
        self.scan = replace(self.scan, affine=affine_of(self.volume))
        if withMarks:
            self._say(MOVED)

    def _detach(self):
        if self.markings is not None:
            self._onClosing()
            self.markings.detach()

    def _open(self, session, scan, volume, folder, labels=None):
        if self.session is not None:
            self._say("")
        self._detach()
        self.session, self.scan, self.volume, self.folder = session, scan, volume, Path(folder)
        self.markings = ReviewScene(session, volume, self._later, lambda error: self._say(str(error)), self._onMoved)
        self._onOpened()
        if labels is None and not self.markings.has_regions:
            labels = labels_of(self.folder, scan.name, session.run)
        if labels is not None:
            self._showRegions(labels)

    def _showRegions(self, labels):
        """Outline what a run found; a review without outlines is one all the same."""
        try:
            self.markings.show_regions(labels)
        except InputError as error:
            self._say(str(error))


def showDetection(volume, scan, files):
    """Show what a run found in the scene, for scripts; a review that is open, or in the scene, adopts it."""
    candidates, run = _readRun(files)
    opened = shown_review(volume)
    if opened is not None:
        opened.session.take_run(candidates, run)
    shown = opened or ReviewScene(_sessionForScripts(volume, scan, candidates, run), volume)
    shown.show_regions(Path(files["microbleeds"]))
    points = {stage.value: shown.points(stage.value) for stage in Stage}
    if opened is None:
        shown.detach()
    return Detection(candidates, points)


def _sessionForScripts(volume, scan, candidates, run):
    text, identity = saved_review(volume), identify(scan)
    if not text:
        return ReviewSession(identity, candidates, run)
    session = from_text(text)
    session.follow_scan(identity)
    session.take_run(candidates, run)
    return session


def _readRun(files):
    """Return the candidates of a run and its provenance."""
    described = json.loads(Path(files["provenance"]).read_text(encoding="utf-8"))
    return read_table(Path(files["candidates"])), described["provenance"]


def _isDecided(session):
    """Whether there is a review in which a reader has said anything."""
    return session is not None and is_decided(session.candidates)


def _reviewOf(identity, path):
    """Return the review in a file, None if it cannot be read or belongs to another scan."""
    try:
        session = read_review(path) if path.exists() else None
    except InputError:
        return None
    return session if session is not None and session.scan.may_be(identity) else None


def _asReviewOf(identity, text):
    """Return the text of a scene's review for the scan as it is now, and whether the scan has other voxels.

    What was changed in place, such as by a correction of the bias field, is another scan for all files, but the one
    that the reader goes on with.
    """
    session = from_text(text) if text else None
    if session is None or session.scan.may_be(identity):
        return text, False
    session.follow_scan(identity)
    return to_text(session), True


def _isNewer(run, other):
    """Whether a run was made after another one, if there was any."""
    return bool(run) and run.get("created", "") > (other or {}).get("created", "")


def _unread(session):
    """Return the detector's candidates of a session without decisions, and without those kept from earlier runs."""
    defaults = dict.fromkeys(READER_FIELDS) | {"verdict": "undecided"}
    found = [item for item in session.candidates if item.origin == Origin.DETECTOR and EARLIER not in item.id]
    return [replace(item, **defaults) for item in found]


def _makeFolder(folder):
    """Make the folder of a review that comes with a scene; the review is opened even if that fails."""
    with contextlib.suppress(OSError):
        Path(folder).mkdir(parents=True, exist_ok=True)
