"""Evaluation of a detector on a data set with known microbleeds: one record per scan, metrics, and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.candidates import Candidate, Stage, write_json
from CMMDetectLib.detector import Detector
from CMMDetectLib.errors import InputError
from CMMDetectLib.location import BrainFrame
from CMMDetectLib.matching import shared_voxels
from CMMDetectLib.methods import Method, Settings
from CMMDetectLib.progress import Listener, Progress
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import Scan, read_mask, read_scan
from CMMDetectLib.tables import write_tsv

from . import metrics
from .evaluation_set import ScanEntry, read_lesions, read_mimics
from .json_file import read_object
from .label_map import IntArray
from .metrics import Finding, Lesion, Rule, ScanRecord
from .report import write_report
from .report_page import ReportFigure
from .summary import summarize

RULES = 2
"""Version of the rules for lesions and matches; an evaluation by another version is not resumed."""
SLICE_EDGES_MM = (1.5, 3.0)


def evaluate_dataset(
    entries: Sequence[ScanEntry],
    method: Method,
    output: Path,
    brain_extraction: str = "bet",
    given_brain: bool = False,
    listener: Listener | None = None,
) -> list[ScanRecord]:
    """Detect in every scan and compare the candidates with the truth.

    All scans are read first, so that a file that cannot be used is reported before hours of work. Each scan's record
    is written to ``scans/`` in the output folder as soon as it is known. A scan with a record is not detected again
    unless its files or its modality have changed, so an interrupted evaluation resumes where it stopped.

    Parameters
    ----------
    brain_extraction : 'bet' or 'hd-bet', for scans without a brain mask
    given_brain : use the data set's brain masks where it has them, instead of extracting the brain

    Raises
    ------
    InputError
        If a file cannot be used, or the folder holds an evaluation of another method, other settings or older rules.
    OutputError
        If the folder cannot be written.
    """
    prepare_folder(output / "scans")
    brain = "given" if given_brain else brain_extraction
    run = {"rules": RULES, **method.describe(), "settings": asdict(method.settings), "brain": brain}
    claim(output / "run.json", run, "an evaluation of another method or other settings, or by older rules")
    detector = Detector(method, brain_extraction)
    paths = {entry.name: output / "scans" / f"{entry.name}.json" for entry in entries}
    known = {entry.name: _current_record(paths[entry.name], entry, given_brain) for entry in entries}
    for entry in entries:
        if known[entry.name] is None:
            _tell(listener, "Reading the scans")
            _read(entry, given_brain)
    records = []
    for number, entry in enumerate(entries):
        record = known[entry.name]
        if record is None:
            progress = Progress(_share_of(listener, entry.name, number, len(entries)))
            record = evaluate_scan(entry, detector, given_brain, progress)
            write_json(paths[entry.name], asdict(record))
        # the table of participants may have been written since
        records.append(replace(record, subject=entry.subject, groups={**record.groups, **entry.groups}))
    return records


def _current_record(path: Path, entry: ScanEntry, given_brain: bool) -> ScanRecord | None:
    """Return the record of a scan; None if there is none, or if files or modality have changed since."""
    if not path.exists():
        return None
    record = read_record(path)
    same = record.sha256 == entry.checksums(given_brain) and record.groups.get("modality") == entry.modality
    return record if same else None


def _read(
    entry: ScanEntry, given_brain: bool
) -> tuple[Scan, NDArray[np.bool_] | None, tuple[Lesion, ...], IntArray, tuple[IntArray, list[str]] | None]:
    """Return a scan, its brain mask, lesions, their labels, and known mimics."""
    scan = read_scan(entry.scan, entry.modality)
    mask = read_mask(entry.brain, scan) if given_brain and entry.brain else None
    lesions, labels = read_lesions(entry, scan)
    return scan, mask, lesions, labels, read_mimics(entry, scan)


def _tell(listener: Listener | None, message: str) -> None:
    if listener is not None:
        listener("reading", 0.0, message)


def evaluate_scan(entry: ScanEntry, detector: Detector, given_brain: bool, progress: Progress) -> ScanRecord:
    """Detect in one scan; a scan in which detection is impossible counts with all its lesions missed."""
    start = time.perf_counter()
    sha256 = entry.checksums(given_brain)
    with progress.step("reading"):
        scan, mask, lesions, labels, mimics = _read(entry, given_brain)
    findings: tuple[Finding, ...] = ()
    brain = problem = None
    try:
        result = detector.detect(scan, mask, progress)
        findings = compare(result.candidates, result.clusters, labels, lesions, mimics)
        brain = result.brain
    except InputError as error:
        problem = str(error)
    return ScanRecord(
        name=entry.name,
        subject=entry.subject,
        groups={**entry.groups, "slice thickness": _thickness(scan)},
        lesions=lesions,
        findings=findings,
        problem=problem,
        seconds=round(time.perf_counter() - start, 2),
        sha256=sha256,
        brain=brain,
    )


def compare(
    candidates: Sequence[Candidate],
    clusters: IntArray,
    labels: IntArray,
    lesions: Sequence[Lesion],
    mimics: tuple[IntArray, Sequence[str]] | None = None,
) -> tuple[Finding, ...]:
    """Return, for every candidate, the lesions that its cluster touches and the mimic that it covers most.

    Parameters
    ----------
    clusters : candidate ``n`` has the label ``n + 1``
    labels : lesion ``n`` has the label ``n + 1``
    mimics : label map and the kind of each label from 1; None where no mimics are known
    """
    touched = shared_voxels(clusters, labels, len(candidates), len(lesions)) > 0
    covered: list[str | None] = [None] * len(candidates)
    if mimics is not None and mimics[1]:
        shared = shared_voxels(clusters, mimics[0], len(candidates), len(mimics[1]))
        covered = [mimics[1][row.argmax()] if row.any() else None for row in shared]
    return tuple(
        Finding(
            candidate=item,
            touches=tuple(lesion.id for lesion, touch in zip(lesions, row, strict=True) if touch),
            mimic=mimic,
        )
        for item, row, mimic in zip(candidates, touched, covered, strict=True)
    )


def read_record(path: Path) -> ScanRecord:
    """Read the record of a scan that `evaluate_dataset` wrote.

    Raises
    ------
    InputError
        If the file is not a record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        lesions = tuple(Lesion(**lesion) for lesion in content["lesions"])
        findings = tuple(
            Finding(
                candidate=Candidate(**{**item["candidate"], "stage": Stage(item["candidate"]["stage"])}),
                touches=tuple(item["touches"]),
                mimic=item["mimic"],
            )
            for item in content["findings"]
        )
        brain = content.get("brain")
        brain = brain and BrainFrame(tuple(brain["center_mm"]), tuple(brain["spread_mm"]))
        return ScanRecord(**{**content, "lesions": lesions, "findings": findings, "brain": brain})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: not the record of an evaluated scan; delete it to evaluate the scan again"
        ) from None


