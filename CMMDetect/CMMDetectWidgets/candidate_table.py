"""The table of candidates: one row per candidate, the most likely first."""

import qt
from slicer.i18n import tr as _

from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_records import Certainty, Mimic, Origin, Verdict, moved_mm

COLUMNS = (_("No."), _("Stage"), _("p"), _("mm"), _("Verdict"), _("Certainty"), _("Note"))
COLUMN_TIPS = (
    _("Name of the candidate; with r it was added by the reader"),
    _("Last stage that the candidate passed, or why it was removed"),
    _("Probability of stage 2, which weighs the scan's other candidates too; of stage 1 where stage 2 gave none"),
    _("Diameter in millimeters"),
    _("Your decision"),
    _("How sure you are of an accepted microbleed; of a rejected one, what it is instead"),
    _("Your note"),
)
NUMBERS = (2, 3)
WIDEST = ("r0000", _("1: unlikely"), "0.00", "00.0", _("accepted"), _("Certainty"))
"""Widest text of each column, which sets its width; the last column takes the remaining space."""
ROW_MARGIN_PX = 3
VERDICTS = {
    Verdict.ACCEPTED: (_("accepted"), ("#1f6ca5", "#6cb8f0")),
    Verdict.REJECTED: (_("rejected"), ("#6b6b6b", "#b8b8b8")),
    Verdict.UNDECIDED: ("", None),
}
"""Text of a verdict and its color on a light and on a dark background, similar to those of the markings."""
DARK = 128
"""A background with a lightness below this, of 255, is dark."""
STAGES = {Stage.DETECTION: _("1"), Stage.DISCRIMINATION: _("2"), Stage.FINAL: _("final")}
REASONS = {
    "discrimination": _("unlikely"),
    "volume": _("size"),
    "ellipticity": _("long"),
    "skull_distance": _("skull"),
}
CERTAINTIES = {Certainty.DEFINITE: _("definite"), Certainty.POSSIBLE: _("possible")}
MIMICS = {
    Mimic.VESSEL: _("Vessel, end-on or branching"),
    Mimic.SULCUS: _("Sulcus or pial vessel"),
    Mimic.CALCIFICATION: _("Calcification"),
    Mimic.IRON: _("Iron in a nucleus (pallidal, dentate)"),
    Mimic.AIR_TISSUE: _("Signal loss beside air or bone"),
    Mimic.CAVERNOMA: _("Cavernoma"),
    Mimic.VENOUS_ANOMALY: _("Developmental venous anomaly"),
    Mimic.HEMORRHAGE: _("Rim of a hemorrhage or hemorrhagic infarct"),
    Mimic.SIDEROSIS: _("Superficial siderosis"),
    Mimic.PARTIAL_VOLUME: _("Partial volume"),
    Mimic.ARTIFACT: _("Artifact (ringing, flow, motion)"),
    Mimic.OTHER: _("Something else"),
}


def likelihood(candidate):
    """Sort key of candidates: their last probability. Readers' own points have none and come first."""
    known = [p for p in (candidate.p_discrimination, candidate.p_detection) if p is not None]
    return known[0] if known else 2.0


