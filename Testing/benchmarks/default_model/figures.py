"""Plot the performance of the default model beside that of untrained methods, and its calibration.

    python Testing/benchmarks/default_model/figures.py PICTURE EVALUATION ...

EVALUATION as for ``targets.py``. In the FROC curves microbleeds count from an apparent diameter of 2 mm or 2 pixels
on; matching is one to one. The dot is the operating point that a user gets.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from targets import read_evaluations, swept_scores

from CMMDetectLib.candidates import Stage
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import metrics
from CMMDetectTrainLib.calibration import measured_calibration
from CMMDetectTrainLib.metrics import Rule, ScanRecord
from CMMDetectTrainLib.report_figures import COLORS, GRAY, STYLE
from CMMDetectTrainLib.thresholds import froc

NAMES = {Modality.SWI: "SWI", Modality.T2STAR: "T2*-GRE", Modality.QSM: "QSM"}
CURVES = (
    ("paper", Stage.DETECTION, "paper, stage 1"),
    ("paper", Stage.DISCRIMINATION, "paper, stage 2"),
    ("classical", Stage.DISCRIMINATION, "classical"),
    ("blob", Stage.DISCRIMINATION, "blob detector"),
)
LEAST_FP, MOST_FP = 0.05, 300.0
Measured = Mapping[tuple[str, Modality], list[ScanRecord]]


def draw(measured: Measured) -> Figure:
    """Draw three FROC panels and the reliability of stage 2's probability."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14, 4.2), layout="constrained")
        panels = figure.subplots(1, 4)
        for axes, modality in zip(panels, NAMES, strict=False):
            _draw_froc(axes, measured, modality)
        _draw_reliability(panels[3], measured)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(CURVES))
    return figure


def finish_froc(axes: Axes, modality: Modality, most_fp: float) -> None:
    """Give a FROC panel its axes."""
    axes.set(xscale="log", xlim=(LEAST_FP, most_fp), ylim=(0, 1), title=NAMES[modality], ylabel="TPR")
    axes.set_xlabel("False positives per scan")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#e6e9ec", linewidth=0.8)


def _draw_froc(axes: Axes, measured: Measured, modality: Modality) -> None:
    for (method, stage, label), color in zip(CURVES, COLORS, strict=False):
        records = measured.get((method, modality), [])
        curve = froc(swept_scores(records, stage))
        if curve is None:
            continue
        false = np.clip(np.append(LEAST_FP, curve.fp_avg), LEAST_FP, None)
        axes.plot(false, np.append(0, curve.tpr), drawstyle="steps-post", color=color, label=label)
        if stage is Stage.DISCRIMINATION:
            axes.plot(*_operating_point(records), "o", color=color)
    finish_froc(axes, modality, MOST_FP)


def _operating_point(records: Sequence[ScanRecord]) -> tuple[float, float]:
    counts = metrics.stage_counts([metrics.counting_large(record) for record in records], Rule.CENTER, Stage.FINAL)
    return max(float(counts.false.mean()), LEAST_FP), float(counts.found.sum() / counts.lesions.sum())


def _draw_reliability(axes: Axes, measured: Measured) -> None:
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
    for modality, color in zip(NAMES, COLORS, strict=False):
        item = measured_calibration(measured.get(("paper", modality), []))
        if item is not None:
            ends = np.maximum([item.share - item.low, item.high - item.share], 0)
            axes.errorbar(item.mean, item.share, ends, fmt="o-", color=color, capsize=2, label=NAMES[modality])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Probability of stage 2", ylabel="Share of microbleeds")
    axes.set_title("Calibration")
    axes.legend(loc="upper left")


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    parser.add_argument("evaluations", nargs="+", type=Path, metavar="EVALUATION")
    options = parser.parse_args()
    draw(read_evaluations(options.evaluations)).savefig(options.picture, dpi=80)


if __name__ == "__main__":
    main()
