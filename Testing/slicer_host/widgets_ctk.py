"""Stand-ins for the ctk widgets that the panels use: plain, with the properties and signals of the real ones."""

import re
import sys
from pathlib import Path
from types import ModuleType

from PySide6.QtCore import Property, QRect, QRegularExpression, Qt, Signal
from PySide6.QtGui import QPainter, QRegularExpressionValidator
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

from .stand_in import delegated, publish, stored

ctk = ModuleType("ctk", __doc__)
sys.modules["ctk"] = ctk

HEADER_PX = 24
INDICATOR_PX = 22


@publish(ctk)
class ctkCollapsibleButton(QAbstractButton):
    """A header that shows and hides what stands below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        super().__init__(*[each for each in arguments if isinstance(each, QWidget)])
        self.text = next((each for each in arguments if isinstance(each, str)), "")
        self.checkable = True
        self.checked = True
        self.setContentsMargins(0, HEADER_PX, 0, 0)
        # the width that the contents would like is the least, and not only their least
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._show_contents)

    collapsed = Property(bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value))
    collapsedHeight = stored(int, 0)
    flat = stored(bool, False)
    contentsLineWidth = stored(int, 1)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def hitButton(self, position) -> bool:
        return position.y() <= HEADER_PX

    def showEvent(self, event) -> None:
        super().showEvent(event)
        self._show_contents(self.checked, tell=False)

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        header = QStyleOptionButton()
        header.initFrom(self)
        header.rect = QRect(0, 0, self.width, HEADER_PX)
        self.style().drawControl(QStyle.CE_PushButtonBevel, header, painter, self)
        header.rect = QRect(6, 6, 12, 12)
        arrow = QStyle.PE_IndicatorArrowDown if self.checked else QStyle.PE_IndicatorArrowRight
        self.style().drawPrimitive(arrow, header, painter, self)
        painter.drawText(QRect(INDICATOR_PX, 0, self.width, HEADER_PX), Qt.AlignLeft | Qt.AlignVCenter, self.text)

    def _show_contents(self, shown: bool, tell: bool = True) -> None:
        for child in self.children():
            if child.isWidgetType():
                child.setVisible(shown)
        self.setMaximumHeight(16777215 if shown else HEADER_PX)
        if tell:
            self.contentsCollapsed.emit(not shown)


@publish(ctk)
class ctkSliderWidget(QWidget):
    """A slider beside a spin box; the spin box owns the value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._spin, self._slider = QDoubleSpinBox(), QSlider(Qt.Horizontal)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._on_spin)
        self._slider.valueChanged.connect(self._on_slider)
        self._spin.setMaximum(100)
        self._spin.setDecimals(0)
        self._fit_slider()

    value = delegated(float, "_spin", "value")
    prefix = delegated(str, "_spin", "prefix")
    suffix = delegated(str, "_spin", "suffix")
    pageStep = stored(float, 10.0)
    tracking = stored(bool, True)
    spinBoxVisible = delegated(bool, "_spin", "visible")

    def _adjust(self, name: str, value: float) -> None:
        setattr(self._spin, name, value)
        self._fit_slider()

    minimum = Property(float, lambda self: self._spin.minimum, lambda self, value: self._adjust("minimum", value))
    maximum = Property(float, lambda self: self._spin.maximum, lambda self, value: self._adjust("maximum", value))
    singleStep = Property(float, lambda self: self._spin.singleStep, lambda self, v: self._adjust("singleStep", v))
    decimals = Property(int, lambda self: self._spin.decimals, lambda self, value: self._adjust("decimals", value))

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin.setRange(minimum, maximum)
        self._fit_slider()

    def _fit_slider(self) -> None:
        was = self._slider.blockSignals(True)
        self._slider.setRange(0, max(1, round((self.maximum - self.minimum) / self.singleStep)))
        self._slider.setValue(round((self.value - self.minimum) / self.singleStep))
        self._slider.blockSignals(was)

    def _on_spin(self, value: float) -> None:
        self._fit_slider()
        self.valueChanged.emit(value)

    def _on_slider(self, step: int) -> None:
        self._spin.setValue(self.minimum + step * self.singleStep)
        self.valueIsChanging.emit(self.value)


@publish(ctk)
class ctkPathLineEdit(QWidget):
    """A line for a path; `filters` says whether files or folders are meant.

    As in ctk, every key tells a new path, and a text that cannot be one (none, or another suffix) is not told.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *arguments):
        super().__init__(*[each for each in arguments if isinstance(each, QWidget)])
        self._box, self._button = QComboBox(), QToolButton()
        self._box.setEditable(True)
        self._box.setInsertPolicy(QComboBox.NoInsert)
        self._box.setCompleter(None)
        self._button.setText("…")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._box, 1)
        layout.addWidget(self._button)
        self._was_valid = False
        self._accept_suffixes()
        self._line.textChanged.connect(self._on_text)

    currentPath = delegated(str, "_line", "text")
    _line = property(lambda self: self._box.lineEdit())
    filters = stored("QVariant", [])
    nameFilters = stored("QStringList", [], "_accept_suffixes")
    settingKey = stored(str, "")
    label = stored(str, "")
    showHistoryButton = stored(bool, True)
    showBrowseButton = delegated(bool, "_button", "visible")

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        pass

    def _accept_suffixes(self) -> None:
        suffixes = re.findall(r"\*\.(\w+)", " ".join(self.nameFilters))
        pattern = "|".join(rf".*\.{suffix}" for suffix in suffixes) or ".+"
        self._line.setValidator(QRegularExpressionValidator(QRegularExpression(pattern), self))

    def _on_text(self, text: str) -> None:
        valid = self._line.hasAcceptableInput()
        if valid:
            self.currentPathChanged.emit(text)
        if valid != self._was_valid:
            self._was_valid = valid
            self.validInputChanged.emit(valid)


@publish(ctk)
class ctkDirectoryButton(QPushButton):
    """A button that shows the folder it has chosen."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments):
        super().__init__(*[each for each in arguments if isinstance(each, QWidget)])
        self._directory = str(Path())
        self.clicked.connect(self.browse)

    caption = stored(str, "")
    displayAbsolutePath = stored(bool, True)
    directory = Property(str, lambda self: self._directory, lambda self, value: self.setDirectory(value))

    def setDirectory(self, directory: str) -> None:
        chosen = str(Path(directory).absolute())
        if chosen != self._directory:
            self._directory = chosen
            self.setText(chosen)
            self.directoryChanged.emit(chosen)

    def browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if chosen:
            self.setDirectory(chosen)
            self.directorySelected.emit(chosen)


@publish(ctk)
class ctkCheckBox(QCheckBox):
    pass
