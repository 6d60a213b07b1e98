"""Stands in for the module SampleData: keeps what modules register and loads what needs no download."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

ALLOWED = {
    "sampleName",
    "category",
    "thumbnailFileName",
    "uris",
    "fileNames",
    "nodeNames",
    "checksums",
    "loadFiles",
    "loadFileTypes",
    "loadFileType",
    "loadFileProperties",
    "customDownloader",
}
"""Parameters of `registerCustomSampleDataSource` in Slicer 5.8 and later."""


class SampleDataLogic:
    """Registers sources, in `registered`, in the order in which modules named them."""

    registered: ClassVar[list[SimpleNamespace]] = []

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **description) -> None:
        unknown = set(description) - ALLOWED
        if unknown:
            raise TypeError(f"registerCustomSampleDataSource has no parameter {', '.join(sorted(unknown))}")
        if not description.get("sampleName"):
            raise ValueError("a sample needs a sampleName")
        SampleDataLogic.registered.append(SimpleNamespace(category=category, **description))

    def downloadSample(self, name: str):
        """Load a registered sample as a click on its picture does."""
        source = next(each for each in self.registered if each.sampleName == name)
        return source.customDownloader(source)


def install() -> None:
    module = ModuleType("SampleData", __doc__)
    module.SampleDataLogic = SampleDataLogic
    sys.modules["SampleData"] = module
