"""Draw what several models reach after stage 2 on the same scans, to choose the smallest that is as good.

    python Testing/benchmarks/default_model/compare_models.py PICTURE NAME=EXPERIMENT ...

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
from figures import LEAST_FP, NAMES, Measured
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from targets import read_evaluations

from CMMDetectLib.candidates import Stage
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import metrics
from CMMDetectTrainLib.metrics import Rule, ScanRecord, Scores, score_scan
from CMMDetectTrainLib.report_figures import COLORS, STYLE
from CMMDetectTrainLib.thresholds import froc, froc_band, score_swept, tpr_at

MOST_FP = 20.0
TABLE_FP = (0.5, 1.0, 2.0, 5.0)
POINTS = 60


def draw(models: Mapping[str, Measured]) -> Figure:
    """Draw a panel a modality, a curve with its band a model."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        panels = figure.subplots(1, len(NAMES))
        for axes, modality in zip(panels, NAMES, strict=True):
            for (name, measured), color in zip(models.items(), COLORS, strict=False):
                _draw_curve(axes, measured["paper", modality], name, color)
            axes.set(xscale="log", xlim=(LEAST_FP, MOST_FP), ylim=(0, 1), title=NAMES[modality], ylabel="TPR")
            axes.set_xlabel("False positives a scan")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.grid(color="#e6e9ec", linewidth=0.8)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(models))
    return figure


def table(models: Mapping[str, Measured]) -> list[str]:
    """Give the rows of a Markdown table: TPR with its interval at some numbers of false positives a scan."""
    heads = " | ".join(f"at {fp_avg:g}" for fp_avg in TABLE_FP)
    rows = [f"| model | modality | {heads} |", "|---" * (len(TABLE_FP) + 2) + "|"]
    for name, measured in models.items():
        for modality, label in NAMES.items():
            scores, weights = _scores(measured["paper", modality])
            curve = froc(scores)
            low, high = froc_band(scores, weights, np.array(TABLE_FP))
            cells = (
                f"{0 if curve is None else tpr_at(curve, fp_avg):.2f} ({a:.2f}-{b:.2f})"
                for fp_avg, a, b in zip(TABLE_FP, low, high, strict=True)
            )
            rows.append(f"| {name} | {label} | {' | '.join(cells)} |")
    return rows


def _draw_curve(axes: Axes, records: Sequence[ScanRecord], name: str, color: str) -> None:
    scores, weights = _scores(records)
    curve = froc(scores)
    if curve is None:
        return
    fp_avg = np.geomspace(LEAST_FP, MOST_FP, POINTS)
    axes.fill_between(fp_avg, *froc_band(scores, weights, fp_avg), color=color, alpha=0.15, linewidth=0)
    axes.plot(fp_avg, [tpr_at(curve, value) for value in fp_avg], color=color, label=name)


def _scores(records: Sequence[ScanRecord]) -> tuple[list[Scores], np.ndarray]:
    """Score the candidates that stage 2 has judged, and weigh the scans for the intervals."""
    score = score_swept(Stage.DISCRIMINATION, CutOffs())
    large = [metrics.counting_large(record) for record in records]
    scores = [score_scan(record, Rule.CENTER, score) for record in large]
    return scores, metrics.bootstrap_weights([record.subject for record in records])


def main() -> None:
    """Read, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    parser.add_argument("experiments", nargs="+", metavar="NAME=EXPERIMENT")
    options = parser.parse_args()
    models: dict[str, Mapping[tuple[str, Modality], list[ScanRecord]]] = {}
    for text in options.experiments:
        name, _, folder = text.partition("=")
        models[name] = read_evaluations(sorted((Path(folder) / "evaluations").iterdir()))
    draw(models).savefig(options.picture, dpi=80)
    print("\n".join(table(models)))


if __name__ == "__main__":
    main()
