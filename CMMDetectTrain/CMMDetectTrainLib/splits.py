"""Split of cases into training and validation, always by subject."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from CMMDetectLib.errors import InputError
from CMMDetectLib.network_grid import Shape

from .cases import Case
from .evaluation_set import ScanEntry
from .patches import SplitPlaces, grid_places
from .roles import LEAST_SUBJECTS

SIMULATED_VALIDATION = 10
"""One shelf of simulated patches in this many is used for validation."""


@dataclass(frozen=True)
class SplitCases:
    """Cases of the training subjects and those of the validation subjects.

    Attributes
    ----------
    training, validation : scans, then simulated patches
    subjects : subjects of the validation scans
    """

    training: list[Case]
    validation: list[Case]
    subjects: list[str]


def split_cases(
    scans: Sequence[Case], simulated: Sequence[Case], share: float, seed: int, fixed: Iterable[str] = ()
) -> SplitCases:
    """Split scans by subject, and simulated patches by shelf, since those of a shelf may come from one head.

    Parameters
    ----------
    fixed : validation subjects; if there are none, `split_subjects` chooses them

    Raises
    ------
    InputError
        If fewer than two subjects have microbleeds, or the given ones do not exist or leave none for training.
    """
    chosen = set(fixed) or split_subjects(scans, share, seed)
    check_validating(chosen, {case.subject for case in scans})
    shelves = sorted({case.subject for case in simulated})
    validating = chosen | set(shelves[SIMULATED_VALIDATION - 1 :: SIMULATED_VALIDATION])
    cases = [*scans, *simulated]
    return SplitCases(
        [case for case in cases if case.subject not in validating],
        [case for case in cases if case.subject in validating],
        sorted(chosen),
    )


def split_subjects(cases: Iterable[Case], share: float, seed: int) -> set[str]:
    """Choose a share of the subjects with microbleeds, at least one, and of those without, for validation.

    Raises
    ------
    InputError
        If fewer than two subjects have microbleeds.
    """
    everyone: set[str] = set()
    with_microbleeds: set[str] = set()
    for case in cases:
        everyone.add(case.subject)
        if (case.labels > 0).any():
            with_microbleeds.add(case.subject)
    check_subjects(len(with_microbleeds))
    rng = np.random.default_rng([seed, len(with_microbleeds)])
    many = min(len(with_microbleeds) - 1, max(1, round(share * len(with_microbleeds))))
    chosen = [*rng.permutation(sorted(with_microbleeds))[:many]]
    without = sorted(everyone - with_microbleeds)
    chosen += [*rng.permutation(without)[: round(share * len(without))]]
    return {str(subject) for subject in chosen}


def check_subjects(count: int) -> None:
    """Check that at least two subjects have microbleeds.

    Raises
    ------
    InputError
        If there are fewer.
    """
    if count < LEAST_SUBJECTS:
        raise InputError(
            f"training needs at least two subjects with visible microbleeds, one of them to choose thresholds by; "
            f"the data set has {count}"
        )


def check_validating(chosen: Collection[str], there: Collection[str]) -> None:
    """Check that the chosen validation subjects exist and leave some for training.

    Parameters
    ----------
    chosen : may be empty: the validation subjects are then drawn later
    there : all subjects

    Raises
    ------
    InputError
        If a subject does not exist, or none is left for training.
    """
    if unknown := sorted(set(chosen) - set(there)):
        raise InputError(f"{unknown[0]}: not among the given subjects, so it cannot be used for validation")
    if chosen and set(chosen) == set(there):
        raise InputError("all subjects are chosen for validation; leave some for training")


def check_microbleeds(bearing: Collection[str], chosen: Collection[str], to_judge: bool = True) -> None:
    """Check that training subjects and, if chosen, validation subjects have microbleeds.

    Parameters
    ----------
    bearing : subjects with visible microbleeds
    chosen : validation subjects; if none are chosen, two subjects with microbleeds are enough
    to_judge : whether the chosen subjects must have microbleeds

    Raises
    ------
    InputError
        If there are no such microbleeds.
    """
    if not chosen:
        check_subjects(len(bearing))
    elif not set(bearing) - set(chosen):
        raise InputError("only validation subjects have visible microbleeds; leave some for training")
    elif to_judge and not set(bearing) & set(chosen):
        raise InputError("no validation subject has visible microbleeds; choose some that have")


def check_twins(entries: Iterable[ScanEntry]) -> None:
    """Check that no two subjects have the same scan, which might be used for both training and testing.

    Raises
    ------
    InputError
        If there are two such scans; the message names both.
    """
    known: dict[str, ScanEntry] = {}
    for entry in entries:
        same = known.setdefault(entry.content, entry)
        if same.subject != entry.subject:
            raise InputError(f"{entry.scan}: is the same scan as {same.scan}, of another subject; keep one of them")


def check_separate(training: Iterable[ScanEntry], test: Iterable[ScanEntry]) -> None:
    """Check that no scan is used for both training and testing.

    Scans are compared by content, since subjects of two data sets may have the same name.

    Raises
    ------
    InputError
        If a scan is in both sets.
    """
    known = {entry.content: entry for entry in training}
    for entry in test:
        if same := known.get(entry.content):
            raise InputError(f"{entry.scan}: is {same.scan} of the training data; test with other subjects")


def split_grid(split: SplitCases, shape: Shape) -> SplitPlaces:
    """Cut all cases into adjacent patches."""
    return SplitPlaces(
        [place for case in split.training for place in grid_places(case, shape)],
        [place for case in split.validation for place in grid_places(case, shape)],
    )