class CandidateTable:
    """Shows candidates and reports which one was chosen.

    Parameters
    ----------
    widget : QTableWidget
    onChosen : called with the id of the candidate whose row was chosen
    """

    def __init__(self, widget, onChosen):
        self._widget = widget
        self._onChosen = onChosen
        self._ids = []
        self._updating = False
        widget.setColumnCount(len(COLUMNS))
        widget.setHorizontalHeaderLabels(list(COLUMNS))
        for column, tip in enumerate(COLUMN_TIPS):
            widget.horizontalHeaderItem(column).setToolTip(tip)
        widget.verticalHeader().setVisible(False)
        header = widget.horizontalHeader()
        header.setHighlightSections(False)
        self._lineHeight = None
        self._fitColumns()
        header.setStretchLastSection(True)
        widget.connect("itemSelectionChanged()", self._onSelection)

    def _fitColumns(self):
        """Make the columns as wide as the widest text that they may have to show, in the current font."""
        lineHeight = qt.QFontMetrics(self._widget.font).height()
        if lineHeight == self._lineHeight:
            return
        self._lineHeight = lineHeight
        self._widget.setRowCount(1)
        for column, text in enumerate(WIDEST):
            self._widget.setItem(0, column, qt.QTableWidgetItem(text))
        self._widget.resizeColumnsToContents()
        self._widget.resizeRowToContents(0)
        self._widget.verticalHeader().setDefaultSectionSize(self._widget.rowHeight(0) + ROW_MARGIN_PX)
        self._widget.setRowCount(0)

    @property
    def order(self):
        """Ids of the candidates as they are listed."""
        return list(self._ids)

    @property
    def current(self):
        """Id of the chosen candidate, None without one."""
        row = self._widget.currentRow()
        return self._ids[row] if 0 <= row < len(self._ids) and self._widget.selectedItems() else None

    def show(self, candidates):
        """List these candidates; the chosen one stays chosen if it is one of them."""
        chosen = self.current
        listed = sorted(candidates, key=likelihood, reverse=True)
        self._updating = True
        try:
            self._fitColumns()
            self._ids = [item.id for item in listed]
            self._widget.setRowCount(len(listed))
            for row, item in enumerate(listed):
                self._fill(row, item)
            self._select(chosen)
        finally:
            self._updating = False

    def update(self, candidate):
        """Update the row of a listed candidate."""
        self._fill(self._ids.index(candidate.id), candidate)

    def choose(self, candidateId):
        """Choose a candidate's row and report it, even if it was chosen already; None chooses no row."""
        self._updating = True
        try:
            self._select(candidateId)
        finally:
            self._updating = False
        self._onChosen(self.current)

    def _select(self, candidateId):
        if candidateId in self._ids:
            self._widget.setCurrentCell(self._ids.index(candidateId), 0)
        else:
            self._widget.clearSelection()
            self._widget.setCurrentCell(-1, -1)

    def _fill(self, row, candidate):
        verdict, colors = VERDICTS[Verdict(candidate.verdict)]
        texts = (
            candidate.id.removeprefix("cmb-"),
            _stageText(candidate),
            "" if likelihood(candidate) > 1 else f"{likelihood(candidate):.2f}",
            "" if candidate.diameter_mm is None else f"{candidate.diameter_mm:.1f}",
            verdict,
            _detail(candidate),
            candidate.note or "",
        )
        tip = _tip(candidate)
        for column, text in enumerate(texts):
            item = self._widget.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                if column in NUMBERS:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self._widget.setItem(row, column, item)
            item.setText(text)
            item.setToolTip(tip)
        self._widget.item(row, 4).setForeground(qt.QBrush(self._readable(colors)) if colors else qt.QBrush())

    def _readable(self, colors):
        """Return the color that is readable on the table's background, which the user may change at any time."""
        background = self._widget.palette.color(qt.QPalette.Base)
        return qt.QColor(colors[background.lightness() < DARK])

    def _onSelection(self):
        if not self._updating:
            self._onChosen(self.current)


def _stageText(candidate):
    if candidate.origin == Origin.READER:
        return _("reader")
    stage = STAGES[candidate.stage]
    return stage if candidate.rejected_by is None else f"{stage}: {REASONS[candidate.rejected_by]}"


def _detail(candidate):
    if candidate.certainty:
        return CERTAINTIES[Certainty(candidate.certainty)]
    # tables from other programs may contain other values
    return MIMICS.get(candidate.mimic, candidate.mimic) or ""


def _tip(candidate):
    """Tool tip with the measures that have no column."""
    measures = (
        (_("p of stage 1"), candidate.p_detection, "{:.2f}"),
        (_("p of stage 2"), candidate.p_discrimination, "{:.2f}"),
        (_("volume"), candidate.volume_mm3, "{:.1f} mm\u00b3"),
        (_("ellipticity"), candidate.ellipticity, "{:.2f}"),
        (_("distance to the skull"), candidate.skull_distance_mm, "{:.1f} mm"),
        (_("moved by the reader"), moved_mm(candidate) or None, "{:.1f} mm"),
    )
    lines = [candidate.id, *(f"{name}: {form.format(value)}" for name, value, form in measures if value is not None)]
    return "\n".join(lines)
