"""Plot the performance of several models after a stage on the same scans, to choose the smallest equivalent one.

    python Testing/benchmarks/default_model/compare_models.py PICTURE NAME=EXPERIMENT ... [--stage detection]

EXPERIMENT is a folder that ``cmmdetect experiment generalization`` wrote with the model of that name. Microbleeds
count from an apparent diameter of 2 mm or 2 pixels on; matching is one to one. Bands are intervals of 95 % by subject.
Prints the same as a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from figures import LEAST_FP, NAMES, finish_froc
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rows import cell
from targets import read_evaluations, swept_scores

from CMMDetectLib.candidates import Stage
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import metrics
from CMMDetectTrainLib.metrics import Estimate, ScanRecord
from CMMDetectTrainLib.report_figures import COLORS, STYLE
from CMMDetectTrainLib.thresholds import froc, froc_band, tpr_at

MOST_FP = 20.0
TABLE_FP = {Stage.DETECTION: (1.0, 2.0, 5.0, 10.0), Stage.DISCRIMINATION: (0.5, 1.0, 2.0, 5.0)}
DRAWN_FP = np.geomspace(LEAST_FP, MOST_FP, 60)
Models = Mapping[str, Mapping[tuple[str, Modality], Sequence[ScanRecord]]]


def draw(models: Models, stage: Stage) -> Figure:
    """Draw a panel a modality, a curve with its band a model."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        panels = figure.subplots(1, len(NAMES))
        for axes, modality in zip(panels, NAMES, strict=True):
            for (name, measured), color in zip(models.items(), COLORS, strict=False):
                tpr, low, high = reached(measured["paper", modality], DRAWN_FP, stage)
                axes.fill_between(DRAWN_FP, low, high, color=color, alpha=0.15, linewidth=0)
                axes.plot(DRAWN_FP, tpr, color=color, label=name)
            finish_froc(axes, modality, MOST_FP)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(models))
    return figure


def table(models: Models, stage: Stage) -> list[str]:
    """Give the rows of a Markdown table: TPR with its interval at some numbers of false positives per scan."""
    heads = " | ".join(f"at {fp_avg:g}" for fp_avg in TABLE_FP[stage])
    rows = [f"| model | modality | {heads} |", "|---" * (len(TABLE_FP[stage]) + 2) + "|"]
    for name, measured in models.items():
        for modality, label in NAMES.items():
            found = zip(*reached(measured["paper", modality], np.array(TABLE_FP[stage]), stage), strict=True)
            cells = (cell(Estimate(*ends), 2) for ends in found)
            rows.append(f"| {name} | {label} | {' | '.join(cells)} |")
    return rows


def reached(records: Sequence[ScanRecord], fp_avg: NDArray[np.float64], stage: Stage) -> NDArray[np.float64]:
    """Give TPR after a stage and both ends of its interval, (3, G), at so many false positives per scan, (G,)."""
    scores = swept_scores(records, stage)
    curve = froc(scores)
    if curve is None:
        return np.zeros((3, len(fp_avg)))
    low, high = froc_band(scores, metrics.bootstrap_weights([record.subject for record in records]), fp_avg)
    return np.array([[tpr_at(curve, value) for value in fp_avg], low, high])


def main() -> None:
    """Read, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    parser.add_argument("experiments", nargs="+", metavar="NAME=EXPERIMENT")
    parser.add_argument("--stage", type=Stage, choices=list(TABLE_FP), default=Stage.DISCRIMINATION)
    options = parser.parse_args()
    named = (text.partition("=") for text in options.experiments)
    models = {name: read_evaluations(sorted((Path(folder) / "evaluations").iterdir())) for name, _, folder in named}
    draw(models, options.stage).savefig(options.picture, dpi=80)
    print("\n".join(table(models, options.stage)))


if __name__ == "__main__":
    main()
