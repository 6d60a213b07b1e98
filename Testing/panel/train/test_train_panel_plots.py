"""Curves in the plot view, and the layout that shows it."""

import json

import pytest
import slicer
import vtk
from train_steps import click

from CMMDetectTrainWidgets.plots import Plot
from training_sets import known_bundle

LAYOUTS = slicer.vtkMRMLLayoutNode
PLOTS = LAYOUTS.SlicerLayoutConventionalPlotView
RED = (1.0, 0.0, 0.0)
METRIC = {part: {"value": 0.5, "low": None, "high": None} for part in ("old", "new", "difference")}
COMPARISON = {
    "sentence": "It is better.",
    "old_name": "before",
    "new_name": "compared",
    "metrics": {"tpr": METRIC},
    "froc": {which: {"fp_avg": [0, 1], "tpr": [0.5, 1]} for which in ("old", "new")},
}


@pytest.fixture
def layout(panel):
    """The layout manager, with four views."""
    manager = slicer.app.layoutManager()
    manager.setLayout(LAYOUTS.SlicerLayoutFourUpView)
    return manager


@pytest.fixture
def plot(layout):
    """A plot without curves."""
    return Plot("Loss", "epoch", "loss")


def test_a_layout_that_was_chosen_while_curves_are_shown_stays_at_the_next_epoch(plot, layout):
    plot.draw("stage 1", [1], [0.5], RED)
    plot.show(True)
    assert layout.layout == PLOTS
    layout.setLayout(LAYOUTS.SlicerLayoutOneUpRedSliceView)
    plot.draw("stage 1", [1, 2], [0.5, 0.4], RED)
    plot.follow()
    assert layout.layout == LAYOUTS.SlicerLayoutOneUpRedSliceView
    plot.show(False)
    assert layout.layout == LAYOUTS.SlicerLayoutOneUpRedSliceView


def test_curves_that_are_asked_for_before_the_first_epoch_are_shown_with_it(plot, layout):
    plot.show(True)
    assert layout.layout == LAYOUTS.SlicerLayoutFourUpView
    plot.draw("stage 1", [1], [0.5], RED)
    plot.follow()
    assert layout.layout == PLOTS
    plot.show(False)
    assert layout.layout == LAYOUTS.SlicerLayoutFourUpView


def test_no_view_sees_a_curve_without_its_columns(plot):
    plot.draw("stage 1", [1, 2], [0.5, 0.4], RED)
    plot.show(True)
    seen = []
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    tag = table.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(table.GetNumberOfColumns()))
    plot.draw("stage 1", [1, 2, 3], [0.5, 0.4, 0.3], RED)
    table.RemoveObserver(tag)
    assert seen and set(seen) == {2}


def test_the_first_epoch_is_a_point_that_a_view_can_draw(plot):
    plot.draw("stage 1", [1], [0.5], RED)
    plot.show(True)
    (series,) = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    # of a line with fewer than two points a view complains
    assert series.GetTableNode().GetNumberOfRows() == 2
    assert series.GetMarkerStyle() == series.MarkerStyleCircle


def test_a_model_without_curves_brings_the_layout_of_before_back(panel, layout, folders):
    known_bundle(folders.models / "compared")
    known_bundle(folders.models / "other")
    (folders.models / "compared" / "comparison.json").write_text(json.dumps(COMPARISON), encoding="utf-8")
    panel.models.refresh(folders.models / "compared")
    click(panel.ui.frocButton)
    assert layout.layout == PLOTS
    panel.models.refresh(folders.models / "other")
    assert layout.layout == LAYOUTS.SlicerLayoutFourUpView
    assert not panel.ui.frocButton.checked and not panel.ui.frocButton.isEnabled()
