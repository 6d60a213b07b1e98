"""The demo: simulate one scan, detect, compare with the truth, write a picture and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CMMDetectLib.candidates import Candidate, Stage, at_stage
from CMMDetectLib.matching import Match, match_centers
from CMMDetectLib.progress import Report
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import Modality, Scan, replacing, to_voxel, write_image
from CMMDetectLib.tables import write_tsv

from .seeds import check_seed
from .simulation.protocols import find_protocol
from .simulation.simulate import SimulatedScan, simulate_scan
from .simulation.truth_files import TruthRecord, write_truth

Detect = Callable[[Scan], Sequence[Candidate]]
PROTOCOL = "fast"
LESIONS = 8
PANELS = (2, 4)
STAGE_COLORS = {Stage.DETECTION: "deepskyblue", Stage.DISCRIMINATION: "orange", Stage.FINAL: "red"}
TRUTH_COLOR = "lime"
MARK_MM = 5.0


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and where it was written.

    Attributes
    ----------
    scan, table, picture : files
    lesions : number of visible microbleeds of the scan
    found : how many of these the final stage found
    false_positives : number of final candidates that are not microbleeds
    """

    scan: Path
    table: Path
    picture: Path
    lesions: int
    found: int
    false_positives: int


def run_demo(
    output: Path,
    detect: Detect,
    seed: int = 1,
    modality: Modality = Modality.SWI,
    progress: Report | None = None,
) -> DemoResult:
    """Simulate a scan with microbleeds, detect them and compare.

    Candidates and microbleeds are matched one to one by their centers, within 3 mm or the lesion's radius.

    Parameters
    ----------
    output : folder, created if necessary
    detect : takes the scan and returns its candidate list
    seed, modality : those of the scan
    progress : called with the finished fraction and a message

    Raises
    ------
    InputError
        If the seed is negative.
    OutputError
        If a file cannot be written.
    """
    check_seed(seed)
    report = progress or (lambda _fraction, _message: None)
    prepare_folder(output)
    report(0.0, "simulating a scan")
    simulated = simulate_scan(find_protocol(PROTOCOL), seed, LESIONS)
    stem = f"demo_{modality}"
    scan = simulated.scan(modality, stem)
    truth = simulated.truth[modality]
    write_image(output / f"{stem}.nii.gz", scan.array, scan.affine)
    write_truth(output, stem, truth, scan.affine)
    report(0.5, "detecting microbleeds")
    candidates = detect(scan)
    report(0.9, "comparing with the truth")
    lesions = [record for record in truth.records if record.kind == "microbleed"]
    final = at_stage(candidates, Stage.FINAL)
    match = _match(final, lesions)
    _write_table(output / f"{stem}_comparison.tsv", lesions, final, match)
    _draw(output / f"{stem}.png", simulated, modality, candidates, lesions)
    report(1.0, f"written to {output}")
    visible = [lesion.visible for lesion in lesions]
    return DemoResult(
        output / f"{stem}.nii.gz",
        output / f"{stem}_comparison.tsv",
        output / f"{stem}.png",
        lesions=sum(visible),
        found=int(np.count_nonzero((match.candidate_of >= 0) & visible)),
        false_positives=int(np.count_nonzero(match.is_false)),
    )


def _match(candidates: Sequence[Candidate], lesions: Sequence[TruthRecord]) -> Match:
    return match_centers(
        [(item.x, item.y, item.z) for item in candidates],
        [(lesion.x, lesion.y, lesion.z) for lesion in lesions],
        [0.5 * lesion.apparent_diameter_mm for lesion in lesions],
        priority=[item.p_discrimination or item.p_detection or 0.0 for item in candidates],
        optional=np.array([not lesion.visible for lesion in lesions], dtype=bool),
    )


