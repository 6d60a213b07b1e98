"""Stands in for qSlicerCoreIOManager: `slicer.util.loadX` and `saveX` by the real logics and storage nodes."""

from pathlib import Path

import slicer
import vtk

FILE_TYPES = {
    ".mrk.json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".seg.nrrd": "SegmentationFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".tsv": "TableFile",
    ".csv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
}
"""The first ending that fits decides, so the longer one of a pair stands first."""

LOADING_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
"""Bits of vtkSlicerVolumesLogic::LoadingOptions by the name of the reader's property."""


class CoreIOManager:
    """Reads and writes the file types that the panels use; any other type is refused."""

    def __init__(self, scene: vtk.vtkObject, logics: dict[str, vtk.vtkObject]):
        self._scene = scene
        self._logics = logics

    def fileType(self, file_name: str) -> str:
        return FILE_TYPES.get(self._ending(file_name), "NoFile")

    def fileWriterFileType(self, node, *_) -> str:
        return "NodeFile"

    def extractKnownExtension(self, file_name: str, node=None) -> str:
        return self._ending(file_name)

    def fileWriterExtensions(self, node) -> tuple[str, ...]:
        types = node.CreateDefaultStorageNode().GetSupportedWriteFileTypes()
        return tuple(types.GetValue(index) for index in range(types.GetNumberOfValues()))

    def loadNodes(self, file_type: str, properties: dict, loaded: vtk.vtkCollection | None = None, messages=None):
        """Return whether the file could be read; new nodes are put into `loaded`."""
        path = Path(properties["fileName"])
        if not path.is_file():
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, properties.get("clear", False))
        node = self._load_node(file_type, path, properties)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def saveNodes(self, file_type: str, properties: dict, messages=None) -> bool:
        if file_type == "SceneFile":
            return self._save_scene(Path(properties["fileName"]))
        node = self._scene.GetNodeByID(properties["nodeID"])
        return self._write(node, properties["fileName"], self._storage_of(node))

    def exportNodes(self, ids: list[str], file_names: list[str], properties, harden=False, messages=None) -> bool:
        """Write copies; the nodes keep the storage nodes that they have."""
        nodes = [self._scene.GetNodeByID(each) for each in ids]
        written = [
            self._write(node, name, node.CreateDefaultStorageNode())
            for node, name in zip(nodes, file_names, strict=True)
        ]
        return all(written)

    def _ending(self, file_name: str) -> str:
        return next((ending for ending in FILE_TYPES if str(file_name).lower().endswith(ending)), "")

    def _load_scene(self, path: Path, clear: bool) -> bool:
        if path.suffix == ".mrb":
            return bool(self._scene.ReadFromMRB(str(path), clear))
        self._scene.SetURL(str(path))
        return bool(self._scene.Connect() if clear else self._scene.Import())

    def _save_scene(self, path: Path) -> bool:
        self._scene.SetURL(str(path))
        self._scene.SetRootDirectory(str(path.parent))
        if path.suffix == ".mrb":
            return bool(self._scene.WriteToMRB(str(path)))
        if path.suffix == ".mrml":
            return bool(self._scene.Commit(str(path)))
        path.mkdir(parents=True, exist_ok=True)
        return bool(self._scene.SaveSceneToSlicerDataBundleDirectory(str(path), None))

    def _load_node(self, file_type: str, path: Path, properties: dict):
        name = properties.get("name") or path.name.removesuffix(self._ending(path.name))
        if file_type == "VolumeFile":
            chosen = {"singleFile": True, "autoWindowLevel": True, **properties}
            options = sum(bit for option, bit in LOADING_OPTIONS.items() if chosen.get(option))
            return self._logics["volumes"].AddArchetypeVolume(str(path), name, options)
        if file_type == "MarkupsFile":
            ids = self._logics["markups"].LoadMarkups(str(path), name)
            return self._scene.GetNodeByID(ids.split(",")[0]) if ids else None
        if file_type == "SegmentationFile":
            return self._logics["segmentations"].LoadSegmentationFromFile(str(path), True, name)
        if file_type == "TransformFile":
            return self._logics["transforms"].AddTransform(str(path), self._scene)
        if file_type in ("TableFile", "TextFile"):
            return self._read(file_type.removesuffix("File"), path, name)
        return None

    def _read(self, kind: str, path: Path, name: str):
        node = self._scene.AddNewNodeByClass(f"vtkMRML{kind}Node", name)
        storage = self._scene.AddNewNodeByClass(f"vtkMRML{kind}StorageNode")
        storage.SetFileName(str(path))
        if not storage.ReadData(node):
            self._scene.RemoveNode(storage)
            self._scene.RemoveNode(node)
            return None
        node.SetAndObserveStorageNodeID(storage.GetID())
        return node

    def _storage_of(self, node):
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        return node.GetStorageNode()

    def _write(self, node, file_name: str, storage: slicer.vtkMRMLStorageNode) -> bool:
        if not Path(file_name).parent.is_dir():
            return False
        storage.SetFileName(str(file_name))
        return bool(storage.WriteData(node))
