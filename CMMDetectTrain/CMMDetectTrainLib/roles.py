"""Roles of subjects: for training, for choosing thresholds (validation), or held back to compare models (test)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from CMMDetectLib.errors import InputError

from .evaluation_set import ScanEntry

LEAST_SUBJECTS = 2


@dataclass(frozen=True)
class Roles:
    """Subjects by role; `test` is empty if there are too few to hold any back."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, role: str, entries: Iterable[ScanEntry]) -> list[ScanEntry]:
        """Return the scans of the subjects with a role."""
        subjects = getattr(self, role)
        return [entry for entry in entries if entry.subject in subjects]


def assign_roles(
    microbleeds: Mapping[str, int],
    validation_share: float = 0.2,
    test_share: float = 0.2,
    tested_before: Collection[str] = (),
    learnt_before: Collection[str] = (),
) -> Roles:
    """Split subjects with microbleeds, and likewise those without, into the three roles.

    Whether a subject is held back depends on its name, not on chance, so that all models of a data set are compared on
    the same subjects. After subjects were added to the data set, others may be held back, but, if there are enough,
    none that an earlier model was trained on.

    Parameters
    ----------
    microbleeds : number of microbleeds of each subject
    validation_share, test_share : shares of the subjects; each holds at least one subject with microbleeds, if three
        subjects have any
    tested_before : subjects that earlier models were compared on; they are held back first
    learnt_before : subjects that earlier models were trained or validated on; they are held back last

    Raises
    ------
    InputError
        If fewer than two subjects have microbleeds.

    >>> roles = assign_roles({"a": 3, "b": 1, "c": 2, "d": 4, "e": 0})
    >>> len(roles.training), len(roles.validation), len(roles.test)
    (3, 1, 1)
    """

    def wanted_last(subject: str) -> tuple[bool, bool, str]:
        return subject in learnt_before, subject not in tested_before, _digest(subject)

    order = sorted(microbleeds, key=wanted_last)
    with_microbleeds = [subject for subject in order if microbleeds[subject]]
    without = [subject for subject in order if not microbleeds[subject]]
    if len(with_microbleeds) < LEAST_SUBJECTS:
        raise InputError(
            f"training needs cases of at least {LEAST_SUBJECTS} subjects with microbleeds, one of them to choose "
            f"thresholds by; here {len(with_microbleeds)} of {len(microbleeds)} have any: label more scans"
        )
    shares = (test_share, validation_share)
    least = (int(bool(test_share) and len(with_microbleeds) > LEAST_SUBJECTS), 1)
    test, validation, training = _cut(with_microbleeds, shares, least)
    more_test, more_validation, more_training = _cut(without, shares, (0, 0))
    return Roles(
        tuple(sorted(training + more_training)),
        tuple(sorted(validation + more_validation)),
        tuple(sorted(test + more_test)),
    )


def _cut(subjects: Sequence[str], shares: tuple[float, float], least: tuple[int, int]) -> tuple[list[str], ...]:
    """Cut a list into two parts of the given shares and the rest, which keeps at least one."""
    first = max(least[0], round(shares[0] * len(subjects)))
    first = min(first, max(0, len(subjects) - 2))
    second = min(max(least[1], round(shares[1] * len(subjects))), max(0, len(subjects) - first - 1))
    return list(subjects[:first]), list(subjects[first : first + second]), list(subjects[first + second :])


def _digest(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
