"""The Models section: whether a new model is better, and which one CMMDetect uses."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError
from CMMDetectTrainLib.machine import readable
from CMMDetectTrainLib.training_job import read_comparison

from .plots import Plot
from .simple_table import SimpleTable

COLUMNS = (_("Model"), _("Created"), _("Size"), _("Trained on"))
TIPS = (
    _("Name of the model; the one in bold is what CMMDetect uses"),
    _("Date of its creation"),
    _("Size on disk, including working files of its training"),
    _("What it was trained on"),
)
METRICS = {
    "tpr": _("Found (TPR)"),
    "fp_avg": _("False per scan (FPavg)"),
    "precision": _("Precision"),
    "f1": _("F1"),
}
OLD_COLOR, NEW_COLOR = (0.5, 0.5, 0.5), (0.17, 0.42, 0.72)
FROC_RANGES = ((0, 10), (0, 1))
"""Ranges of the axes; curves reach a hundred false positives per scan, where no threshold is chosen."""


class ModelsSection:
    """Lists models, and compares, chooses, exports and imports them.

    Parameters
    ----------
    ui : the panel's widgets
    shelf : returns the `BundleShelf`
    onChanged : called when models were added, removed or chosen
    """

    def __init__(self, ui, shelf, onChanged):
        self._ui = ui
        self._shelf = shelf
        self._onChanged = onChanged
        self._bundles = []
        self._table = SimpleTable(ui.modelTable, COLUMNS, TIPS, self._onModel)
        self._comparison = SimpleTable(ui.comparisonTable, ("", _("Before"), _("New"), _("Difference")))
        axes = (_("false positives per scan"), _("share of microbleeds found"))
        self._froc = Plot(_("FROC curves"), *axes, ranges=FROC_RANGES)
        for name, handler in (
            ("useButton", self._onUse),
            ("useShippedButton", self._onUseShipped),
            ("reportButton", self._onReport),
            ("removeModelButton", self._onRemove),
            ("importButton", self._onImport),
            ("exportModelButton", self._onExport),
        ):
            getattr(ui, name).connect("clicked(bool)", handler)
        ui.frocButton.connect("toggled(bool)", self._froc.show)

    def refresh(self, chosen=None):
        """Read the list of models again.

        Parameters
        ----------
        chosen : folder of the model to choose
        """
        self._bundles = self._shelf().bundles()
        bold = {row for row, bundle in enumerate(self._bundles) if bundle.in_use}
        self._table.fill([_row(bundle) for bundle in self._bundles], bold)
        folders = [bundle.folder for bundle in self._bundles]
        if chosen in folders:
            self._table.choose(folders.index(chosen))
        else:
            self._onModel()

    def _model(self):
        return None if self._table.row is None else self._bundles[self._table.row]

    def _onModel(self):
        ui, model = self._ui, self._model()
        usable = model is not None and model.problem is None
        ui.useButton.setEnabled(usable and not model.in_use)
        ui.useShippedButton.setEnabled(self._shelf().in_use is not None)
        ui.exportModelButton.setEnabled(usable)
        ui.removeModelButton.setEnabled(model is not None)
        ui.reportButton.setEnabled(model is not None and _reportOf(model).is_file())
        self._compare(read_comparison(model.folder) if usable else None, model)

    def _compare(self, found, model):
        ui = self._ui
        ui.comparisonTable.setVisible(found is not None)
        ui.frocButton.setEnabled(found is not None)
        if found is None:
            ui.frocButton.setChecked(False)
            ui.sentenceLabel.setText(_withoutComparison(model))
            return
        ui.sentenceLabel.setText(found["sentence"])
        ui.comparisonTable.setHorizontalHeaderLabels(("", found["old_name"], found["new_name"], _("Difference")))
        self._comparison.fill(
            [_compared(name, found["metrics"][name]) for name in METRICS if name in found["metrics"]]
        )
        self._froc.clear()
        for which, color in (("old", OLD_COLOR), ("new", NEW_COLOR)):
            curve = found["froc"][which]
            if curve["tpr"]:
                self._froc.draw(found[f"{which}_name"], curve["fp_avg"], curve["tpr"], color, which == "old")
        if ui.frocButton.checked:
            self._froc.follow()

    # ------------------------------------------------------------------ buttons

    def _onUse(self, _checked=False):
        name = self._model().name
        self._do(lambda: self._shelf().choose(name), _("CMMDetect now uses {name}.").format(name=name))

    def _onUseShipped(self, _checked=False):
        self._do(lambda: self._shelf().choose(None), _("CMMDetect now uses the model that it comes with."))

    def _onReport(self, _checked=False):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(_reportOf(self._model()))))

    def _onRemove(self, _checked=False):
        name = self._model().name
        if slicer.util.confirmOkCancelDisplay(_("Delete the model {name}?").format(name=name)):
            self._do(lambda: self._shelf().remove(name), _("{name} was deleted.").format(name=name))

    def _onImport(self, _checked=False):
        source = self._pathIn(self._ui.importPathLineEdit)
        if source is not None:
            self._do(lambda: self._shelf().add(source), _("{file} was imported.").format(file=source.name))

    def _onExport(self, _checked=False):
        name, target = self._model().name, self._pathIn(self._ui.exportPathLineEdit)
        if target is not None:
            done = _("{name} was exported to {file}.").format(name=name, file=target)
            self._do(lambda: self._shelf().export(name, target), done)

    def _pathIn(self, field):
        """Return the path in a field; if it is empty, show a message and return None."""
        path = field.currentPath.strip()
        if not path:
            self._ui.modelMessageLabel.setText(_("Choose a file or a folder for the model first."))
        return Path(path) if path else None

    def _do(self, change, done):
        """Change the shelf, show a message, and update the list."""
        try:
            new = change()
        except CMMDetectError as error:
            self._ui.modelMessageLabel.setText(str(error))
            return
        self._ui.modelMessageLabel.setText(done)
        self.refresh(new if isinstance(new, Path) else None)
        self._onChanged()


def _row(bundle):
    described = bundle.description
    if described is None:
        return bundle.name, "", readable(bundle.size_bytes), bundle.problem
    return bundle.name, described.created, readable(bundle.size_bytes), described.trained_on


def _reportOf(bundle):
    return bundle.folder / "validation" / "report.html"


def _withoutComparison(model):
    if model is None:
        return _("Choose a model to see how good it is.")
    return model.problem or _("This model was not compared with another one on subjects that were held back.")


def _compared(name, metric):
    return METRICS[name], *(_estimate(metric[part], part == "difference") for part in ("old", "new", "difference"))


def _estimate(found, signed):
    """Format a number with its interval.

    >>> _estimate({"value": 0.25, "low": -0.1, "high": 0.5}, True)
    '+0.25 (-0.10 to +0.50)'
    """
    form = "+.2f" if signed else ".2f"
    if found["value"] is None:
        return "-"
    value = format(found["value"], form)
    if found["low"] is None:
        return value
    return f"{value} ({format(found['low'], form)} to {format(found['high'], form)})"
