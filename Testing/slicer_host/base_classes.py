"""Stands in for `slicer.ScriptedLoadableModule`, from which a module's four classes are derived, and `slicer.i18n`."""

import logging
import sys
import unittest
from pathlib import Path
from types import ModuleType

import qt
import slicer
import slicer.util


def install() -> None:
    """Put both modules where panels import them from."""
    base = ModuleType("slicer.ScriptedLoadableModule", __doc__)
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    for each in classes:
        setattr(base, each.__name__, each)
    base.__all__ = [each.__name__ for each in classes]
    i18n = ModuleType("slicer.i18n", "Translations of the test host: every text stands for itself.")
    i18n.tr = tr
    i18n.translate = translate
    for module in (base, i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rpartition(".")[2], module)


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


class ScriptedLoadableModule:
    """Describes the module; writes its description into `parent`."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        parent.icon = self._icon()

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""

    def runTest(self, msec: int = 100, **arguments) -> None:
        """Run `<Name>Test`; a module without one fails."""
        test_class = getattr(sys.modules[self.moduleName], f"{self.moduleName}Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**arguments)

    def _icon(self):
        for ending in (".svg", ".png"):
            path = Path(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
            if path.is_file():
                return qt.QIcon(str(path))
        return qt.QIcon()


class ScriptedLoadableModuleWidget:
    """Builds the panel below `parent`."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Build the panel; a module overrides it."""

    def enter(self) -> None:
        """Called when the user opens the module."""

    def exit(self) -> None:
        """Called when the user opens another module."""

    def cleanup(self) -> None:
        """Called when the application exits and the module widget is destroyed."""

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Computes; owns the module's parameter node."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def getParameterNode(self, replace: bool = True):
        """Return the module's one parameter node, made when there is none and named again after a closed scene."""
        scene = slicer.mrmlScene
        found = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(scene.GenerateUniqueName(self.moduleName))
            found = scene.AddNode(node)
        found.SetAttribute("ModuleName", self.moduleName)
        return found


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Runs inside the application; here on the same scene."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.messageDelay = 100

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self) -> None:
        """Override this with the module's tests."""
