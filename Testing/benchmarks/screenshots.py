"""Draw the panel beside real slice views.

    python Testing/benchmarks/screenshots.py [FOLDER]

The panel runs in the test host; the slice views are drawn by Slicer's own displayable managers.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "CMMDetect")]

import numpy as np  # noqa: E402 - the paths come first

import slicer_host  # noqa: E402 - the same

slicer_host.start()

import qt  # noqa: E402 - the host has to be running
import slicer  # noqa: E402 - the same

SAMPLE = ROOT / "CMMDetect" / "Resources" / "SampleData" / "CMMDetectSample_swi.nii.gz"
PANEL_PX = (440, 1040)
VIEW_PX = 690
GAP_PX = 6
MICROBLEED_MM = (2.5, 8.0)
"""The reader of the picture takes what is as large as a microbleed for one."""
SAME_SLICE_MM = 2.0
QUALITY = 85
BACKGROUND = "#33363b"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "Resources", help="default: Resources")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    slicer.util.loadVolume(str(SAMPLE))
    panel = slicer_host.load_module(ROOT / "CMMDetect" / "CMMDetect.py")
    slicer.util.mainWindow().show()
    with tempfile.TemporaryDirectory() as results:
        panel.parameters().resultsFolder = results
        panel.ui.readerLineEdit.setText("AB")
        panel.ui.applyButton.click()
        slicer_host.wait_until(lambda: not panel.run.running, 120)
        draw_review(panel, folder)
        draw_stages(panel, folder)
    slicer_host.unload_module(panel)


def draw_review(panel, folder: Path) -> None:
    """A reader in the middle of the list."""
    session = panel.keeper.session
    for name in panel.review.listed[:5]:
        panel.review.choose(name)
        small = MICROBLEED_MM[0] <= session[name].diameter_mm <= MICROBLEED_MM[1]
        (panel.review.accept if small else panel.review.reject)()
    panel.review.choose(session.accepted[0].id)
    panel.ui.noteLineEdit.setText("also on phase")
    panel.ui.noteLineEdit.editingFinished.emit()
    panel.ui.certaintyComboBox.setCurrentIndex(1)
    panel.ui.certaintyComboBox.activated.emit(1)
    panel.ui.inputsCollapsibleButton.collapsed = True
    panel.ui.keysButton.setChecked(True)
    save(compose(panel), folder / "review.jpg")


def draw_stages(panel, folder: Path) -> None:
    """Candidates of stages 1 and 3 in the whole brain, in the slices through the one with most others beside it."""
    panel.ui.keysButton.setChecked(False)
    panel.ui.inputsCollapsibleButton.collapsed = False
    panel.ui.detectionCheckBox.setChecked(True)
    place = amid(panel)
    for name in slicer.app.layoutManager().sliceViewNames():
        widget = slicer.app.layoutManager().sliceWidget(name)
        widget.fitSliceToBackground()
        widget.view.node.JumpSliceByOffsetting(*place)
    save(compose(panel), folder / "stages.jpg")


def amid(panel) -> tuple[float, float, float]:
    """Position of the candidate that shares its axial slice with most others."""
    session = panel.keeper.session
    places = np.array([(item.x, item.y, item.z) for item in map(session.__getitem__, panel.review.listed)])
    together = np.abs(places[:, None, 2] - places[:, 2]) < SAME_SLICE_MM
    return tuple(places[together.sum(axis=1).argmax()])


def compose(panel) -> qt.QImage:
    """The panel, the axial view, and the others below it."""
    widget = panel.parent
    widget.show()
    widget.resize(*PANEL_PX)
    slicer_host.wait_until(lambda: True)
    half = (VIEW_PX - GAP_PX) // 2
    image = qt.QImage(widget.width + GAP_PX + VIEW_PX, widget.height, qt.QImage.Format_RGB32)
    image.fill(qt.QColor(BACKGROUND))
    painter = qt.QPainter(image)
    # the folder of this run is nobody's business
    panel.ui.resultsFolderPathLineEdit.blockSignals(True)
    panel.ui.resultsFolderPathLineEdit.currentPath = "Documents/CMMDetect"
    panel.ui.resultsFolderPathLineEdit.blockSignals(False)
    painter.drawPixmap(0, 0, widget.grab())
    left, below = widget.width + GAP_PX, VIEW_PX + GAP_PX
    places = {"Red": (left, 0, VIEW_PX), "Yellow": (left, below, half), "Green": (left + half + GAP_PX, below, half)}
    for name, (x, y, size) in places.items():
        painter.drawImage(x, y, view_picture(name, size))
    painter.end()
    return image


def view_picture(name: str, size: int) -> qt.QImage:
    view = slicer.app.layoutManager().sliceWidget(name).view
    width = min(view.node.GetFieldOfView()[:2])
    view.resize(size, size)
    view.zoom_to(width)
    pixels = np.ascontiguousarray(view.picture()[..., :3])
    rows, columns, _ = pixels.shape
    return qt.QImage(pixels.tobytes(), columns, rows, 3 * columns, qt.QImage.Format_RGB888).copy()


def save(image: qt.QImage, path: Path) -> None:
    assert image.save(str(path), "JPG", QUALITY), path
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
