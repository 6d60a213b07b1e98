"""Pictures for documentation: a panel beside the three slice views, arranged as in Slicer's window."""

from pathlib import Path

import numpy as np
import slicer
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QWidget

from .host import wait_until

BAR_PX = 6
VIEWS = {  # column, row and side in thirds of the picture's height, color of the bar
    "Red": (0, 0, 2, "#f34a33"),
    "Yellow": (0, 2, 1, "#edd54c"),
    "Green": (1, 2, 1, "#6eb04b"),
}


def save_screenshot(
    panel, path: Path, width_mm: float | None = None, panel_px: int = 520, height_px: int | None = None
) -> None:
    """Write one picture of a panel and the slice views.

    Parameters
    ----------
    panel
        What `load_module` gave.
    path
        A .png or .jpg file.
    width_mm
        Field of view of the axial view; the others show the same scale. None keeps the views as they are.
    panel_px
        Width of the panel.
    height_px
        Height of the picture; None takes what the whole panel needs.
    """
    left_part = _panel_image(panel.parent, panel_px, height_px)
    third_px = left_part.height() // 3
    picture = QImage(panel_px + 2 * third_px, 3 * third_px, QImage.Format_RGB32)
    picture.fill(Qt.black)
    painter = QPainter(picture)
    painter.drawImage(0, 0, left_part)
    for name, (column, row, side, color) in VIEWS.items():
        left, top, side_px = panel_px + column * third_px, row * third_px, side * third_px
        painter.drawImage(left, top, _view_image(name, side_px, width_mm and width_mm * side / 2))
        painter.fillRect(left, top, side_px, BAR_PX, QColor(color))
    painter.end()
    if not picture.save(str(path)):
        raise OSError(f"cannot write {path}")


def _panel_image(panel: QWidget, width_px: int, height_px: int | None) -> QImage:
    """Grab what a window of this size shows of the panel."""
    window = slicer.util.mainWindow()
    window.resize(width_px, height_px or panel.sizeHint().height())
    wait_until(lambda: True)
    return window.centralWidget().grab().toImage()


def _view_image(name: str, side_px: int, width_mm: float | None) -> QImage:
    view = slicer.app.layoutManager().sliceWidget(name).view
    view.resize(side_px, side_px)
    if width_mm is not None:
        view.zoom_to(width_mm)
    pixels = np.ascontiguousarray(view.picture()[:, :, :3])
    return QImage(pixels.data, side_px, side_px, 3 * side_px, QImage.Format_RGB888).copy()
