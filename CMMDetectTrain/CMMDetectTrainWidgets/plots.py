"""Curves in Slicer's plot views."""

import numpy as np
import slicer

PLOT_LAYOUT = "SlicerLayoutConventionalPlotView"


class Plot:
    """A chart with curves; it keeps its data, so that closing the scene loses nothing.

    Parameters
    ----------
    name : name of the chart
    xTitle, yTitle : titles of its axes
    ranges : (lowest, highest) of the x and of the y axis; None shows all points
    """

    def __init__(self, name, xTitle, yTitle, ranges=None):
        self._name, self._titles, self._ranges = name, (xTitle, yTitle), ranges
        self._curves = {}
        self._nodes = {}
        self._chart = None
        self._layoutBefore = None
        self._awaited = False

    @property
    def chart(self):
        """The chart's node, None before anything was drawn."""
        return self._chart if _inScene(self._chart) else None

    def clear(self):
        """Remove all curves."""
        self._curves = {}
        for series, table in self._nodes.values():
            for node in (series, table):
                if _inScene(node):
                    slicer.mrmlScene.RemoveNode(node)
        self._nodes = {}

    def draw(self, name, xs, ys, color, dashed=False):
        """Set the points of a curve; nodes are added to the scene only when the chart is shown."""
        self._curves[name] = (list(xs), list(ys), color, dashed)
        if self.chart is not None:
            self._drawAll([name])

    def show(self, shown):
        """Show the chart in a layout with a plot view, or restore the earlier layout."""
        manager = slicer.app.layoutManager()
        self._awaited = shown and not self._curves
        if manager is None or self._awaited:
            return
        plots = getattr(slicer.vtkMRMLLayoutNode, PLOT_LAYOUT)
        if shown:
            self._drawAll(self._curves)
            if manager.layout != plots:
                self._layoutBefore = manager.layout
                manager.setLayout(plots)
            slicer.modules.plots.logic().ShowChartInLayout(self._chart)
        elif self._layoutBefore is not None:
            before, self._layoutBefore = self._layoutBefore, None
            # a layout that the user has chosen meanwhile is kept
            if manager.layout == plots:
                manager.setLayout(before)

    def follow(self):
        """Show curves that were drawn after `show`; a chart that is shown already is not raised again."""
        if self._curves and (self._awaited or self.chart is None):
            self.show(True)

    def _drawAll(self, names):
        if self.chart is None:
            self._nodes = {}
            self._chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", self._name)
            self._chart.SetXAxisTitle(self._titles[0])
            self._chart.SetYAxisTitle(self._titles[1])
            if self._ranges is not None:
                self._chart.SetXAxisRangeAuto(False)
                self._chart.SetYAxisRangeAuto(False)
                self._chart.SetXAxisRange(*self._ranges[0])
                self._chart.SetYAxisRange(*self._ranges[1])
            names = self._curves
        for name in names:
            self._drawOne(name)

    def _drawOne(self, name):
        xs, ys, color, dashed = self._curves[name]
        series, table = self._nodes.get(name, (None, None))
        if not _inScene(series) or not _inScene(table):
            table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{self._name}, {name}")
            series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
            self._nodes[name] = (series, table)
        # a line needs two points, so a single one is repeated
        points = np.column_stack([xs, ys]).astype(float)[[0, 0] if len(xs) == 1 else slice(None)]
        # a view that draws while the table has no columns would log errors
        with slicer.util.NodeModify(table), slicer.util.NodeModify(series):
            slicer.util.updateTableFromArray(table, points, ["x", "y"])
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName("x")
            series.SetYColumnName("y")
            series.SetPlotType(series.PlotTypeScatter)
            series.SetColor(*color)
            series.SetLineStyle(series.LineStyleDash if dashed else series.LineStyleSolid)
            # a line of one point would be invisible
            series.SetMarkerStyle(series.MarkerStyleCircle if len(xs) == 1 else series.MarkerStyleNone)
        if not self._chart.HasPlotSeriesNodeID(series.GetID()):
            self._chart.AddAndObservePlotSeriesNodeID(series.GetID())


def _inScene(node):
    return node is not None and slicer.mrmlScene.IsNodePresent(node)
