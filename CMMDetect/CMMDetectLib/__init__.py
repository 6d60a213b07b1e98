"""CMMDetect: detection and review of cerebral microbleeds on SWI, T2*-GRE and QSM.

The package is pure Python over numpy, scipy and SimpleITK; torch is imported only where a network runs.
Arrays are indexed (i, j, k) with a 4x4 affine to RAS millimetres; names ending in ``_mm`` are lengths in
millimetres, names ending in ``_vox`` in voxels.
"""

__version__ = "0.1.0"
