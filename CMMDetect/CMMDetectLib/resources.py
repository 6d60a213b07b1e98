"""The folders of files that come with the library."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def shipped_folder(name: str, package: str) -> Path:
    """Find a folder of Resources: beside the library in Slicer and in the sources, in it where pip installed it.

    Parameters
    ----------
    name : of the folder in ``CMMDetect/Resources``
    package : of the package that pip makes of it
    """
    places = (_HERE.parent / "Resources" / name, _HERE / package)
    return next((place for place in places if place.is_dir()), places[0])
