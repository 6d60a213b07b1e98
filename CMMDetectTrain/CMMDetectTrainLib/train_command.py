"""``cmmdetect train``: its options and its output."""

from __future__ import annotations

import argparse
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from CMMDetectLib.bundle import SHIPPED_BUNDLE
from CMMDetectLib.channels import CHANNELS, PAPER_CHANNELS
from CMMDetectLib.cli import OneLineParser, add_compute_options, explained, progress_bar, tell
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.file_names import check_there
from CMMDetectLib.scan import name_of
from CMMDetectLib.wording import counted

from .command_options import add_brain_options, add_modality_option, add_subjects_option, tell_epoch, tell_note
from .command_texts import DATASET
from .extras import training_packages
from .seeds import check_seed
from .training_job import FINE_TUNING_RATE, work_folder

if TYPE_CHECKING:
    from .bundle_training import TrainedBundle, TrainingPlan

Number = TypeVar("Number", int, float)

SHIPPED = "shipped"
"""Stands for the model that comes with CMMDetect, wherever that was installed."""
TRAIN = """\
Train the detector of stage 1, then the teacher, then the student, and choose
thresholds on the validation subjects. The bundle holds a report of these.
Subjects by which the model shall be measured afterwards must not be among
those of the training: name the others with --subjects."""
LEAST_PATCH_SIZE = 16
"""In smaller patches, most voxels lie at the border."""
BY_NETWORK = {"epochs": 1, "decay_epochs": 1, "batch": 1, "warm_up": 0}
"""Options that may be given for each network separately, with their least value."""
VOXEL_MM = {"pixel": (0.2, 2.0), "slice": (0.4, 6.0)}
"""Range of the voxel size of the networks' grid, for each option."""


