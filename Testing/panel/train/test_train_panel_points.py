"""Where the points of a scan come from: lists in the scene, files and reviews."""

import slicer
from train_steps import add_points, choose, rows_of, wait_for_regions


def test_points_that_are_deleted_are_not_replaced_by_those_of_another_list(panel, marked):
    others = add_points(marked.positions[:1], "reader B")
    for chosen in (add_points(marked.positions, "reader C"), others):
        choose(panel, marked.volume, chosen)
        slicer.mrmlScene.RemoveNode(chosen)
        wait_for_regions(panel)
        assert panel.ui.pointsSelector.currentNode() is None and panel.parameters().points is None
        assert not rows_of(panel.ui.lesionTable)
