"""Review sessions as text and as files: no decision is ever lost or overwritten unread.

A review is one JSON object, ``<stem>_review.json``, with one line per candidate, so that it can be read and compared.
The same text is stored in the scene; if the two differ, the newer one wins and the other is kept beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .candidates import Candidate, Stage
from .errors import InputError, OutputError
from .file_signature import signature_of
from .orientation import canonical_turn
from .placement import as_placement, placement_of
from .review import ReviewSession
from .review_records import free_id, is_decided
from .review_state import BlindRead, ReviewState, ScanIdentity
from .scan import Scan, replacing

FORMAT = "CMMDetect review"
VERSION = 1
SUFFIX = "_review.json"
NOWHERE: dict[str, Any] = {"x": 0.0, "y": 0.0, "z": 0.0, "reader_x": None, "reader_y": None, "reader_z": None}
"""A candidate's fields without its place."""


@dataclass(frozen=True)
class OpenedReview:
    """A review that is continued.

    Attributes
    ----------
    session : saves itself after every change
    kept : where the older of two differing copies was kept, None if they did not differ
    problem : why the file could not be written, in one line; the next change tries again
    moved : the scan lies elsewhere than when it was reviewed, and its candidates went with it
    unread : the other copy, where nobody has decided anything in it: it may be of a later run
    """

    session: ReviewSession
    kept: Path | None = None
    problem: str | None = None
    moved: bool = False
    unread: ReviewSession | None = None


class Autosave:
    """Writes a session to its file after every change: ``session.save = Autosave(path)``.

    A file that this object has not written, and that was not read into the session, is renamed before it would be
    overwritten.

    Parameters
    ----------
    path : path of the review file
    read : whether the content of the file as it is now is part of the session

    Raises
    ------
    OutputError
        When called, if the file cannot be written. The next call writes everything again.
    """

    def __init__(self, path: Path, read: bool = False) -> None:
        self.path = path
        self._known = signature_of(path) if read else None

    def moved(self, path: Path) -> Autosave:
        """Return one that writes to another file, and move the file there unless another program has written it."""
        after = Autosave(path)
        if self._known is not None and self._known == signature_of(self.path):
            try:
                self.path.replace(path)
                after._known = signature_of(path)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be renamed to {path.name} ({error.strerror})") from None
        return after

    def __call__(self, session: ReviewSession) -> None:
        """Write the session."""
        found = signature_of(self.path)
        if found is not None and found != self._known:
            set_aside(self.path)
        write_review(self.path, session)
        self._known = signature_of(self.path)


def identify(scan: Scan) -> ScanIdentity:
    """Return the identity of a scan, by which a review belongs to it, and its placement."""
    path = str(scan.path) if scan.path else None
    place = placement_of(scan.affine, scan.array.shape)
    return ScanIdentity(scan.name, path, scan.modality.value, content_checksum(scan), place)


def content_checksum(scan: Scan) -> str:
    """SHA-256 of a scan's voxels: independent of file format, name and stored order of the axes."""
    array = canonical_turn(scan.affine).apply(scan.array).astype("<f4", copy=False)
    return hashlib.sha256(repr(array.shape).encode() + array.data).hexdigest()


def to_text(session: ReviewSession) -> str:
    """Return a session as text, without its undo history."""
    state = session.state
    read = state.blind_read
    scan = asdict(session.scan)
    # beside the scan: who only knows what was in it before can still read the review
    place = scan.pop("affine")
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(state, name) for name in ("changed_at", "revision", "reader", "blind", "last_added")},
        "scan": scan,
        "affine": place,
        "run": session.run,
        "blind_read": read and {**vars(read), "points": [_record(item) for item in read.points]},
    }
    lines = [f" {json.dumps(name)}: {_json(value)},\n" for name, value in head.items()]
    rows = ",\n".join(map(_line, session.candidates))
    return "{\n" + "".join(lines) + f' "candidates": [\n{rows}\n ]\n}}\n'


def from_text(text: str, source: str = "the scene's review") -> ReviewSession:
    """Make a session from its text.

    Parameters
    ----------
    source : name of the text in error messages

    Raises
    ------
    InputError
        If the text is damaged, not a review, or written by a newer version.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InputError(f"{source}: damaged or no review of CMMDetect; move it away, or put a copy back") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{source}: not a review of CMMDetect; a file that it wrote ({SUFFIX}) is needed")
    if content.get("version") != VERSION:
        raise InputError(f"{source}: written by a newer version of CMMDetect; update CMMDetect to open it")
    try:
        candidates = [_candidate(record) for record in content["candidates"]]
        scan = _scan(content["scan"], content.get("affine"))
        return ReviewSession(scan, candidates, dict(content["run"]), _state(content))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, InputError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{source}: a damaged review ({problem}); put a copy back") from None


def write_review(path: Path, session: ReviewSession) -> None:
    """Write a session; the file is never seen half-written.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as beside:
        beside.write_text(to_text(session), encoding="utf-8")


