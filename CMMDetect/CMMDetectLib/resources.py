"""Data folders that come with the library."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def shipped_folder(name: str, package: str) -> Path:
    """Find a folder of ``CMMDetect/Resources``, which pip installs as a subpackage of the library.

    Parameters
    ----------
    name : name of the folder in ``CMMDetect/Resources``, as in Slicer and in the source tree
    package : name of the subpackage that pip makes of it
    """
    places = (_HERE.parent / "Resources" / name, _HERE / package)
    return next((place for place in places if place.is_dir()), places[0])
