"""Options and output that several commands on data sets share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CMMDetectLib.brain_extraction import METHODS as BRAIN_EXTRACTIONS
from CMMDetectLib.cli import tell
from CMMDetectLib.scan import Modality

from .command_texts import BRAIN_MASKS

if TYPE_CHECKING:
    from .training import EpochRecord


def add_modality_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that restricts a data set to one modality."""
    parser.add_argument("--modality", help=f"only scans of this one: {', '.join(Modality)} (default: all)")


def add_subjects_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that restricts a data set to some subjects."""
    parser.add_argument("--subjects", nargs="+", default=[], metavar="NAME", help="only these subjects (default: all)")


def add_brain_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say where the brain masks come from."""
    parser.add_argument("--brain-extraction", choices=BRAIN_EXTRACTIONS, default="bet", help="(default: bet)")
    parser.add_argument("--brain-masks", action="store_true", help=BRAIN_MASKS)


def tell_note(line: str) -> None:
    """Print a line about a training that begins, once for all processes."""
    from . import distributed

    if distributed.is_first():
        tell(line)


def tell_epoch(network: str, record: EpochRecord) -> None:
    """Print a finished epoch of a training as one line, once for all processes."""
    losses = f"loss {record.training_loss:.4f}, validation {record.validation_loss:.4f}"
    tell_note(f"{network} epoch {record.epoch + 1}: {losses}, {record.seconds:.0f} s")
