"""Building blocks of the reports, each of which is one self-contained HTML file with tables and figures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from CMMDetectLib.scan import replacing

DASH = "-"
CSS = """
:root { color: #1b2530; background: #fff; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
body { max-width: 66rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .4rem 0; max-width: 48rem; } .quiet { color: #5c6873; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; margin: 1.4rem 0; }
.tile { border: 1px solid #dde2e7; border-radius: 8px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.8rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem .28rem 0; text-align: right; white-space: nowrap; vertical-align: middle; }
th { font-weight: 600; border-bottom: 1px solid #b9c1c9; } td { border-bottom: 1px solid #edf0f2; }
th:first-child, td:first-child { text-align: left; } td small { color: #5c6873; font-size: .82em; }
figure { margin: .8rem 0; } figure img { max-width: 100%; } figcaption { color: #5c6873; max-width: 48rem; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; } .scroll { overflow-x: auto; }
@media (max-width: 40rem) { .tiles { grid-template-columns: repeat(2, 1fr); } }
@media print { h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report: title, caption and SVG text."""

    title: str
    caption: str
    svg: str


def write_page(path: Path, title: str, sections: Iterable[str]) -> None:
    """Write sections of HTML as one self-contained page.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML; the cells are HTML too."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def html_figure(svg: str, title: str, caption: str) -> str:
    """Return a figure with its caption as HTML."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def in_digits(value: float | None) -> str:
    """Format a number with two decimals, with fewer if it is large and one more if it is tiny.

    >>> [in_digits(value) for value in (0.0046, 0.876, 12.34, 129.3, None)]
    ['0.005', '0.88', '12.3', '129', '-']
    """
    if value is None:
        return DASH
    digits = 3 if 0 < value < 0.01 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def interval_text(estimate: Mapping[str, float | None]) -> str:
    """Format the limits of an interval; empty if there is none."""
    low, high = estimate["low"], estimate["high"]
    return "" if low is None else f"{in_digits(low)} to {in_digits(high)}"


def estimate_html(estimate: Mapping[str, float | None]) -> str:
    """Format an estimate with its interval as HTML."""
    interval = interval_text(estimate)
    return in_digits(estimate["value"]) + (f" <small>({interval})</small>" if interval else "")
