"""The parameter node of a panel and its binding to the widgets, while scenes are closed and loaded."""

import slicer
import vtk

NAME_PROPERTY = "SlicerParameterName"


class ParameterBinding:
    """Holds the parameter node of the scene.

    Parameters
    ----------
    logic : the module's, which makes the node
    ui : the panel's widgets; those that name a parameter are bound to it
    onModified : called at every change of a parameter
    irreplaceable : names of the parameters that are None when their node is removed: a selector would choose another
        node by itself, and whatever else has its form is not what the user meant
    """

    def __init__(self, logic, ui, onModified, irreplaceable=()):
        self._logic = logic
        self._ui = ui
        self._onModified = onModified
        self._irreplaceable = irreplaceable
        self._observed = []
        self._gui = None
        self.node = None

    @property
    def bound(self):
        """Whether what the widgets show is the user's choice: not while a scene is added or closed."""
        return self._gui is not None

    def connect(self):
        """Take the scene's node, and bind the widgets to it."""
        if self.node is None:
            self.node = self._logic.getParameterNode()
            scene = slicer.mrmlScene
            self._observed = [
                (self.node, self.node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)),
                (scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoving)),
            ]
        elif self._gui is None:
            # a scene file may have it before the nodes that it refers to: only now it finds them
            self.node.Modified()
        if self._gui is None:
            # the node's own connectGui gives no tag before Slicer 5.10, so that the binding would never end
            named = {widget.property(NAME_PROPERTY): widget for widget in vars(self._ui).values()}
            self._gui = self.node.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def pause(self):
        """Unbind the widgets: while a scene is added, selectors lose their nodes and find others.

        That is no choice of the user. The node stays, for whatever goes on meanwhile.
        """
        if self._gui is not None:
            self.node.disconnectGui(self._gui)
            self._gui = None

    def release(self):
        """Let go of the node: its scene is closed."""
        self.pause()
        if self.node is not None:
            for observed, tag in self._observed:
                observed.RemoveObserver(tag)
            self._observed, self.node = [], None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoving(self, _caller, _event, node):
        for name in self._irreplaceable:
            if getattr(self.node, name) is node:
                setattr(self.node, name, None)
