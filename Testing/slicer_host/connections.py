"""PythonQt's way to connect: `widget.connect("clicked(bool)", handler)`.

A signal that does not exist is an error; PythonQt only prints a line. The signature decides which arguments arrive.
"""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import SIGNAL, QMetaMethod, QMetaObject, QObject

ONLY_IN_QT6 = {"checkStateChanged"}


def understand_text(cls: type[QObject]) -> None:
    """Make `connect` and `disconnect` of a class take signatures as text.

    PySide6 answers these two names before it looks at attributes, so that only `__getattribute__` is early enough.
    """
    original = cls.__getattribute__

    def getattribute(self, name):
        if name == "connect":
            return partial(connect, self)
        if name == "disconnect":
            return partial(disconnect, self)
        return original(self, name)

    cls.__getattribute__ = getattribute


def connect(sender: QObject, signal: str, *receiver) -> bool:
    """Connect to a callable, or to a slot: `connect("toggled(bool)", widget, "setVisible(bool)")`."""
    QObject.connect(sender, SIGNAL(native_signature(sender, signal)), slot_of(*receiver))
    return True


def disconnect(sender: QObject, signal: str, *receiver) -> bool:
    return bool(QObject.disconnect(sender, SIGNAL(native_signature(sender, signal)), slot_of(*receiver)))


def slot_of(receiver: Callable | QObject, slot: str = "") -> Callable:
    """Return the callable that a receiver and, for an object, the name of its slot mean."""
    found = getattr(receiver, slot.partition("(")[0], None) if slot else receiver
    if not callable(found):
        raise AttributeError(f"{type(receiver).__name__} has no slot {slot}")
    return found


def native_signature(sender: QObject, signal: str) -> str:
    """Return the signature as Qt knows it; stand-ins list those with vtk types in `VTK_SIGNALS`.

    >>> from PySide6.QtCore import QTimer
    >>> native_signature(QTimer(), "objectNameChanged( QString )")
    'objectNameChanged(QString)'
    """
    wanted = bytes(QMetaObject.normalizedSignature(signal).data()).decode()
    wanted = getattr(type(sender), "VTK_SIGNALS", {}).get(wanted, wanted)
    if wanted not in signals_of(sender) or wanted.partition("(")[0] in ONLY_IN_QT6:
        raise AttributeError(f"{type(sender).__name__} has no signal {signal}; it has {sorted(signals_of(sender))}")
    return wanted


def signals_of(sender: QObject) -> set[str]:
    known = sender.metaObject()
    methods = (known.method(index) for index in range(known.methodCount()))
    return {bytes(each.methodSignature()).decode() for each in methods if each.methodType() == QMetaMethod.Signal}
