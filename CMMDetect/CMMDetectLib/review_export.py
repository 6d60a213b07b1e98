"""Results of a review: the table of all verdicts, and the accepted microbleeds as points and as regions."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .candidates import Candidate, Stage, write_markups, write_table
from .errors import InputError
from .region_growing import grow_lesion, lies_inside
from .results import LABELS, all_or_none
from .review import ReviewSession
from .review_names import one_spaced, reader_names
from .review_records import free_id, position_of
from .scan import Modality, Scan, guess_modality, read_labels, replacing, to_voxel, write_image

BIDS_NAMES = {Modality.SWI: "swi", Modality.T2STAR: "T2starw", Modality.QSM: "Chimap"}
GROWN, SPHERE, OUTSIDE, SAME_VOXELS = "grown", "sphere", "outside", "same_voxels"


@dataclass(frozen=True)
class AcceptedRegions:
    """The label map of the accepted microbleeds.

    Attributes
    ----------
    labels : (I, J, K) int32
        On the scan's grid; microbleed n has the label n + 1.
    microbleeds : the accepted candidates, in the order of the labels
    flags : how each region was made
        'grown', followed by its `GrowthFlag`s ('grown, vessel'); 'sphere' if nothing stands out and a sphere of about
        one voxel takes its place; 'outside' if the point lies outside the scan, and 'same_voxels' if all of its voxels
        belong to an earlier region: both have no voxels.
    """

    labels: NDArray[np.int32]
    microbleeds: tuple[Candidate, ...]
    flags: tuple[str, ...]


def accepted_regions(session: ReviewSession, scan: Scan) -> AcceptedRegions:
    """Grow the region of every accepted microbleed from where the reader put it (paper, section 3.1).

    Where regions overlap, a voxel belongs to the earlier one in the list.
    """
    labels = np.zeros(scan.array.shape, np.int32)
    microbleeds = tuple(session.accepted)
    flags = []
    for label, item in enumerate(microbleeds, 1):
        if not lies_inside(scan, to_voxel(scan.affine, position_of(item))):
            flags.append(OUTSIDE)
            continue
        lesion = grow_lesion(scan, position_of(item))
        part, mask = labels[lesion.box], lesion.mask
        if not lesion.found:
            part, mask = _sphere(labels, scan, position_of(item))
        free = mask & (part == 0)
        part[free] = label
        words = [GROWN if lesion.found else SPHERE, *(lesion.flags if lesion.found else ())]
        flags.append(", ".join(words) if free.any() else SAME_VOXELS)
    return AcceptedRegions(labels, microbleeds, tuple(flags))


def reviewed_candidates(session: ReviewSession) -> list[Candidate]:
    """Return the visible candidates, with the reader's name also on decisions made before it was entered."""
    return [
        replace(item, reader=session.reader) if item.reviewed_at and not item.reader and session.reader else item
        for item in session.visible
    ]


def export_review(session: ReviewSession, scan: Scan, folder: Path) -> dict[str, Path]:
    """Write the results of a review; all files or none.

    What the same reader exported before is replaced. If another reader's export has the name of the scan already,
    ``<stem>`` is ``<scan>_reader-<name>``.

    Returns
    -------
    dict
        Paths: 'candidates', all verdicts, ``<stem>_reviewed.tsv``, which training reads too; 'provenance', its
        ``.json``; 'markups', the accepted candidates at the reader's positions, ``<stem>_accepted.mrk.json``;
        'labels', their regions, ``<stem>_reviewed.nii.gz``, with the label n + 1 for accepted candidate n.

    Raises
    ------
    OutputError
        If the files cannot be written; existing ones in the folder are then untouched.
    """
    stem = _own_stem(folder, session)
    names = _file_names(stem)
    regions = accepted_regions(session, scan)
    points = [_as_point(item) for item in regions.microbleeds]
    with all_or_none(folder) as beside:
        write_table(beside / names["candidates"], reviewed_candidates(session), _provenance(session, regions))
        write_markups(beside / names["markups"], points, Stage.FINAL, f"{stem} accepted")
        write_image(beside / names["labels"], regions.labels, scan.affine)
    return {kind: folder / file for kind, file in names.items()}


