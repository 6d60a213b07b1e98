"""Descriptions of a scan's regions for the panel, as grown or as corrected by hand."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from slicer.i18n import tr as _

from CMMDetectLib.candidates import sphere_diameter
from CMMDetectLib.region_growing import GrowthFlag
from CMMDetectLib.scan import to_world

COLUMNS = (_("Point"), _("Diameter"), _("Volume"), _("Moved"), _("Check"))
TIPS = (
    _("Name of the point"),
    _("Diameter of the sphere with the region's volume"),
    _("Volume of the region"),
    _("How far the darkest (QSM: brightest) place of the lesion is from the point"),
    _("What to look at before the case is saved"),
)
WARNINGS = {
    GrowthFlag.VESSEL: _("followed a vessel and was cut back"),
    GrowthFlag.CAPPED: _("reaches the largest radius, may be larger"),
}


@dataclass(frozen=True)
class Regions:
    """Description of the regions of a scan.

    Attributes
    ----------
    rows : texts of the table, in the order of `COLUMNS`
    positions_mm : position of the region of each row, RAS mm; None for an empty one
    message : message about all of them for the user
    note : note about them for the list of cases
    """

    rows: tuple
    positions_mm: tuple
    message: str
    note: str

    @property
    def count(self):
        """Number of regions that have voxels."""
        return sum(position is not None for position in self.positions_mm)


def grownRegions(annotations):
    """Describe regions that were grown at points."""
    rows, flagged = [], []
    for point, lesion in zip(annotations.points, annotations.lesions, strict=True):
        moved = float(np.linalg.norm(np.subtract(point.position_mm, lesion.position_mm)))
        warnings = [WARNINGS[flag] for flag in lesion.flags if flag in WARNINGS]
        sizes = _sizes(lesion.volume_mm3)
        rows.append((point.name, *sizes, _("{size} mm").format(size=f"{moved:.1f}"), ", ".join(warnings)))
        if lesion.flags:
            flagged.append(f"{point.name}: {', '.join(lesion.flags)}")
    positions = tuple(lesion.position_mm for lesion in annotations.lesions)
    return Regions(tuple(rows), positions, "\n".join(annotations.problems), "; ".join(flagged))


def correctedRegions(labels, names, scan, opened=False):
    """Describe regions that the user has drawn or changed, or opened to do so.

    Parameters
    ----------
    labels : (I, J, K) on the voxels of the scan, numbered from 1
    names : names of the labels from 1
    scan : the `Scan`
    opened : whether they are as they were in the data set
    """
    rows, positions = [], []
    boxes = ndimage.find_objects(labels, max_label=len(names)) if names else []
    for number, (name, box) in enumerate(zip(names, boxes, strict=True), 1):
        if box is None:
            rows.append((name, "", "", "", _("is empty and is not saved")))
            positions.append(None)
            continue
        voxels = np.argwhere(labels[box] == number) + [part.start for part in box]
        rows.append((name, *_sizes(len(voxels) * float(np.prod(scan.spacing_mm))), "", ""))
        positions.append(tuple(to_world(scan.affine, voxels.mean(axis=0)).tolist()))
    if opened:
        message = _("These are the labels in the data set. Correct them, and save the case again.")
        return Regions(tuple(rows), tuple(positions), message, "")
    message = _("These regions were corrected by hand and are kept. Grow again makes new ones at the points.")
    return Regions(tuple(rows), tuple(positions), message, "corrected by hand")


def _sizes(volume_mm3):
    """Format diameter and volume for the table."""
    diameter = _("{size} mm").format(size=f"{sphere_diameter(volume_mm3):.1f}")
    return diameter, _("{size} mm³").format(size=f"{volume_mm3:.0f}")
