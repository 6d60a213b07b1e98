"""Observers that do not keep their owner alive."""

import weakref
from collections.abc import Callable

import vtk
from shiboken6 import Shiboken

_kept: list[Callable] = []
"""VTK tells Python's garbage collector of an observer but not that C++ holds the observed object. A function that
only such an object holds would be emptied while it can still be called, so each one stays here."""


def observe(caller: vtk.vtkObject, event: int | str, method: Callable) -> int:
    """Call a bound method with caller and event as long as its object, and the widget in it, live; returns the tag."""
    weak = weakref.WeakMethod(method)

    def on_event(caller, event):
        living = weak()
        if living is not None and Shiboken.isValid(living.__self__):
            living(caller, event)

    _kept.append(on_event)
    return caller.AddObserver(event, on_event)
