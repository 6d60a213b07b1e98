"""An offscreen slice view with the displayable managers of the application, which draws what Slicer draws."""

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

DISPLAYABLE_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
SIZE_PX = (400, 400)


class SliceView:
    """One slice view: its logic and node live in the scene from the start, the window opens with the first picture."""

    def __init__(self, scene, application_logic, name: str, orientation: str):
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(1)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetSliceLogic(self.logic)
        self._application_logic = application_logic
        self._window: vtk.vtkRenderWindow | None = None
        self._connection = None
        self.resize(*SIZE_PX)

    def resize(self, width_px: int, height_px: int) -> None:
        """Change the size of the picture and keep millimetres square."""
        self.size_px = (width_px, height_px)
        if self._window is not None:
            self._window.SetSize(width_px, height_px)
        self.logic.ResizeSliceNode(width_px, height_px)

    def fit(self) -> None:
        """Show the whole background volume, on a plane of its voxels."""
        self.logic.ResizeSliceNode(*self.size_px)
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def zoom_to(self, width_mm: float) -> None:
        """Show a field of this width around the center."""
        width_px, height_px = self.size_px
        self.node.SetFieldOfView(width_mm, width_mm * height_px / width_px, self.node.GetFieldOfView()[2])

    def render(self) -> None:
        if self._window is None:
            self._open()
        connection = self.logic.GetImageDataConnection()
        if connection != self._connection:
            self._connection = connection
            self._image.GetMapper().SetInputConnection(connection)
            self._image.SetVisibility(bool(connection))
        self._window.Render()

    def picture(self) -> np.ndarray:
        """Return the view as rows x columns x 3, top row first."""
        self.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        columns, rows, _ = grab.GetOutput().GetDimensions()
        return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1].copy()

    def _open(self) -> None:
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*self.size_px)
        self._window.SetNumberOfLayers(2)
        self._window.SetAlphaBitPlanes(1)
        renderer = self._add_renderer(0)
        self._add_renderer(1)
        self._image = _image_actor()
        renderer.AddViewProp(self._image)
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self._window)
        interactor.Initialize()
        interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._group = self._displayable_managers(renderer)
        self.style.SetDisplayableManagers(self._group)
        self.style.SetInteractor(interactor)

    def _add_renderer(self, layer: int) -> vtk.vtkRenderer:
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        renderer.SetLayer(layer)
        self._window.AddRenderer(renderer)
        return renderer

    def _displayable_managers(self, renderer):
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._application_logic)
        for name in DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(renderer)
        group.Initialize(factory, renderer)
        group.SetMRMLDisplayableNode(self.node)
        return group


def _image_actor() -> vtk.vtkActor2D:
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    actor.SetVisibility(False)
    return actor