def _write_table(path: Path, lesions: Sequence[TruthRecord], candidates: Sequence[Candidate], match: Match) -> None:
    """Write one row per microbleed, then one per false positive."""
    rows: list[dict[str, Any]] = []
    for lesion, index in zip(lesions, match.candidate_of, strict=True):
        outcome = "found" if index >= 0 else "missed" if lesion.visible else "not visible"
        rows.append(
            {
                "outcome": outcome,
                "microbleed": lesion.id,
                "candidate": candidates[index].id if index >= 0 else None,
                "x": lesion.x,
                "y": lesion.y,
                "z": lesion.z,
                "region": lesion.region,
                "diameter_mm": lesion.apparent_diameter_mm,
            }
        )
    for item, is_false in zip(candidates, match.is_false, strict=True):
        if is_false:
            place = {"x": round(item.x, 3), "y": round(item.y, 3), "z": round(item.z, 3)}
            rows.append({"outcome": "false positive", "candidate": item.id, **place})
    write_tsv(path, ["outcome", "microbleed", "candidate", "x", "y", "z", "region", "diameter_mm"], rows)


def _draw(
    path: Path,
    simulated: SimulatedScan,
    modality: Modality,
    candidates: Sequence[Candidate],
    lesions: Sequence[TruthRecord],
) -> None:
    """Draw what was found and missed: circles are the truth, crosses the candidates, colored by their last stage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scan = simulated.scan(modality)
    shown_mm = [(lesion.x, lesion.y, lesion.z) for lesion in lesions]
    shown_mm += [(item.x, item.y, item.z) for item in at_stage(candidates, Stage.FINAL)]
    slices = _slices(scan, shown_mm, PANELS[0] * PANELS[1])
    figure = Figure(figsize=(3.2 * PANELS[1], 3.9 * PANELS[0] + 0.5), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(*PANELS)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, k in zip(axes.flat, slices, strict=False):
        _draw_slice(axis, scan, simulated.tissue_signal, k)
        _mark(axis, scan, k, [(r.x, r.y, r.z) for r in lesions], TRUTH_COLOR, "o", "microbleed")
        for stage, color in STAGE_COLORS.items():
            points = [(item.x, item.y, item.z) for item in candidates if item.stage is stage]
            _mark(axis, scan, k, points, color, "x", f"last stage: {stage}")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, labelcolor="white", facecolor="black")
    figure.subplots_adjust(0, 0.06, 1, 0.97, 0.02, 0.08)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=100, format="png")


def _slices(scan: Scan, points_mm: Sequence[tuple[float, float, float]], count: int) -> list[int]:
    """Choose slices through points, the first points first, then evenly spread ones; from low to high."""
    height = scan.array.shape[2]
    through = [round(float(to_voxel(scan.affine, point)[2])) for point in points_mm]
    spread = np.linspace(0.2, 0.8, 3 * count) * height
    chosen: list[int] = []
    for k in [*through, *spread.astype(int).tolist()]:
        apart = all(abs(k - other) * scan.spacing_mm[2] > MARK_MM for other in chosen)
        if len(chosen) < count and apart and 0 <= k < height:
            chosen.append(k)
    return sorted(chosen)


def _draw_slice(axis: Any, scan: Scan, tissue_signal: float, k: int) -> None:
    low, high = (0.0, 1.6 * tissue_signal) if scan.modality.lesions_are_dark else (-0.15, 0.4)
    ratio = scan.spacing_mm[1] / scan.spacing_mm[0]
    axis.imshow(scan.array[..., k].T, cmap="gray", vmin=low, vmax=high, aspect=ratio, origin="lower")
    # patient's right on the left, face up, whatever the order of the file's axes
    if scan.affine[0, 0] > 0:
        axis.invert_xaxis()
    if scan.affine[1, 1] < 0:
        axis.invert_yaxis()
    axis.set_title(f"slice {k}", color="white", fontsize=8)
    axis.set_axis_off()


def _mark(
    axis: Any, scan: Scan, k: int, points: Sequence[tuple[float, float, float]], color: str, marker: str, label: str
) -> None:
    """Mark the points that lie near a slice."""
    voxels = to_voxel(scan.affine, np.reshape(points, (-1, 3)))
    near = voxels[np.abs(voxels[:, 2] - k) * scan.spacing_mm[2] < MARK_MM]
    face = {"facecolors": "none", "edgecolors": color} if marker == "o" else {"c": color}
    axis.scatter(
        near[:, 0], near[:, 1], s=70 if marker == "o" else 30, marker=marker, linewidths=1, label=label, **face
    )
