"""The report of an evaluation: one self-contained HTML file with metrics, their intervals, and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from CMMDetectLib import __version__
from CMMDetectLib.candidates import Stage
from CMMDetectLib.wording import counted

from .metrics import Reliability, Rule, ScanRecord, score_at, score_scan
from .report_figures import (
    BLUE,
    GRAY,
    STAGE_NAMES,
    attribute_figure,
    froc_figure,
    reliability_figure,
)
from .report_page import (
    ReportFigure,
    estimate_html,
    html_figure,
    html_table,
    in_digits,
    interval_text,
    write_page,
)
from .summary import NO_MIMIC

METRIC_NAMES = {"tpr": "TPR", "fp_avg": "FPavg", "precision": "Precision", "f1": "F1"}
MACRO_NAMES = {"macro_tpr": "TPR", "macro_precision": "Precision", "macro_f1": "F1"}
RULE_NAMES = {
    Rule.OVERLAP: "Overlap: the cluster shares at least one voxel with the lesion (the paper's rule)",
    Rule.CENTER: "Center: one to one, within 3 mm or the lesion's radius of its center",
}
POINT_NAMES = {"used": "in use", "knee": "knee point", "best_f1": "highest F1"}
GROUP_NAMES = {"size": "Apparent diameter"}
WORST_SCANS = 12


def write_report(
    path: Path, summary: Mapping[str, Any], records: Sequence[ScanRecord], figures: Sequence[ReportFigure] = ()
) -> None:
    """Write the report.

    Parameters
    ----------
    summary : content of ``metrics.json``
    records : records of the same scans
    figures : shown after the report's own figures, in this order

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    sections = [
        _head(summary),
        _stages(summary),
        _froc(summary),
        _groups(summary),
        _clean_scans(summary),
        _false_positives(summary),
        _attributes(summary, records),
        _calibration(summary),
        *(f"<h2>{escape(item.title)}</h2>{html_figure(item.svg, item.title, item.caption)}" for item in figures),
        _scans(records),
        _definitions(),
    ]
    write_page(path, "CMMDetect evaluation", sections)


def _head(summary: Mapping[str, Any]) -> str:
    final = summary["stages"][Rule.OVERLAP][Stage.FINAL]
    about = " · ".join(f"{escape(name)}: {escape(str(value))}" for name, value in summary["about"].items())
    size = (
        f"{counted(summary['scans'], 'scan')} of {counted(summary['subjects'], 'subject')} with "
        f"{counted(summary['lesions'], 'microbleed')}; "
        f"{counted(summary['scans_without_microbleeds'], 'scan')} without any."
    )
    if summary["lesions_not_counted"]:
        unseen = counted(summary["lesions_not_counted"], "microbleed")
        size += f" Not counted: {unseen} more, which the scans do not show."
    tiles = "".join(
        f'<div class="tile">{name}<b>{in_digits(final[key]["value"])}</b>'
        f'<span class="quiet">{interval_text(final[key]) or "no interval"}</span></div>'
        for key, name in METRIC_NAMES.items()
    )
    notes = "".join(f"<p><b>{escape(note)}</b></p>" for note in summary["notes"])
    problems = "".join(f"<li>{escape(name)}: {escape(problem)}</li>" for name, problem in summary["problems"].items())
    failed = f"<p>Scans in which detection failed (their lesions count as missed):</p><ul>{problems}</ul>"
    return (
        f'<h1>Microbleed detection: evaluation</h1><p class="quiet">{about}</p><p>{size}</p>'
        f'<div class="tiles">{tiles}</div>'
        '<p class="quiet">After all three stages, by the overlap rule, with 95 % intervals. Not a medical device.</p>'
        f"{notes}"
        f"{failed if problems else ''}"
    )


def _stages(summary: Mapping[str, Any]) -> str:
    every, large = summary["stages"], summary["large_lesions"]
    parts = [
        f"<h3>{escape(title)}</h3>{_stage_table(every[rule], METRIC_NAMES)}" for rule, title in RULE_NAMES.items()
    ]
    parts += ["<h3>Mean of scans, by the overlap rule</h3>", _stage_table(every[Rule.OVERLAP], MACRO_NAMES)]
    size = f"Only the {counted(large['lesions'], 'microbleed')} with an apparent diameter of at least 2 mm or 2 pixels"
    for rule in Rule:
        parts += [f"<h3>{size}, by the {rule} rule</h3>", _stage_table(large["stages"][rule], METRIC_NAMES)]
    return f"<h2>After each stage</h2>{''.join(parts)}"


