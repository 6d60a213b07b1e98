"""The user's own models: a folder of bundles that can be listed, imported, exported, removed and chosen."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from CMMDetectLib.bundle import DESCRIPTION_FILE, BundleDescription, ModelBundle, read_bundle
from CMMDetectLib.bundle_choice import choose_bundle, chosen_bundle
from CMMDetectLib.errors import CMMDetectError, InputError, OutputError
from CMMDetectLib.results import prepare_folder

from .training_job import unfinished_jobs, work_folder

ZIP = ".zip"
WEIGHTS = ".safetensors"
LARGEST_FILE = 2**30
"""Size in bytes, 200 times that of all networks of CMMDetect; a larger file in an archive is refused."""


@dataclass(frozen=True)
class ShelvedBundle:
    """A bundle on the shelf.

    Attributes
    ----------
    folder : folder of the bundle
    description : None if the bundle is damaged
    problem : why it cannot be used, None if it can
    size_bytes : size including the working files of its training
    in_use : whether CMMDetect uses it for detection
    """

    folder: Path
    description: BundleDescription | None
    problem: str | None
    size_bytes: int
    in_use: bool

    @property
    def name(self) -> str:
        """Name of its folder, which identifies it."""
        return self.folder.name


class BundleShelf:
    """A folder of bundles, each in a folder of its own.

    Parameters
    ----------
    folder : need not exist yet
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def in_use(self) -> Path | None:
        """Folder of the bundle that CMMDetect uses, None for the one that comes with it."""
        return chosen_bundle(self.folder)

    def bundles(self) -> list[ShelvedBundle]:
        """List all bundles by name, including damaged ones, so that they can be removed."""
        found = sorted(self.folder.glob(f"*/{DESCRIPTION_FILE}"), key=lambda path: path.parent.name.lower())
        return [self._shelved(path.parent) for path in found if not path.parent.name.startswith(".")]

    def path_for(self, name: str) -> Path:
        """Return the folder of a new bundle: its name, with a number appended if it is taken."""
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
        number, path = 1, self.folder / plain
        while path.exists() or work_folder(path).exists():
            number += 1
            path = self.folder / f"{plain}-{number}"
        return path

    def add(self, source: Path) -> Path:
        """Copy a bundle to the shelf, from a folder or a .zip file.

        Raises
        ------
        InputError
            If it is not a bundle, is damaged, or was made for another version.
        OutputError
            If the shelf cannot be written.
        """
        prepare_folder(self.folder)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".import-") as name, _writing(self.folder):
            beside = Path(name) / "bundle"
            beside.mkdir()
            found = _unpacked(source, Path(name)) if source.suffix.lower() == ZIP else source
            try:
                bundle = read_bundle(found)
            except InputError as error:
                raise InputError(str(error).replace(str(found), str(source))) from None
            _copy_bundle(bundle, beside)
            target = self.path_for(bundle.description.name)
            beside.replace(target)
        return target

    def export(self, name: str, target: Path) -> None:
        """Copy a bundle to a .zip file or a new folder.

        Only the description and the networks are exported: reports and lists of a training name its subjects.

        Raises
        ------
        InputError
            If the bundle is damaged, or the target exists.
        OutputError
            If the target cannot be written.
        """
        bundle = read_bundle(self.folder / name)
        if target.exists():
            raise InputError(f"{target}: exists already; choose another name")
        prepare_folder(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as beside, _writing(target):
            copy = Path(beside) / name
            copy.mkdir()
            _copy_bundle(bundle, copy)
            if target.suffix.lower() == ZIP:
                packed = shutil.make_archive(str(Path(beside) / "packed"), "zip", beside, name)
                Path(packed).replace(target)
            else:
                copy.replace(target)

    def remove(self, name: str) -> None:
        """Delete a bundle and the working files of its training; if it was in use, CMMDetect uses its own again.

        Raises
        ------
        InputError
            If there is no bundle of that name, or an unfinished training needs it.
        OutputError
            If a file cannot be deleted.
        """
        folder = self._own(name)
        for job in unfinished_jobs(self.folder):
            if str(folder) in (job.start, job.old):
                needing = Path(job.output).name
                raise InputError(f"{name}: the training of {needing} needs it; finish or discard that first")
        if self.in_use == folder:
            self.choose(None)
        with _writing(folder):
            shutil.rmtree(folder)
            if work_folder(folder).exists():
                shutil.rmtree(work_folder(folder))

    def choose(self, name: str | None) -> None:
        """Make a bundle the one that CMMDetect uses; None for the one that comes with it.

        Raises
        ------
        InputError
            If there is no bundle of that name, or it is damaged.
        OutputError
            If the shelf cannot be written.
        """
        if name is not None:
            read_bundle(self._own(name))
        prepare_folder(self.folder)
        choose_bundle(self.folder, name)

    def _own(self, name: str) -> Path:
        folder = self.folder / name
        if folder.parent != self.folder or not (folder / DESCRIPTION_FILE).is_file():
            raise InputError(f"{name}: no such model in {self.folder}")
        return folder

    def _shelved(self, folder: Path) -> ShelvedBundle:
        description, problem = None, None
        try:
            description = read_bundle(folder).description
        except CMMDetectError as error:
            problem = str(error)
        size = sum(_size_of(path) for path in (folder, work_folder(folder)))
        return ShelvedBundle(folder, description, problem, size, self.in_use == folder)


def _copy_bundle(bundle: ModelBundle, target: Path) -> None:
    for name in (DESCRIPTION_FILE, *bundle.sha256):
        if PurePosixPath(name).name != name:
            raise InputError(f"{bundle.folder}: names files outside the bundle; get it from somebody you trust")
        shutil.copyfile(bundle.folder / name, target / name)


def _unpacked(source: Path, beside: Path) -> Path:
    """Unpack only description and weights, wherever they are in the archive, so that no other file is written."""
    folder = beside / "unpacked"
    folder.mkdir()
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename).name
                if name != DESCRIPTION_FILE and not name.endswith(WEIGHTS):
                    continue
                if member.file_size > LARGEST_FILE:
                    raise InputError(f"{source}: {name} is too large for a model of CMMDetect")
                with archive.open(member) as packed, (folder / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, FileNotFoundError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{source}: not a .zip file that can be read ({error})") from None
    return folder


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError with one line for the user."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error.strerror})") from None
