"""A small host in which the real panels run on a real MRML scene, without the Slicer application.

`slicer_host.boot.boot` gives the scene alone (slicer-core), `start` adds Qt (PySide6), `load_module` opens a module.
"""

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

_IN_HOST = ("Host", "load_module", "start", "unload_module", "wait_until")


def __getattr__(name: str):
    """Import Qt only when a panel is wanted: the scene alone works without PySide6."""
    if name not in _IN_HOST:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from . import host

    return getattr(host, name)
