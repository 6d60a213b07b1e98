"""Which review is open: its session, the scan, the nodes that show it and the file that it is saved in."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import slicer

from CMMDetectLib.candidates import Stage, read_table
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_file import Autosave, from_text, identify, open_review, review_path, start_review
from CMMDetectLib.review_records import READER_FIELDS, Origin, is_touched
from CMMDetectLib.review_state import ReviewState
from CMMDetectLib.scene import ReviewScene, saved_review, scan_of


@dataclass(frozen=True)
class Detection:
    """What was detected: the candidates, and the point list of each stage in the scene."""

    candidates: list
    points: dict


LONGEST_STEM = 60
"""Longer file names fail on Windows where the folder is deep."""


def stemOf(volume):
    """Give the stem of the files of a volume: its name, without what a file name cannot have."""
    return re.sub(r"[^\w.-]+", "-", volume.GetName())[:LONGEST_STEM].strip("-.") or "scan"


def defaultFolder():
    """Where results go when no folder was chosen: beside the saved scene, else in the user's documents."""
    url = slicer.mrmlScene.GetURL()
    if url and Path(url).parent.is_dir():
        return Path(url).parent
    return Path(getattr(slicer.app, "defaultScenePath", "") or Path.home() / "Documents") / "CMMDetect"


class ReviewKeeper:
    """Opens, starts and closes reviews. Every open review is saved after each decision.

    Parameters
    ----------
    later : calls a function when the event that is being handled is over
    onOpened : called when another review, or none, is open
    onFailed : told what could not be saved
    """

    def __init__(self, later, onOpened, onFailed):
        self._later = later
        self._onOpened = onOpened
        self._onFailed = onFailed
        self.session = None
        self.scan = None
        self.volume = None
        self.markings = None
        self.folder = None

    def goOn(self, volume, modality, folder, reader):
        """Open the review of a volume that the scene or the folder holds; give whether there is one."""
        text = saved_review(volume)
        # a review in the scene stays that of its reader, whoever opens it
        path = review_path(folder, stemOf(volume), from_text(text).reader if text else reader)
        if not text and not path.exists():
            return False
        scan = scan_of(volume, modality, stemOf(volume))
        prepare_folder(folder)
        opened = open_review(path, identify(scan), text)
        self._open(opened.session, scan, volume, folder)
        return True

    def start(self, volume, modality, folder, reader, candidates=(), run=None, blind=False):
        """Start a review of candidates, or of none for a reader who looks first."""
        scan = scan_of(volume, modality, stemOf(volume))
        session = ReviewSession(identify(scan), candidates, run, ReviewState(reader=reader))
        if blind:
            session.start_blind()
        self._begin(session, scan, volume, folder)

    def takeRun(self, volume, modality, folder, reader, files, blind):
        """Review what a run found; an open or saved review of the scan takes its candidates over."""
        candidates, run = _readRun(files)
        if self.volume is volume or self.goOn(volume, modality, folder, reader):
            self.session.take_run(candidates, run)
        else:
            self.start(volume, modality, folder, reader, candidates, run, blind)
        self.markings.show_regions(Path(files["microbleeds"]))

    def changeReader(self, reader):
        """Go on as another reader, who has a review of their own; decisions without a name become the reader's."""
        session = self.session
        if session.reader and any(is_touched(item) for item in session.candidates):
            path = review_path(self.folder, session.scan.name, reader)
            if path.exists():
                self._open(open_review(path, session.scan).session, self.scan, self.volume, self.folder)
                return
            found = [_unread(item) for item in session.candidates if item.origin == Origin.DETECTOR]
            fresh = ReviewSession(session.scan, found, session.run, ReviewState(reader=reader))
            self._begin(fresh, self.scan, self.volume, self.folder)
        else:
            session.save = Autosave(review_path(self.folder, session.scan.name, reader))
            session.set_reader(reader)

    def openFile(self, path):
        """Go on with a saved review of the open scan; the one that was open stays in its file."""
        session = open_review(path, self.session.scan).session
        self._open(session, self.scan, self.volume, self.folder)

    def openSession(self, session):
        """Start with a session that was made here, for example to settle what two readers disagree on."""
        self._begin(session, self.scan, self.volume, self.folder)

    def close(self):
        """Show no review; what was decided is saved."""
        if self.session is None:
            return
        if self.markings is not None:
            self.markings.detach()
        self.session = self.scan = self.volume = self.markings = self.folder = None
        self._onOpened()

    def _begin(self, session, scan, volume, folder):
        prepare_folder(folder)
        start_review(review_path(folder, scan.name, session.reader), session)
        self._open(session, scan, volume, folder)

    def _open(self, session, scan, volume, folder):
        if self.markings is not None:
            self.markings.detach()
        self.session, self.scan, self.volume, self.folder = session, scan, volume, Path(folder)
        self.markings = ReviewScene(session, volume, self._later, self._onFailed)
        self._onOpened()


def showDetection(volume, scan, files):
    """Show what a run found in the scene, for scripts; a review that the scene holds takes it over."""
    candidates, run = _readRun(files)
    text = saved_review(volume)
    session = from_text(text) if text else ReviewSession(identify(scan), candidates, run)
    if text:
        session.take_run(candidates, run)
    shown = ReviewScene(session, volume)
    shown.show_regions(Path(files["microbleeds"]))
    points = {stage.value: shown.points(stage.value) for stage in Stage}
    shown.detach()
    return Detection(candidates, points)


def _readRun(files):
    """Give the candidates of a run and its provenance."""
    described = json.loads(Path(files["provenance"]).read_text(encoding="utf-8"))
    return read_table(Path(files["candidates"])), described["provenance"]


def _unread(candidate):
    """Give a candidate as the detector found it."""
    defaults = dict.fromkeys(READER_FIELDS) | {"verdict": "undecided"}
    return replace(candidate, **defaults)
