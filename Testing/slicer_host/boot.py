"""The scene without an application: MRML, the logics, `slicer.mrmlScene`, `slicer.modules` and a plain `slicer.app`.

Stands in for what qSlicerCoreApplication does before any window exists.
"""

import tempfile
from dataclasses import dataclass
from functools import cache

import slicer
import slicer.util
import vtk

from .io_manager import CoreIOManager
from .subject_hierarchy import SubjectHierarchyKeeper

MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}
"""Terminologies is missing: its logic reads files that only the application has."""


class Module:
    """What `slicer.modules.<name>` offers of a module without a panel."""

    def __init__(self, name: str, logic: vtk.vtkObject | None = None, path: str = ""):
        self.name = name
        self.path = path
        self._logic = logic

    def logic(self) -> vtk.vtkObject | None:
        return self._logic


class Modules:
    """`slicer.modules`: one lower-case attribute a module; anything else is an AttributeError, as in Slicer."""


class ApplicationServices:
    """The part of `slicer.app` that needs no Qt; everything is served by the one booted `Core`."""

    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 8
    temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")

    def applicationLogic(self):
        return boot().application_logic

    def mrmlScene(self):
        return boot().scene

    def coreIOManager(self):
        return boot().io_manager

    ioManager = coreIOManager

    def testingEnabled(self) -> bool:
        return True

    def layoutManager(self):
        from .views import layout_manager  # which needs the booted scene

        return layout_manager()

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass


class HeadlessApplication(ApplicationServices):
    """`slicer.app` of a process without Qt."""

    def processEvents(self) -> None:
        pass


@dataclass(frozen=True)
class Core:
    """What Python has to own for the life of the process."""

    scene: vtk.vtkObject
    application_logic: vtk.vtkObject
    logics: dict[str, vtk.vtkObject]
    io_manager: CoreIOManager
    kept: tuple


@cache
def boot() -> Core:
    """Build the scene once a process and put it into the `slicer` namespace."""
    _send_messages_to_stderr()
    scene = slicer.vtkMRMLScene()
    application_logic = _application_logic(scene)
    remote = _remote_io(scene, application_logic)
    logics = {name.lower(): _module_logic(name, scene, application_logic) for name in MODULE_LOGICS}
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = Modules()
    for name in MODULE_LOGICS:
        setattr(slicer.modules, name.lower(), Module(name, logics[name.lower()]))
    slicer.app = HeadlessApplication()
    keeper = SubjectHierarchyKeeper(scene)
    return Core(scene, application_logic, logics, CoreIOManager(scene, logics), (*remote, keeper))


def empty_scene() -> vtk.vtkObject:
    """Close the scene as File > Close does, and forget its undo history."""
    core = boot()
    core.scene.Clear(0)
    core.scene.ClearUndoStack()
    core.scene.ClearRedoStack()
    core.scene.SetUndoOff()
    core.scene.SetURL("")
    return core.scene


def _send_messages_to_stderr() -> None:
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)


def _application_logic(scene):
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(logic)
    return logic


def _remote_io(scene, application_logic) -> tuple:
    """Give the two logics without which the scene cannot read or write an .mrb."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(application_logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(tempfile.mkdtemp(prefix="slicer-host-cache-"))
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLScene(scene)
    data.SetMRMLApplicationLogic(application_logic)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data


def _module_logic(name: str, scene, application_logic):
    logic = getattr(slicer, MODULE_LOGICS[name])()
    logic.SetMRMLScene(scene)
    logic.SetMRMLApplicationLogic(application_logic)
    application_logic.SetModuleLogic(name, logic)
    return logic