def add_train(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    """Add ``cmmdetect train`` to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a model bundle on a data set with known microbleeds",
        **explained(TRAIN, DATASET),
    )
    parser.add_argument("dataset", help="folder with scans and <scan>_microbleeds.nii.gz")
    parser.add_argument("-o", "--output", required=True, metavar="BUNDLE", help="folder of the new bundle")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="BUNDLE",
        help=f"fine-tune this bundle; '{SHIPPED}' is the one that comes with CMMDetect",
    )
    parser.add_argument("--resume", action="store_true", help="resume an interrupted training, with the same options")
    parser.add_argument("--name", help="name of the bundle (default: that of its folder)")
    add_modality_option(parser)
    add_subjects_option(parser)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="train only these: detector, teacher, student")
    parser.add_argument("--no-distillation", action="store_true", help="train the student without the teacher")
    add_training_options(parser, fine_tunes=True)
    parser.set_defaults(run=_train)


def add_training_options(parser: argparse.ArgumentParser, fine_tunes: bool = False) -> None:
    """Add the options that decide how and on which device networks are trained; `plan_of` reads them.

    Parameters
    ----------
    fine_tunes : whether there is --from, which changes some defaults
    """
    _add_validation(parser.add_argument_group("validation subjects, which choose thresholds and the best epoch"))
    _add_networks(parser.add_argument_group("networks"), fine_tunes)
    _add_patches(parser.add_argument_group("training patches"))
    _add_schedule(parser.add_argument_group("schedule"), fine_tunes)
    group = parser.add_argument_group("processor and brain")
    add_compute_options(group, "where the networks are trained")
    add_brain_options(group)


def _add_validation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--validation-share", type=float, default=0.2, metavar="X", help="share of the subjects (default: 0.2)"
    )
    group.add_argument(
        "--validation-subjects", nargs="+", default=[], metavar="NAME", help="use these instead of a share"
    )


def _add_networks(group: argparse._ArgumentGroup, fine_tunes: bool) -> None:
    as_that = ", or that of --from" if fine_tunes else ""
    group.add_argument("--width", type=int, metavar="N", help=f"filters at full resolution (default: 16{as_that})")
    group.add_argument(
        "--student-width", type=int, metavar="N", help=f"the same for the student (default: --width{as_that})"
    )
    group.add_argument(
        "--pixel",
        type=float,
        metavar="MM",
        help=f"resample scans to this pixel size for the networks (default: their own{as_that})",
    )
    group.add_argument(
        "--slice",
        type=float,
        metavar="MM",
        help=f"the same for the distance between slices (default: their own{as_that})",
    )
    group.add_argument(
        "--channels",
        nargs="+",
        default=list(CHANNELS),
        metavar="NAME",
        help=f"input channels (default: {' '.join(CHANNELS)}; in the paper: {' '.join(PAPER_CHANNELS)})",
    )


def _add_patches(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--patch-size", type=int, default=48, metavar="N", help="edge of stage 1's patches, voxels (default: 48)"
    )
    group.add_argument(
        "--patches-an-epoch", type=int, metavar="N", help="largest number of patches per epoch (default: all)"
    )
    group.add_argument(
        "--augmentation",
        type=int,
        default=10,
        metavar="N",
        help="how often an epoch of stage 1 has each patch with a microbleed (default: 10)",
    )
    group.add_argument(
        "--noise-variance",
        type=float,
        default=0.04,
        metavar="X",
        help="largest variance of added noise (default: 0.04)",
    )
    group.add_argument(
        "--contrast",
        type=float,
        default=1.0,
        metavar="X",
        help="largest change of contrast, a factor (default: 1, none)",
    )
    group.add_argument(
        "--simulated-patches", type=int, default=0, metavar="N", help="simulated patches to add (default: 0)"
    )
    group.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processes that simulate patches (default: 1)"
    )
    group.add_argument(
        "--th-candidates",
        type=float,
        default=0.1,
        metavar="X",
        help="threshold of stage 1 for the student's training candidates; no lower one is chosen (default: 0.1)",
    )


def _add_schedule(group: argparse._ArgumentGroup, fine_tunes: bool) -> None:
    first_rate = "default: 0.001, or 0.0001 with --from" if fine_tunes else "default: 0.001"
    _add_by_network(group, "epochs", 100, "largest number of epochs")
    group.add_argument(
        "--patience", type=int, default=20, metavar="N", help="epochs without improvement that end it (default: 20)"
    )
    _add_by_network(group, "batch", 8, "patches per step; narrow classifiers learn better with 32")
    group.add_argument(
        "--learning-rate",
        type=float,
        nargs="+",
        metavar="X",
        help=f"initial rate; one number, or those of detector, teacher and student ({first_rate})",
    )
    group.add_argument(
        "--decay", type=float, default=0.1, metavar="X", help="factor of the learning rate (default: 0.1)"
    )
    _add_by_network(group, "decay-epochs", 2, "epochs between two steps of --decay")
    _add_by_network(group, "warm-up", 0, "number of first steps in which the learning rate rises")
    group.add_argument("--epsilon", type=float, default=1e-4, metavar="X", help="parameter of Adam (default: 0.0001)")
    averaging = "share that each step keeps of a running mean of the weights, which replaces them (default: 0, none)"
    group.add_argument("--averaging", type=float, default=0.0, metavar="X", help=averaging)
    group.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all random numbers (default: 0)")


def _add_by_network(group: argparse._ArgumentGroup, name: str, default: int, what: str) -> None:
    """Add an option of `BY_NETWORK`."""
    described = f"{what}; one number, or those of detector, teacher and student (default: {default})"
    group.add_argument(f"--{name}", type=int, nargs="+", default=[default], metavar="N", help=described)


def _train(options: argparse.Namespace) -> None:
    try:
        _train_bundle(options)
    except KeyboardInterrupt:
        # before the scans are checked there is nothing to resume, and the option would be refused
        if work_folder(Path(options.output)).exists():
            options.interrupted = "interrupted; the same command with --resume goes on"
        raise


def _train_bundle(options: argparse.Namespace) -> None:
    with training_packages("train"):
        from . import distributed
        from .bundle_training import train_bundle
        from .case_list import checked_scans
        from .evaluation_set import check_brains
        from .left_out import left_out
    plan, output = plan_of(options), Path(options.output)
    dataset, chosen = Path(options.dataset), (options.modality, options.subjects)
    check_there(dataset, "no such folder")
    entries = checked_scans(dataset, *chosen)
    check_brains(entries, plan.given_brain)
    _check_resume(output, options.resume)
    notes = left_out(dataset, entries, *chosen)
    with distributed.joined():
        if distributed.is_first():
            tell(*notes)
        compute = choose_compute(options.device, options.precision)
        with progress_bar(steady=False) if distributed.is_first() else nullcontext() as listener:
            trained = train_bundle(entries, plan, output, compute, listener, tell_epoch, tell_note)
        if distributed.is_first():
            _tell_result(trained, output)


def plan_of(options: argparse.Namespace) -> TrainingPlan:
    """Make the training plan from the options.

    Raises
    ------
    InputError
        If an option has an invalid value.
    """
    from .augmentation import Augmentation
    from .training import Schedule
    from .training_plan import NETWORKS, SMALL_PATCHES, TrainingPlan

    networks = tuple(options.networks or NETWORKS)
    if unknown := [name for name in networks if name not in NETWORKS]:
        raise InputError(f"--networks {unknown[0]}: not a network; choose from {', '.join(NETWORKS)}")
    _check_sizes(options)
    _check_schedule(options)
    usual = FINE_TUNING_RATE if options.start else Schedule.learning_rate
    rates = options.learning_rate or [usual]
    names = ("patience", "decay", "epsilon", "averaging", "seed")
    schedule = Schedule(
        learning_rate=max(rates),
        **{name: max(getattr(options, name)) for name in BY_NETWORK},
        **{name: getattr(options, name) for name in names},
    )
    varied = {"noise_variance": (options.noise_variance / 4, options.noise_variance), "contrast": options.contrast}
    return TrainingPlan(
        name=options.name or name_of(Path(options.output)),
        width=options.width or TrainingPlan.width,
        student_width=options.student_width,
        start=_start_of(options),
        networks=networks,
        schedule=schedule,
        epochs=_one_each(options.epochs),
        decay_epochs=_one_each(options.decay_epochs),
        batch=_one_each(options.batch),
        warm_up=_one_each(options.warm_up),
        learning_rate=_one_each(rates),
        pixel_mm=options.pixel,
        slice_mm=options.slice,
        channels=tuple(options.channels),
        patch_size=options.patch_size,
        augmentation=Augmentation(factor=options.augmentation, **varied),
        patch_augmentation=replace(SMALL_PATCHES, **varied),
        validation_share=options.validation_share,
        validation_subjects=tuple(options.validation_subjects),
        simulated_patches=options.simulated_patches,
        patches_an_epoch=options.patches_an_epoch,
        th_candidates=options.th_candidates,
        distill=not options.no_distillation,
        brain_extraction=options.brain_extraction,
        given_brain=options.brain_masks,
        processes=options.processes,
    )


def _start_of(options: argparse.Namespace) -> Path | None:
    if options.start == SHIPPED and not Path(SHIPPED).is_dir():
        return SHIPPED_BUNDLE
    return Path(options.start) if options.start else None


def _one_each(numbers: list[Number]) -> tuple[Number, Number, Number] | None:
    """Return the values of the three networks, or None if one value is for all."""
    if len(numbers) == 1:
        return None
    detector, teacher, student = numbers
    return detector, teacher, student


def _check_sizes(options: argparse.Namespace) -> None:
    _check_at_least_one(options, "processes")
    if options.simulated_patches < 0 or (options.patches_an_epoch or 2) < 2:
        raise InputError("--simulated-patches must not be negative and --patches-an-epoch at least 2")
    if options.patch_size < LEAST_PATCH_SIZE:
        raise InputError(f"--patch-size must be at least {LEAST_PATCH_SIZE}")
    for name, (least_mm, most_mm) in VOXEL_MM.items():
        length_mm = getattr(options, name)
        if length_mm is not None and not least_mm <= length_mm <= most_mm:
            raise InputError(f"--{name} must lie between {least_mm:g} and {most_mm:g} mm")
    if unknown := [name for name in options.channels if name not in CHANNELS]:
        raise InputError(f"--channels {unknown[0]}: not a channel; choose from {', '.join(CHANNELS)}")
    if not 0 < options.validation_share < 1:
        raise InputError("--validation-share must lie between 0 and 1")
    if options.width is not None and options.start:
        raise InputError("--width cannot be chosen with --from: the networks of that bundle have their own")
    for name, width in (("width", options.width), ("student-width", options.student_width)):
        if width is not None and (width < 1 or width % 2):
            raise InputError(f"--{name} must be even: the last layer of a classifier has half as many nodes")


def _check_schedule(options: argparse.Namespace) -> None:
    check_seed(options.seed)
    for name, least in BY_NETWORK.items():
        values = getattr(options, name)
        if len(values) not in (1, 3) or min(values) < least:
            raise InputError(f"--{name.replace('_', '-')} must be one number or three, and at least {least}")
    _check_at_least_one(options, "patience", "augmentation")
    rates = options.learning_rate or [1.0]
    if len(rates) not in (1, 3) or not all(0 < rate <= 1 for rate in rates):
        raise InputError("--learning-rate must lie above 0 and not above 1, and be one number or three")
    for name in ("decay", "epsilon", "th_candidates"):
        if not 0 < getattr(options, name) <= 1:
            raise InputError(f"--{name.replace('_', '-')} must lie above 0 and not above 1")
    if not 0 <= options.averaging < 1:
        raise InputError("--averaging must not be negative and must lie below 1")
    # written so that it also refuses NaN, for which every comparison is false
    if not 0 <= options.noise_variance < math.inf or not 1 <= options.contrast < math.inf:
        raise InputError("--noise-variance must not be negative and --contrast at least 1, and both finite")


def _check_at_least_one(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1")


def _check_resume(output: Path, resume: bool) -> None:
    work = work_folder(output)
    try:
        begun = work.exists()
    except OSError as error:  # too long a name, or no permission to look
        raise OutputError(f"{output}: cannot be written ({error.strerror}); choose another -o") from None
    if begun and not resume:
        raise InputError(f"{work}: a training was begun here; add --resume to go on, or choose another -o")
    if resume and not begun:
        raise InputError(f"{work}: no training to resume here; leave --resume out to begin one")


def _tell_result(trained: TrainedBundle, output: Path) -> None:
    description = trained.validated.description
    tell(
        f"Trained on {description.trained_on}",
        f"Thresholds {description.th_detection:g} and {description.th_discrimination:g}, chosen on "
        f"{counted(len(trained.validation_subjects), 'validation subject')}: {output / 'validation' / 'report.html'}",
        f"Written: {output}. {work_folder(output)} holds working files and can be deleted",
    )
