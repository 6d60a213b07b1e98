"""The parameter node of a panel and its binding to the widgets, while scenes are closed and loaded."""

import slicer
import vtk

from .slice_views import later

NAME_PROPERTY = "SlicerParameterName"


class ParameterBinding:
    """Holds the parameter node of the scene and binds widgets to it.

    Parameters
    ----------
    logic : the module's logic, which creates the node
    ui : the panel's widgets; those with the property `NAME_PROPERTY` are bound to that parameter
    onModified : called at every change of a parameter
    onLost : called after the node was removed; `connect` then makes a new one
    irreplaceable : names of the parameters that are None when their node is removed: a selector would choose another
        node by itself, and whatever else has its form is not what the user meant
    """

    def __init__(self, logic, ui, onModified, onLost, irreplaceable=()):
        self._logic = logic
        self._ui = ui
        self._onModified = onModified
        self._onLost = onLost
        self._irreplaceable = irreplaceable
        self._observed = []
        self._gui = None
        self.node = None

    @property
    def bound(self):
        """Whether the widgets are bound and show the user's choice: not while a scene is imported or closed."""
        return self._gui is not None

    def connect(self):
        """Get the scene's parameter node, and bind the widgets to it."""
        if self.node is None:
            self.node = self._logic.getParameterNode()
            scene = slicer.mrmlScene
            self._observed = [
                (self.node, self.node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)),
                (scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoving)),
            ]
        elif self._gui is None:
            # in a scene file it may precede the nodes that it references: only now they can be found
            self.node.Modified()
        if self._gui is None:
            # connectGui returns no tag before Slicer 5.10, without which the binding could not be removed
            named = {widget.property(NAME_PROPERTY): widget for widget in vars(self._ui).values()}
            self._gui = self.node.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def pause(self):
        """Unbind the widgets while a scene is imported, when selectors lose their nodes and choose others.

        These are not choices of the user. The node is kept for whatever is still running.
        """
        if self._gui is not None:
            self.node.disconnectGui(self._gui)
            self._gui = None

    def release(self):
        """Release the node, whose scene is being closed."""
        self.pause()
        if self.node is not None:
            for observed, tag in self._observed:
                observed.RemoveObserver(tag)
            self._observed, self.node = [], None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoving(self, _caller, _event, node):
        if node is self.node.parameterNode:
            # a script that empties the scene node by node removes the settings, too
            self.release()
            later(self._onLost)
            return
        for name in self._irreplaceable:
            if getattr(self.node, name) is node:
                setattr(self.node, name, None)