def _stage_table(stages: Mapping[str, Any], metrics: Mapping[str, str]) -> str:
    rows = [[name, *(estimate_html(stages[stage][key]) for key in metrics)] for stage, name in STAGE_NAMES.items()]
    return html_table(["", *metrics.values()], rows)


def _froc(summary: Mapping[str, Any]) -> str:
    curves = summary["froc"][Rule.OVERLAP]
    svg = froc_figure(curves)
    if svg is None:
        return "<h2>FROC</h2><p>There is no curve: no microbleeds, or no candidates.</p>"
    rows, rates = [], []
    for stage, name in STAGE_NAMES.items():
        if not curves[stage]:
            continue
        for number, (key, label) in enumerate(POINT_NAMES.items()):
            point = curves[stage]["points"][key]
            first = "" if number else name
            rows.append([first, label, *(in_digits(point[column]) for column in ("threshold", *METRIC_NAMES))])
        at = curves[stage]["tpr_at_fp_avg"]
        rates.append([name, *map(in_digits, at.values()), in_digits(curves[stage]["fp_avg_at_tpr_0.95"])])
    head = ["", *(f"{rate} FP" for rate in at), "FPavg at TPR 0.95"]
    caption = (
        "TPR against false positives per scan as the threshold falls, with 95 % intervals. A: threshold of stage 1 on "
        "the highest probability of a candidate. B: threshold of stage 2; after post-processing, only candidates "
        "within the cut-offs of stage 3. The curves end at the thresholds with which candidates were collected."
    )
    return (
        f"<h2>FROC</h2>{html_figure(svg, 'FROC curves', caption)}"
        f"<h3>Operating points</h3>{html_table(['', 'point', 'threshold', *METRIC_NAMES.values()], rows)}"
        f"<h3>TPR at a given number of false positives per scan</h3>{html_table(head, rates)}"
    )


def _groups(summary: Mapping[str, Any]) -> str:
    parts = ["<h2>By size, conspicuity, region and kind of scan</h2>", '<div class="columns">']
    for group, members in summary["tpr_of_lesions"].items():
        rows = [
            [_words(name), str(item["lesions"]), estimate_html(item["tpr"]), _bar(item["tpr"])]
            for name, item in members.items()
        ]
        if rows:
            title = GROUP_NAMES.get(group, group.capitalize())
            parts.append(f"<div><h3>{title}</h3>{html_table(['', 'microbleeds', 'TPR', _scale()], rows)}</div>")
    parts.append("</div>")
    for group, members in summary["groups_of_scans"].items():
        if len(members) > 1:
            head = [group.capitalize(), "scans", "microbleeds", *METRIC_NAMES.values()]
            rows = [
                [
                    _words(name),
                    str(item["scans"]),
                    str(item["lesions"]),
                    *(estimate_html(item[key]) for key in METRIC_NAMES),
                ]
                for name, item in members.items()
            ]
            parts.append(html_table(head, rows))
    return "".join(parts)


def _clean_scans(summary: Mapping[str, Any]) -> str:
    number = summary["scans_without_microbleeds"]
    if not number:
        return "<h2>Scans without microbleeds</h2><p>There are none in this data set.</p>"
    rows = [
        [
            name,
            estimate_html(summary["clean_scans"][stage]["fp_avg"]),
            estimate_html(summary["clean_scans"][stage]["without_any"]),
        ]
        for stage, name in STAGE_NAMES.items()
    ]
    head = ["", "False positives per scan", "Share of scans without any"]
    return f"<h2>Scans without microbleeds</h2><p>{counted(number, 'scan')}.</p>{html_table(head, rows)}"


def _false_positives(summary: Mapping[str, Any]) -> str:
    """Table of what false positives lie on; empty for a data set without known mimics."""
    found = summary["false_positives_on"]
    kinds = sorted(found[Stage.DETECTION], key=lambda kind: (-found[Stage.FINAL].get(kind, 0), kind))
    if not any(kind != NO_MIMIC for kind in kinds):
        return ""
    rows = [[_words(kind), *(str(found[stage].get(kind, 0)) for stage in Stage)] for kind in kinds]
    head = ["", *(f"after stage {number}" for number, _ in enumerate(Stage, 1))]
    return f"<h2>What false positives lie on</h2>{html_table(head, rows)}"


