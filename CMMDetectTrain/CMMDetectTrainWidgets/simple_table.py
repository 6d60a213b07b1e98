"""A table of texts with selectable rows."""

import qt


class SimpleTable:
    """Fills a QTableWidget and reports which row is chosen.

    Parameters
    ----------
    widget : QTableWidget
    columns : headings
    tips : tool tip of each heading
    onChosen : called when another row is chosen, by the user or by `choose`
    """

    def __init__(self, widget, columns, tips=(), onChosen=None):
        self._widget = widget
        self._onChosen = onChosen
        self._names = []
        self._updating = False
        widget.setColumnCount(len(columns))
        widget.setHorizontalHeaderLabels(columns)
        for column, tip in enumerate(tips):
            widget.horizontalHeaderItem(column).setToolTip(tip)
        widget.verticalHeader().setVisible(False)
        widget.verticalHeader().setDefaultSectionSize(qt.QFontMetrics(widget.font).height() + 8)
        widget.horizontalHeader().setHighlightSections(False)
        widget.horizontalHeader().setStretchLastSection(True)
        widget.connect("itemSelectionChanged()", self._onSelection)

    @property
    def row(self):
        """Number of the chosen row, None without one."""
        row = self._widget.currentRow()
        return row if 0 <= row < self._widget.rowCount and self._widget.selectedItems() else None

    def choose(self, row):
        """Choose a row; None chooses none."""
        self._updating = True
        try:
            self._widget.clearSelection()
            if row is not None:
                self._widget.setCurrentCell(row, 0)
        finally:
            self._updating = False
        self._tell()

    def fill(self, rows, bold=()):
        """Show rows of texts; the row named like the chosen one by its first text stays chosen, without a report.

        Parameters
        ----------
        bold : numbers of rows in bold
        """
        chosen = self._rowNow([texts[0] for texts in rows])
        self._updating = True
        try:
            self._widget.setRowCount(len(rows))
            for row, texts in enumerate(rows):
                for column, text in enumerate(texts):
                    self._widget.setItem(row, column, _item(text, row in bold))
            for column in range(self._widget.columnCount - 1):
                self._widget.resizeColumnToContents(column)
            self._widget.clearSelection()
            if chosen is not None:
                self._widget.setCurrentCell(chosen, 0)
        finally:
            self._updating = False

    def _rowNow(self, names):
        """Store the names of new rows; return the new number of the chosen row, None if it is gone."""
        row, before, self._names = self.row, self._names, names
        if row is None or before[row] not in names:
            return None
        # points may have the same name
        return row if names[row : row + 1] == [before[row]] else names.index(before[row])

    def _onSelection(self):
        if not self._updating:
            self._tell()

    def _tell(self):
        if self._onChosen is not None:
            self._onChosen()


def _item(text, bold):
    item = qt.QTableWidgetItem(text)
    item.setToolTip(text)
    if bold:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    return item
