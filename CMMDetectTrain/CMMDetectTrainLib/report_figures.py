"""Figures of the evaluation report, as SVG, in the colors of Okabe and Ito, safe for color-blind readers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from CMMDetectLib.candidates import Stage

from .metrics import FloatArray, Reliability, ScanRecord
from .thresholds import ATTRIBUTES, Attribute, attribute_values, true_and_false

BLUE, ORANGE, GREEN, INK, GRAY = "#0072B2", "#D55E00", "#009E73", "#1b2530", "#8a949e"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", INK, GRAY)
STAGE_COLORS = {Stage.DETECTION: BLUE, Stage.DISCRIMINATION: ORANGE, Stage.FINAL: GREEN}
STAGE_NAMES = {
    Stage.DETECTION: "1 Candidate detection",
    Stage.DISCRIMINATION: "2 Candidate discrimination",
    Stage.FINAL: "3 After post-processing",
}
MOST_BANDS = 3
NO_BAND: Any = {"fp_avg": [], "low": [], "high": []}
LEAST_FOR_DENSITY = 10
COUNT_TICKS = (1, 2, 5, 10, 100, 1000, 10000)
"""Numbers of candidates that an axis names."""
GRID_POINTS = 512
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "svg.hashsalt": "cmmdetect",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG text; the same figure always gives the same text."""
    stream = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    return stream.getvalue()


def froc_figure(froc: Mapping[str, Any]) -> str | None:
    """Draw the FROC curves of stage 1, and of stages 2 and 3 (figure 7 of the paper); None without any curve.

    Parameters
    ----------
    froc : curve of each stage, for one matching rule, from `summary.summarize`
    """
    panels = [[Stage.DETECTION], [Stage.DISCRIMINATION, Stage.FINAL]]
    drawn = [[stage for stage in stages if froc[stage]] for stages in panels]
    if not any(drawn):
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        for axes, stages, letter in zip(figure.subplots(1, 2, sharey=True), drawn, "AB", strict=True):
            for stage in stages:
                _draw_froc(axes, froc[stage], STAGE_COLORS[stage], STAGE_NAMES[stage])
            _finish_froc(axes, letter)
        figure.axes[0].set_ylabel("TPR")
        handles = [
            line for axes in figure.axes for line in axes.get_lines() if not str(line.get_label()).startswith("_")
        ]
        handles += [
            Line2D([], [], color=INK, linestyle="none", marker=marker, markerfacecolor=fill, label=label)
            for label, marker, fill in (("threshold in use", "o", INK), ("knee point", "D", "white"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        return to_svg(figure)


def froc_comparison(panels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str | None:
    """Draw FROC curves of several methods or data sets side by side; None without any curve.

    Parameters
    ----------
    panels : curves by name, from `summary.summarize`, for the title of each panel
    """
    drawn = {title: {name: curve for name, curve in curves.items() if curve} for title, curves in panels.items()}
    drawn = {title: curves for title, curves in drawn.items() if curves}
    if not drawn:
        return None
    with mpl.rc_context(STYLE):
        lines = max(len(curves) for curves in drawn.values())
        figure = Figure(figsize=(5.2 * len(drawn), 4.2 + 0.19 * lines), layout="constrained")
        for axes, (title, curves) in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn.items(), strict=True):
            for number, (name, curve) in enumerate(curves.items()):
                # more bands than these hide each other
                shown = curve if len(curves) <= MOST_BANDS else {**curve, "band": NO_BAND}
                _draw_froc(axes, shown, COLORS[number % len(COLORS)], name)
            _finish_froc(axes, title)
            axes.set_ylabel("TPR")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9)
        return to_svg(figure)


def attribute_figure(records: Sequence[ScanRecord], cutoffs: Mapping[str, float]) -> str | None:
    """Draw the densities of the attributes that stage 3 tests, for true and false candidates of stage 2 (figure 6).

    Fewer than `LEAST_FOR_DENSITY` values are drawn as ticks only. An attribute that is undefined for all candidates is
    left out, such as the shape of single voxels; None if no attribute is left.
    """
    kinds = true_and_false(records, Stage.DISCRIMINATION)
    by_attribute = {attribute: [attribute_values(kind, attribute) for kind in kinds] for attribute in ATTRIBUTES}
    drawn = {attribute: values for attribute, values in by_attribute.items() if any(map(len, values))}
    if not drawn:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.1), layout="constrained")
        panels = figure.subplots(1, len(drawn), squeeze=False)[0]
        for axes, (attribute, values) in zip(panels, drawn.items(), strict=True):
            _draw_attribute(axes, attribute, values, cutoffs[attribute.cutoff])
        figure.axes[0].set_ylabel("Density, scaled to its peak")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return to_svg(figure)