def write_evaluation(
    output: Path,
    records: Sequence[ScanRecord],
    settings: Settings,
    about: Mapping[str, Any],
    figures: Sequence[ReportFigure] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``metrics.json``, ``lesions.tsv``, ``candidates.tsv`` and ``report.html``; return the metrics.

    Parameters
    ----------
    about : what was evaluated on which data, by name, for the head of the report
    figures : further figures for the report, such as loss curves
    notes : what who reads the figures has to know; the report has it beside them

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    summary = {"about": dict(about), "notes": list(notes), **summarize(records, settings)}
    write_json(output / "metrics.json", summary)
    _write_rows(output / "lesions.tsv", lesion_rows(records))
    _write_rows(output / "candidates.tsv", candidate_rows(records))
    write_report(output / "report.html", summary, records, figures)
    return summary


def lesion_rows(records: Iterable[ScanRecord]) -> list[dict[str, Any]]:
    """Return one row per true lesion: by which rule it is found after which stage, and what lost it (overlap rule)."""
    rows = []
    for record in records:
        scores = {
            f"found_{rule}_{stage}": iter(metrics.score_scan(record, rule, metrics.score_at(stage)).found_at >= 1)
            for rule in Rule
            for stage in Stage
        }
        for lesion in record.lesions:
            found = {name: int(next(flags)) if lesion.counted else None for name, flags in scores.items()}
            row = {"scan": record.name, "subject": record.subject, **asdict(lesion), **found}
            rows.append({**row, "counted": int(lesion.counted), "lost_by": lost_by(record, lesion)})
    return rows


def lost_by(record: ScanRecord, lesion: Lesion) -> str | None:
    """Return what lost a lesion: 'detection', or what rejected the candidate that went farthest; None if found."""
    stages = list(Stage)
    touching = [item.candidate for item in record.findings if lesion.id in item.touches]
    if not touching:
        return Stage.DETECTION.value
    return max(touching, key=lambda item: (stages.index(item.stage), item.p_discrimination or 0.0)).rejected_by


def candidate_rows(records: Iterable[ScanRecord]) -> list[dict[str, Any]]:
    """Return one row per candidate: what stages 1 to 3 found, which lesions it touches and which mimic it covers."""
    names = [item.name for item in fields(Candidate)]
    names = names[: names.index("skull_distance_mm") + 1]
    return [
        {
            "scan": record.name,
            "subject": record.subject,
            **{name: getattr(item.candidate, name) for name in names},
            "touches": ",".join(item.touches) or None,
            "mimic": item.mimic,
        }
        for record in records
        for item in record.findings
    ]


def _thickness(scan: Scan) -> str:
    """Name the bin of a slice thickness in mm, rounded: 3 mm from a tilted affine come out slightly thinner."""
    return metrics.binned(round(max(scan.spacing_mm), 3), SLICE_EDGES_MM, "mm")


def _share_of(listener: Listener | None, name: str, number: int, count: int) -> Listener | None:
    """Return the listener of one scan's progress, as a part of the whole data set."""
    if listener is None:
        return None
    return lambda step, fraction, message: listener(step, (number + fraction) / count, f"{name}: {message}")


def claim(path: Path, run: Mapping[str, Any], other: str) -> None:
    """Record what the content of a folder comes from, or compare it with the existing record.

    Parameters
    ----------
    path : file of the record, in the folder
    other : what the folder holds if the records differ, for the message

    Raises
    ------
    InputError
        If the folder's content comes from something else.
    OutputError
        If the file cannot be written.
    """
    new = json.loads(json.dumps(run))
    if not path.exists():
        write_json(path, new)
    elif read_object(path, f"delete {path.parent} to begin again, or choose another -o") != new:
        raise InputError(f"{path.parent}: holds {other}; choose another -o")


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_tsv(path, list(rows[0]) if rows else ["scan"], rows)
