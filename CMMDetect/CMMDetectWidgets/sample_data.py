"""The sample scan that comes with the module, for Slicer's Sample Data module."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.bundle import checksum

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
SAMPLE_NAME = "CMMDetectSample"
SAMPLE_FILE = RESOURCES / "SampleData" / "CMMDetectSample_swi.nii.gz"
THUMBNAIL = RESOURCES / "Icons" / "CMMDetectSample.png"
CATEGORY = _("Cerebral Microbleed Detection")


def registerSampleData():
    """Register the sample scan; it lies in the module's own folder, so that no network is needed."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(THUMBNAIL),
        uris=SAMPLE_FILE.as_uri(),
        fileNames=SAMPLE_FILE.name,
        checksums=f"SHA256:{checksum(SAMPLE_FILE)}",
        nodeNames=SAMPLE_FILE.name.removesuffix(".nii.gz"),
        loadFileTypes="VolumeFile",
        customDownloader=loadSampleScan,
    )


def loadSampleScan(_source=None):
    """Load the sample scan into the scene and return its volume node."""
    return slicer.util.loadVolume(str(SAMPLE_FILE))