def reliability_figure(measured: Mapping[str, Reliability]) -> str:
    """Draw the share of microbleeds among candidates against the probability of stage 2, one curve for each name."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 4.6), layout="constrained")
        axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
        colors = (GRAY, BLUE) if len(measured) > 1 else (BLUE,)
        for (name, item), color in zip(measured.items(), colors, strict=True):
            ends = np.maximum([item.share - item.low, item.high - item.share], 0)
            axes.errorbar(item.mean, item.share, ends, fmt="o-", color=color, capsize=2, label=name)
            bars.bar(item.mean, item.count, width=0.06, color=color, alpha=0.7)
        if len(measured) > 1:
            axes.legend(loc="upper left")
        axes.set(ylim=(-0.02, 1.02), ylabel="Share of microbleeds")
        bars.set(xlim=(-0.02, 1.02), xlabel="Probability of stage 2", ylabel="Candidates", yscale="log")
        bars.set_ylim(bottom=0.5)
        # a few candidates are 2 and 3, and not 2 and 3 times 10 to the power of 0
        for formatted in (bars.yaxis.set_major_formatter, bars.yaxis.set_minor_formatter):
            formatted(lambda value, _: f"{value:g}" if value in COUNT_TICKS else "")
        return to_svg(figure)


def density_grid(values: FloatArray, attribute: Attribute) -> FloatArray:
    """Return `GRID_POINTS` values that cover the given ones with a margin, evenly spaced on the attribute's axis."""
    axis = _on_axis(values, attribute)
    margin = 0.05 * max(float(np.ptp(axis)), 1e-3)
    low = axis.min() - margin if attribute.logarithmic else max(axis.min() - margin, 0.0)
    grid = np.linspace(low, axis.max() + margin, GRID_POINTS)
    return 10**grid if attribute.logarithmic else grid


def density(values: FloatArray, grid: FloatArray, attribute: Attribute) -> FloatArray:
    """Estimate the density of an attribute at the points of `density_grid`; its sum over the grid is 1.

    The kernels are Gaussian, of Silverman's width on the attribute's axis, and mirrored at 0 if the axis ends there.
    """
    axis, points = _on_axis(values, attribute), _on_axis(grid, attribute)
    quarters = np.subtract(*np.quantile(axis, [0.75, 0.25]))
    spread = min(float(axis.std()), quarters / 1.34) or float(axis.std())
    width = max(0.9 * spread * len(axis) ** -0.2, 2 * float(points[1] - points[0]))
    result = _kernels(points, axis, width)
    if not attribute.logarithmic:
        result += _kernels(points, -axis, width)
    return result / result.sum()


def _draw_attribute(axes: Axes, attribute: Attribute, values: Sequence[FloatArray], cutoff: float) -> None:
    """Draw the densities of an attribute of true and of false candidates, and the cut-off."""
    # a cut-off that rejects nothing may lie at minus infinity of a logarithmic axis
    limits = [] if cutoff == attribute.no_cut else [cutoff]
    grid = density_grid(np.concatenate([*values, limits]), attribute)
    for some, name, color, level in zip(values, ("microbleeds", "false"), (BLUE, ORANGE), (0, 1), strict=True):
        label = f"{name} (n = {len(some)})"
        axes.plot(some, np.full(len(some), -0.06 - 0.07 * level), "|", color=color, alpha=0.5, markersize=6)
        height = density(some, grid, attribute) if len(some) >= LEAST_FOR_DENSITY else np.zeros(len(grid))
        height = height / max(height.max(), 1e-12)
        axes.fill_between(grid, height, color=color, alpha=0.25, linewidth=0)
        axes.plot(grid, np.where(height > 0, height, np.nan), color=color, label=label)
    for limit in limits:
        axes.axvline(limit, color=INK, linestyle="--", linewidth=1)
        axes.annotate(f" {limit:g}", (limit, 1.0), xycoords=("data", "axes fraction"), va="top", fontsize=9)
    axes.set(xlabel=attribute.label, yticks=[], xscale="log" if attribute.logarithmic else "linear")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.spines["left"].set_visible(False)


def _draw_froc(axes: Axes, curve: Mapping[str, Any], color: str, label: str) -> None:
    band = curve["band"]
    least = 0.01
    fp_avg = np.maximum(np.concatenate([[least], curve["fp_avg"]]), least)
    tpr = np.concatenate([[0.0], curve["tpr"]])
    axes.plot(fp_avg, tpr, drawstyle="steps-post", color=color, label=label)
    axes.fill_between(band["fp_avg"], band["low"], band["high"], step="post", color=color, alpha=0.15, linewidth=0)
    for name, marker in (("knee", "D"), ("used", "o")):
        point = curve["points"][name]
        filled = color if name == "used" else "white"
        at = (max(point["fp_avg"], least), point["tpr"])
        axes.plot(*at, marker, color=color, markerfacecolor=filled, markersize=7, clip_on=False, zorder=5)


def _finish_froc(axes: Axes, title: str) -> None:
    axes.set(xscale="log", ylim=(0, 1.02), title=title, xlabel="False positives per scan (FPavg)")
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0.01), high)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="both", color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)


def _on_axis(values: FloatArray, attribute: Attribute) -> FloatArray:
    return np.log10(np.maximum(values, 1e-3)) if attribute.logarithmic else values


def _kernels(points: FloatArray, centers: FloatArray, width: float) -> FloatArray:
    total = np.zeros(len(points))
    for some in np.array_split(centers, max(1, len(centers) // 2000)):
        total += np.exp(-0.5 * ((points[:, None] - some) / width) ** 2).sum(axis=1)
    return total