def read_review(path: Path) -> ReviewSession:
    """Read a session; the file is left as it is.

    Raises
    ------
    InputError
        If the file cannot be read or is not a review.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{path}: the review cannot be read: it is missing or damaged, or you lack the permission"
        ) from None
    return from_text(text, str(path))


def open_review(path: Path, scan: ScanIdentity, scene_text: str | None = None) -> OpenedReview | None:
    """Continue the review of a scan from its file or the scene's copy, whichever is newer; None if there is neither.

    A copy in which nobody has decided anything is never the newer one. If decisions differ, the older copy is kept
    beside the file. From now on the session saves itself to the file.

    Raises
    ------
    InputError
        If a copy is damaged or belongs to another scan. `set_aside` moves such a file out of the way.
    """
    filed = read_review(path) if path.exists() else None
    in_scene = from_text(scene_text) if scene_text else None
    for session, source in ((filed, str(path)), (in_scene, "the scene's review")):
        if session is not None:
            _check_scan(session, scan, source)
    alike = filed is not None and in_scene is not None and _say_the_same(filed, in_scene)
    # the scene's goes with its scan, the file with the next decision only
    session = in_scene if alike else max(filter(None, (filed, in_scene)), key=_weight, default=None)
    if session is None:
        return None
    other = None if alike else filed if session is in_scene else in_scene
    unread = other if other is not None and not is_decided(other.candidates) else None
    moved = session.follow_scan(scan)
    kept, problem, written = None, None, alike or session is filed
    try:
        if other is not unread and other is not None:
            kept = _free_path(path, "older")
            write_review(kept, other)
        if not written:
            write_review(path, session)
            written = True
    except OutputError as error:
        kept, problem = None, str(error)
    session.save = Autosave(path, read=written)
    return OpenedReview(session, kept, problem, moved, unread)


def start_review(path: Path, session: ReviewSession) -> Path | None:
    """Save a new session to a file, now and after every change.

    Returns
    -------
    Path or None
        Where an existing file was moved to.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    kept = set_aside(path) if path.exists() else None
    session.save = Autosave(path)
    session.save(session)
    return kept


def set_aside(path: Path) -> Path:
    """Rename a file so that it is out of the way, and return its new path.

    Raises
    ------
    OutputError
        If it cannot be renamed.
    """
    other = _free_path(path, "older")
    try:
        return path.rename(other)
    except OSError as error:
        raise OutputError(f"{path}: cannot be renamed to {other.name} ({error.strerror})") from None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@lru_cache(maxsize=20_000)
def _line(candidate: Candidate) -> str:
    """Return the line of a candidate; cached, so that saving a verdict formats only what changed."""
    return f"  {_json(_record(candidate))}"


def _record(candidate: Candidate) -> dict[str, Any]:
    """Fields of a candidate, without those that are not known."""
    return {name: value for name, value in vars(candidate).items() if value is not None}


def _candidate(record: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**record, "stage": Stage(record["stage"])})


def _scan(record: Mapping[str, Any], affine: Any) -> ScanIdentity:
    if not all(value is None or isinstance(value, str) for value in record.values()):
        raise TypeError("the identity of the scan must consist of texts")
    return ScanIdentity(**record, affine=None if affine is None else as_placement(affine))


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python's parser accepts: a session with them could not be saved."""
    raise ValueError(constant)


def _state(content: Mapping[str, Any]) -> ReviewState:
    read = content["blind_read"]
    if read is not None:
        points = tuple(_candidate(record) for record in read["points"])
        read = BlindRead(points, dict(read["matches"]), str(read["revealed_at"]))
    return ReviewState(
        reader=str(content["reader"]),
        blind=bool(content["blind"]),
        blind_read=read,
        last_added=int(content["last_added"]),
        revision=int(content["revision"]),
        changed_at=str(content["changed_at"]),
    )


def _check_scan(session: ReviewSession, scan: ScanIdentity, source: str) -> None:
    """Refuse a review of another scan."""
    if not session.scan.may_be(scan):
        raise InputError(f"{source}: the review of another scan ({session.scan.name}), not of {scan.name}; open that")


def _say_the_same(first: ReviewSession, second: ReviewSession) -> bool:
    """Whether two copies are of one moment, wherever the scan was and lay when each was written."""
    one, other = ([replace(item, **NOWHERE) for item in session.candidates] for session in (first, second))
    return _age(first) == _age(second) and one == other


def _weight(session: ReviewSession) -> tuple[bool, str, int]:
    return is_decided(session.candidates), *_age(session)


def _age(session: ReviewSession) -> tuple[str, int]:
    return session.state.changed_at, session.state.revision


def _free_path(path: Path, word: str) -> Path:
    stem = path.name.removesuffix(".json")
    return path.with_name(free_id(f"{stem}-{word}", {item.stem for item in path.parent.glob("*.json")}) + ".json")
