"""A BIDS-like data set of simulated scans, written subject by subject; an interrupted run can be resumed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from CMMDetectLib.candidates import write_json
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.progress import Report
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import Modality, write_image
from CMMDetectLib.tables import write_tsv
from CMMDetectLib.wording import counted

from ..json_file import read_object
from ..seeds import check_seed
from .protocols import Protocol, draw_protocol, find_protocol
from .simulate import SimulatedScan, simulate_scan
from .truth_files import write_truth

FOLDERS = {Modality.SWI: ("swi", "swi"), Modality.T2STAR: ("anat", "T2starw"), Modality.QSM: ("anat", "Chimap")}
RANDOM = "random"
DESCRIPTION = "dataset_description.json"
TRUTH = Path("derivatives", "truth")
LEFT_OVER_S = 3600.0
"""Temporary folders exist for seconds; one that is older than this belongs to a run that was killed."""


def simulate_dataset(
    output: Path,
    count: int = 1,
    protocols: Sequence[str] = (RANDOM,),
    seed: int = 0,
    progress: Report | None = None,
    microbleeds: Sequence[int | None] = (None,),
) -> None:
    """Write a data set of simulated scans with their truth.

    Each subject is one person scanned once: SWI, T2* magnitude, QSM and phase. Subjects that are complete are not
    simulated again.

    Parameters
    ----------
    output : folder of the data set, created if it does not exist
    count : number of subjects
    protocols : names of presets, or 'random', assigned to the subjects in turn
    seed : seed of the data set; subject n depends only on it, on n, its protocol and its number of microbleeds
    progress : called with a fraction and a message
    microbleeds : numbers of microbleeds, assigned to the subjects in turn; None draws one. A brain may have room for
        fewer

    Raises
    ------
    InputError
        If a protocol does not exist, ``count`` is not positive, a number of microbleeds or the seed is negative, or
        the folder holds another data set or a damaged one.
    OutputError
        If a file cannot be written.
    """
    if count < 1:
        raise InputError(f"{count} scans cannot be simulated; ask for at least 1")
    if fewest := min((number for number in microbleeds if number is not None and number < 0), default=0):
        raise InputError(f"a scan cannot have {fewest} microbleeds")
    check_seed(seed)
    names = [name.lower() for name in protocols]
    for name in names:
        if name != RANDOM:
            find_protocol(name)
    prepare_folder(output)
    _describe(output, names, seed, microbleeds)
    _remove_left_over(output)
    subjects = [f"sub-{number:03d}" for number in range(1, count + 1)]
    # damaged files are reported before the long work
    _read_rows(output, subjects)
    for number, (subject, protocol, lesions) in enumerate(
        zip(subjects, cycle(names), cycle(microbleeds), strict=False), 1
    ):
        if progress:
            progress((number - 1) / count, f"simulating {subject} of {count}")
        # a run that was killed between the two moves has left a subject without its truth
        if not (output / subject).exists() or not (output / TRUTH / subject).exists():
            _write_subject(output, subject, *_draw(protocol, lesions, seed, number))
    rows = _read_rows(output, subjects)
    write_tsv(output / "participants.tsv", list(rows[0]), rows)
    if progress:
        progress(1.0, f"{counted(count, 'subject')} in {output}")


def _draw(protocol: str, lesions: int | None, seed: int, number: int) -> tuple[SimulatedScan, int]:
    scan_seed = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
    preset = None if protocol == RANDOM else protocol
    drawn = draw_protocol(np.random.default_rng([scan_seed, 1]), preset)
    return simulate_scan(drawn, scan_seed, lesions), scan_seed


def _describe(output: Path, protocols: list[str], seed: int, microbleeds: Sequence[int | None]) -> None:
    """Write the description of the data set, or check that an existing one is the same."""
    origin = {"Name": "cmmdetect simulate", "Protocol": ", ".join(protocols), "Seed": seed}
    if set(microbleeds) != {None}:
        origin["Microbleeds"] = ", ".join(RANDOM if number is None else str(number) for number in microbleeds)
    path = output / DESCRIPTION
    if path.exists():
        found = read_object(path, "put it back as it was, or choose another folder").get("GeneratedBy")
        if not isinstance(found, list) or found[:1] != [origin]:
            raise InputError(
                f"{output}: holds a data set of another seed, protocol or number of microbleeds; choose another folder"
            )
        return
    write_json(
        path,
        {
            "Name": "Simulated susceptibility scans with known microbleeds",
            "BIDSVersion": "1.9.0",
            "DatasetType": "raw",
            "License": "Apache-2.0",
            "GeneratedBy": [origin],
        },
    )


def _remove_left_over(output: Path) -> None:
    """Remove temporary folders of killed runs, but not those that another run is using."""
    for path in output.glob(".sub-*"):
        try:
            if path.is_dir() and time.time() - path.stat().st_mtime > LEFT_OVER_S:
                shutil.rmtree(path)
        except OSError:
            # another run may be removing it; it does no harm if it stays
            continue


def _write_subject(output: Path, subject: str, scan: SimulatedScan, seed: int) -> None:
    """Write all files of a subject and its truth to a temporary folder, and move them when they are complete.

    The subject is moved first: a scan without truth is skipped by readers of the data set and completed by the next
    run, but truth without its scan would make the data set unreadable.
    """
    truth_place = output / TRUTH / subject
    try:
        truth_place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output, prefix=f".{subject}-") as folder:
            beside, truth_beside = Path(folder) / subject, Path(folder) / "truth"
            _write_files(beside, truth_beside, subject, scan, seed)
            if truth_place.is_dir() and not (output / subject).exists():
                # left by a subject that was deleted, or by a run that was killed
                shutil.rmtree(truth_place)
            _put_in_place(beside, output / subject)
            _put_in_place(truth_beside, truth_place)
    except OSError as error:
        raise OutputError(f"{output}: cannot write {subject} here ({error.strerror})") from None


def _write_files(beside: Path, truth_folder: Path, subject: str, scan: SimulatedScan, seed: int) -> None:
    for modality, (folder, suffix) in FOLDERS.items():
        images, truths = beside / folder, truth_folder / folder
        images.mkdir(parents=True, exist_ok=True)
        truths.mkdir(parents=True, exist_ok=True)
        stem = f"{subject}_{suffix}"
        write_image(images / f"{stem}.nii.gz", scan.images[modality], scan.grid.affine)
        write_json(images / f"{stem}.json", _sidecar(scan.protocol, modality, seed))
        write_truth(truths, stem, scan.truth[modality], scan.grid.affine)
    write_image(beside / "anat" / f"{subject}_part-phase_T2starw.nii.gz", scan.phase, scan.grid.affine)
    write_image(truth_folder / f"{subject}_brain.nii.gz", scan.brain.astype(np.uint8), scan.grid.affine)
    write_json(beside / f"{subject}.json", _participant(subject, scan))


def _put_in_place(beside: Path, place: Path) -> None:
    try:
        beside.rename(place)
    except OSError:
        # another run on this data set was faster; its files are the same, since they depend only on the seed
        if not place.is_dir():
            raise


def _sidecar(protocol: Protocol, modality: Modality, seed: int) -> dict[str, Any]:
    sidecar: dict[str, Any] = {
        "MagneticFieldStrength": protocol.field_t,
        "EchoTime": protocol.te_ms / 1000,
        "RepetitionTime": protocol.tr_ms / 1000,
        "FlipAngle": protocol.flip_deg,
        "MRAcquisitionType": "3D" if protocol.three_dimensional else "2D",
        "SliceThickness": protocol.spacing_mm[2],
        "Simulation": {"Seed": seed, **asdict(protocol)},
    }
    return sidecar | ({"Units": "ppm"} if modality is Modality.QSM else {})


def _participant(subject: str, scan: SimulatedScan) -> dict[str, Any]:
    bleeds = [record for record in scan.truth[Modality.SWI].records if record.kind == "microbleed"]
    return {
        "participant_id": subject,
        "age": round(scan.age_years),
        "protocol": scan.protocol.name,
        "field_t": scan.protocol.field_t,
        "te_ms": round(scan.protocol.te_ms, 2),
        "slice_mm": scan.protocol.spacing_mm[2],
        "microbleeds": len(bleeds),
    }


def _read_rows(output: Path, subjects: Sequence[str]) -> list[dict[str, Any]]:
    """Return the participants' rows of these and all other subjects that are in the data set."""
    there = {subject for subject in subjects if (output / subject).exists()}
    there |= {path.stem for path in output.glob("sub-*/sub-*.json") if path.stem == path.parent.name}
    return [_read_row(output / subject, subject in subjects) for subject in sorted(there)]


def _read_row(folder: Path, asked_for: bool) -> dict[str, Any]:
    path = folder / f"{folder.name}.json"
    # other folders may not be the work of this command, so the message does not say to delete them
    mend = f"delete {folder} to simulate the subject again" if asked_for else f"move {folder} out of the data set"
    row = read_object(path, mend)
    if row.get("participant_id") != folder.name:
        raise InputError(f"{path}: damaged; {mend}" if asked_for else f"{path}: not of a simulated subject; {mend}")
    return row
