"""The report of an experiment: its table, by both matching rules, and FROC curves side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from CMMDetectLib import __version__
from CMMDetectLib.candidates import Stage

from . import distributed
from .experiments import PaperRow, Row
from .metrics import Rule
from .report import METRIC_NAMES, RULE_NAMES
from .report_figures import STAGE_NAMES, froc_comparison
from .report_page import estimate_html, html_figure, html_table, in_digits, write_page

Panels = Mapping[str, Mapping[str, Mapping[str, Any]]]
PAPER_NAMES = {"tpr": "TPR", "fp_avg": "FPavg", "precision": "Precision"}


def curves_of(summaries: Mapping[str, Mapping[str, Any]], stage: Stage) -> dict[str, Any]:
    """Extract the FROC curves of a stage, by the overlap rule, from the metrics of several evaluations."""
    return {name: summary["froc"][Rule.OVERLAP][stage] for name, summary in summaries.items()}


def write_experiment(
    path: Path,
    title: str,
    rows: Sequence[Row],
    panels: Panels,
    notes: Sequence[str],
    paper: Mapping[str, Sequence[PaperRow]] | None = None,
) -> None:
    """Write the report.

    Parameters
    ----------
    rows : in order; if the paper has the same row, its numbers are added
    panels : FROC curves by name, by title of the panel
    notes : what a reader must know about the table
    paper : a table of the paper with other rows, from name to its stages

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if not distributed.is_first():
        return
    sections = [
        f"<h1>{escape(title)}</h1>",
        '<p class="quiet">With 95 % bootstrap intervals by subject. Not a medical device.</p>',
        *(f"<h2>{escape(RULE_NAMES[rule])}</h2>{_rows(rows, rule)}" for rule in Rule),
        _froc(panels),
        _paper(paper) if paper else "",
        "<h2>Notes</h2>" + "".join(f"<p>{escape(note)}</p>" for note in notes),
        f'<p class="quiet">Made by CMMDetect {__version__}.</p>',
    ]
    write_page(path, f"CMMDetect: {title}", sections)


def _rows(rows: Sequence[Row], rule: Rule) -> str:
    several = len({row.name for row in rows}) < len(rows)
    head = ["", *(["after stage"] if several else []), *METRIC_NAMES.values(), "thresholds"]
    cells = []
    for number, row in enumerate(rows):
        first = not number or rows[number - 1].name != row.name
        line = [escape(row.name) if first else ""]
        line += [STAGE_NAMES[row.stage]] if several else []
        line += [_cell(row, rule, name) for name in METRIC_NAMES]
        line.append(", ".join(f"{value:.2g}" for value in row.thresholds.values()))
        cells.append(line)
    return html_table(head, cells)


def _cell(row: Row, rule: Rule, name: str) -> str:
    """Format an estimate and, by the paper's rule, the paper's value below it."""
    found = estimate_html(row.metrics[rule][name])
    if row.paper is None or rule is not Rule.OVERLAP or name not in PAPER_NAMES:
        return found
    return f"{found}<br><small>paper {getattr(row.paper, name):g}</small>"


def _froc(panels: Panels) -> str:
    svg = froc_comparison(panels)
    if svg is None:
        return "<h2>FROC</h2><p>There is no curve: no microbleeds, or no candidates.</p>"
    caption = (
        "TPR against false positives per scan as the threshold falls, by the overlap rule, with 95 % intervals. "
        "Filled: threshold in use. Open: knee point."
    )
    return f"<h2>FROC</h2>{html_figure(svg, 'FROC curves', caption)}"


def _paper(table: Mapping[str, Sequence[PaperRow]]) -> str:
    rows = [
        [escape(name) if stage is Stage.DETECTION else "", STAGE_NAMES[stage]]
        + [in_digits(getattr(row, metric)) for metric in PAPER_NAMES]
        for name, stages in table.items()
        for stage, row in zip(Stage, stages, strict=True)
    ]
    return f"<h2>What the paper found</h2>{html_table(['', 'after stage', *PAPER_NAMES.values()], rows)}"