def _attributes(summary: Mapping[str, Any], records: Sequence[ScanRecord]) -> str:
    svg = attribute_figure(records, summary["settings"]["cutoffs"])
    if svg is None:
        return ""
    caption = (
        "Attributes of the candidates that passed stage 2, on microbleeds and elsewhere; the dashed line is the "
        "cut-off of stage 3 in use. Each tick is a candidate. Densities need ten candidates."
    )
    return f"<h2>Attributes that stage 3 tests</h2>{html_figure(svg, 'Attribute densities', caption)}"


def _calibration(summary: Mapping[str, Any]) -> str:
    measured = summary["calibration"]
    if measured is None:
        return ""
    caption = (
        "All candidates of stage 1 in ten bins of stage 2's probability; bars are Wilson 95 % intervals. "
        f"Brier score {measured['brier']:.3f}, expected calibration error {measured['error']:.3f}."
    )
    curve = {name: np.array(measured[name]) for name in ("mean", "share", "low", "high", "count")}
    svg = reliability_figure({"": Reliability(**curve, brier=measured["brier"], error=measured["error"])})
    return f"<h2>Calibration</h2>{html_figure(svg, 'Calibration', caption)}"


def _scans(records: Sequence[ScanRecord]) -> str:
    """Table of the scans with the most errors."""
    scores = [score_scan(record, Rule.OVERLAP, score_at(Stage.FINAL)) for record in records]
    counted = [
        (record.name, len(item.found_at), int((item.found_at >= 1).sum()), len(item.false_at))
        for record, item in zip(records, scores, strict=True)
    ]
    worst = sorted(counted, key=lambda row: (-(row[1] - row[2] + row[3]), row[0]))[:WORST_SCANS]
    rows = [[escape(name), str(true), str(found), str(true - found), str(false)] for name, true, found, false in worst]
    head = ["", "microbleeds", "found", "missed", "false"]
    note = "Every lesion and candidate is in <code>lesions.tsv</code> and <code>candidates.tsv</code>."
    return f"<h2>Scans with the most errors</h2>{html_table(head, rows)}<p>{note}</p>"


def _definitions() -> str:
    lines = (
        "TPR: microbleeds found / all microbleeds. FPavg: false positives / scans. Precision: microbleeds found / "
        "(microbleeds found + false positives). F1: their harmonic mean. Pooled over all scans unless a column says "
        "mean of scans: TPR over scans with microbleeds, precision over scans with detections, F1 over either.",
        "Overlap rule: a microbleed that several clusters touch counts once, and none of them is a false positive. "
        "Center rule: a second candidate on a microbleed is a false positive; the assignment finds as many "
        "microbleeds as possible.",
        "A microbleed that is not counted, because its scan does not show it or it is too small for a table, is no "
        "miss, and a candidate on it is no false positive.",
        "Conspicuity: how much a microbleed stands out from the ring of 2 mm around it, in the slice that shows it "
        "best, in standard deviations (SD) of the ring: half the range of the middle 68 % of its voxels.",
        "Intervals: percentiles of 2000 bootstrap samples of subjects. If all samples give the same value, as when "
        "all microbleeds are found, the interval has no width and understates the uncertainty.",
        "Knee point: the point of the FROC curve farthest above the straight line from the origin to its end.",
    )
    made = f'<p class="quiet">Made by CMMDetect {__version__}.</p>'
    return "<h2>Definitions</h2>" + "".join(f"<p>{line}</p>" for line in lines) + made


def _bar(estimate: Mapping[str, float | None]) -> str:
    """Draw an estimate between 0 and 1 with its interval."""
    if estimate["value"] is None:
        return ""
    low, high = (estimate[end] if estimate[end] is not None else estimate["value"] for end in ("low", "high"))
    start, end, at = (4 + 120 * float(value or 0.0) for value in (low, high, estimate["value"]))
    return (
        '<svg width="128" height="14" role="img" aria-hidden="true">'
        f'<line x1="4" x2="124" y1="7" y2="7" stroke="#dde2e7"/>'
        f'<line x1="{start:.1f}" x2="{end:.1f}" y1="7" y2="7" stroke="{BLUE}" stroke-width="2"/>'
        f'<circle cx="{at:.1f}" cy="7" r="4" fill="{BLUE}"/></svg>'
    )


def _scale() -> str:
    return (
        '<svg width="128" height="14" role="img" aria-label="TPR from 0 to 1">'
        f'<text x="0" y="11" font-size="11" fill="{GRAY}">0</text>'
        f'<text x="121" y="11" font-size="11" fill="{GRAY}">1</text></svg>'
    )


def _words(name: str) -> str:
    return escape(name.replace("_", " "))
