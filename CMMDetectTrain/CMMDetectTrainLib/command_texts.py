"""Help texts that several commands share."""

from __future__ import annotations

STARTED_AGAIN = "interrupted; the same command goes on where it stopped"
"""What a command says that needs no --resume."""
DATASET = """\
data set:
  A folder with scans and, on the voxels of each, its label map:
  <scan>.nii.gz and <scan>_microbleeds.nii.gz, in folders of any depth.
  In a label map every microbleed has a number of its own, or all have the
  same; that of a scan without microbleeds is 0 everywhere. Scans without a
  label map are left out, and so are cases that CMMDetectTrain has to check.
  Names end in _swi, _T2starw or _Chimap, unless --modality says what they are.
  Scans that begin with the same sub-01_ are of one subject.
"""
BRAIN_MASKS = "use the data set's, <scan>_brain.nii.gz or sub-01_brain.nii.gz, where it has them"
POINTS = """\
coordinates:
  .csv, .tsv      a header with x, y, z (RAS mm) or i, j, k (voxel indices from
                  0, as in nibabel and FSLeyes; MATLAB and ITK-SNAP count from 1).
                  A column name, label or id names the points. In a table of many
                  scans a column scan, file, subject or participant_id says whose
                  a row is; one without x, y, z is of a scan without microbleeds
  .mrk.json       point list of 3D Slicer
  .fcsv           older point list of 3D Slicer
  .mat            variable cen: N x 3 voxel indices from 1
  *_reviewed.tsv, *_candidates.tsv
                  candidates of CMMDetect, of which the accepted ones are taken
  .nii.gz, ...    a mask on the scan's voxels: every connected piece is a point

  A file without points gives an empty label map. Training and evaluation look
  for label maps named <scan>_microbleeds.nii.gz.
"""