def export_training_case(session: ReviewSession, scan: Scan, dataset: Path) -> dict[str, Path]:
    """Add a reviewed scan to a folder that ``cmmdetect train`` and ``cmmdetect evaluate`` read directly.

    Whatever is not accepted becomes background: judge every candidate of the final stage first. A data set has one
    label map per scan: another one that is there, of another reader or corrected by hand, is kept beside it under a
    name that training ignores.

    Returns
    -------
    dict
        Paths of 'scan' and 'labels'; the file names end in the BIDS suffix of the modality. Also of 'kept', where the
        earlier label map is kept, if there was another one.

    Raises
    ------
    OutputError
        If the files cannot be written.
    """
    stem = session.scan.name
    if guess_modality(stem) is not scan.modality:  # the name has no suffix, or not that of the chosen modality
        stem += f"_{BIDS_NAMES[scan.modality]}"
    names = {"scan": f"{stem}.nii.gz", "labels": f"{stem}{LABELS}.nii.gz"}
    regions = accepted_regions(session, scan)
    before = dataset / names["labels"]
    if before.is_file() and not _has_labels(before, scan, regions.labels):
        taken = {path.name.removesuffix(".nii.gz") for path in dataset.glob("*.nii.gz")}
        names["kept"] = free_id(f"{stem}{LABELS}-older", taken) + ".nii.gz"
    with all_or_none(dataset) as beside:
        if "kept" in names:
            with replacing(beside / names["kept"]) as copy:
                shutil.copyfile(before, copy)
        write_image(beside / names["scan"], scan.array, scan.affine)
        write_image(beside / names["labels"], regions.labels, scan.affine)
    return {kind: dataset / file for kind, file in names.items()}


def _file_names(stem: str) -> dict[str, str]:
    """Return the names of the exported files by their content."""
    return {
        "candidates": f"{stem}_reviewed.tsv",
        "provenance": f"{stem}_reviewed.json",
        "markups": f"{stem}_accepted.mrk.json",
        "labels": f"{stem}_reviewed.nii.gz",
    }


def _own_stem(folder: Path, session: ReviewSession) -> str:
    """Return the first stem under which the reader has exported already, else the first that nobody has."""
    scan, reader = session.scan.name, one_spaced(session.reader)
    name, longer = reader_names(session.reader)
    stems = [scan, f"{scan}_reader-{name or 'unnamed'}", f"{scan}_reader-{longer}"]
    own = [stem for stem in stems if _exported_by(folder, stem) == reader]
    # some systems do not distinguish capitals
    there = {path.name.casefold() for path in folder.glob("*")}
    free = [stem for stem in stems if there.isdisjoint(file.casefold() for file in _file_names(stem).values())]
    return [*own, *free, stems[-1]][0]


def _exported_by(folder: Path, stem: str) -> str | None:
    """Return the reader of an export, "" without a name; None if there is no export or it does not say."""
    try:
        described = json.loads((folder / _file_names(stem)["provenance"]).read_text(encoding="utf-8"))
        return one_spaced(described["provenance"]["review"]["reader"] or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _has_labels(path: Path, scan: Scan, labels: NDArray[np.int32]) -> bool:
    """Whether a file can be read and holds these labels on the scan's grid."""
    with suppress(InputError):
        return np.array_equal(read_labels(path, scan), labels)
    return False


def _as_point(item: Candidate) -> Candidate:
    """Return the candidate at the reader's position."""
    x, y, z = position_of(item)
    return replace(item, x=x, y=y, z=z, stage=Stage.FINAL)


def _provenance(session: ReviewSession, regions: AcceptedRegions) -> dict[str, Any]:
    read = session.state.blind_read
    labels = [
        {"label": label, "id": item.id, "region": flag}
        for label, (item, flag) in enumerate(zip(regions.microbleeds, regions.flags, strict=True), 1)
    ]
    review = {
        "reader": session.reader or None,
        "scan": asdict(session.scan),
        "changed_at": session.state.changed_at or None,
        "blind_read": read and {"revealed_at": read.revealed_at, "points": len(read.points), "matches": read.matches},
        "labels": labels,
    }
    return {"review": review, "run": session.run}


def _sphere(
    labels: NDArray[np.int32], scan: Scan, position_mm: ArrayLike
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the part of the label map around a point, and in it a sphere as wide as the diagonal of a voxel."""
    spacing = np.array(scan.spacing_mm)
    center = to_voxel(scan.affine, position_mm)
    radius_mm = float(np.linalg.norm(spacing)) / 2
    start = np.maximum(np.rint(center - radius_mm / spacing).astype(int), 0)
    end = np.rint(center + radius_mm / spacing).astype(int) + 1
    part = labels[start[0] : end[0], start[1] : end[1], start[2] : end[2]]
    i, j, k = np.indices(part.shape)
    offset_mm = (np.stack([i, j, k], axis=-1) + start - center) * spacing
    return part, np.asarray(np.linalg.norm(offset_mm, axis=-1) <= radius_mm)
