"""Write all measured results of the default model: each stage by both matching rules, and each group.

    python Testing/benchmarks/default_model/breakdown.py FILE COHORT=EXPERIMENT ...

EXPERIMENT is a folder that ``cmmdetect experiment generalization`` wrote, COHORT what its scans are called. FILE is
Markdown; README and model card have its most important figures.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures import NAMES
from rows import cell
from targets import read_evaluations

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import metrics
from CMMDetectTrainLib.metrics import Lesion, Rule, ScanRecord
from CMMDetectTrainLib.summary import SIZE_EDGES_MM, conspicuity_label

Measured = Mapping[Modality, Sequence[ScanRecord]]
METHOD = "paper"
RULES = {Rule.CENTER: "one to one", Rule.OVERLAP: "overlap"}
METRICS = {
    "tpr": ("TPR", 2),
    "fp_avg": ("false positives per scan", 1),
    "precision": ("precision", 2),
    "f1": ("F1", 2),
}
COUNTED: Mapping[str, Callable[[ScanRecord], ScanRecord]] = {
    "Microbleeds from 2 mm or 2 pixels on": metrics.counting_large,
    "All that the scan shows": lambda record: record,
}
LESION_GROUPS: Mapping[str, Callable[[Lesion], str | None]] = {
    "diameter": lambda lesion: metrics.binned(lesion.diameter_mm, SIZE_EDGES_MM, "mm"),
    "conspicuity": conspicuity_label,
    "region": lambda lesion: (lesion.region or "").replace("_", " ") or None,
}
FIRST_AND_LAST = (Stage.DETECTION, Stage.FINAL)
BURDENS, BURDEN_EDGES = ("none", "1 or 2", "3 to 10", "more than 10"), (1, 3, 11)
SCAN_GROUPS: Mapping[str, Callable[[ScanRecord], str]] = {
    "microbleeds in the scan": lambda record: burden(len(record.counted_lesions)),
    "slice thickness": lambda record: record.groups["slice thickness"],
    "field strength": lambda record: record.groups["field strength"],
    "protocol": lambda record: record.groups["protocol"],
}
HEADING = """# Measured in full

What [the model's card](README.md) sums up, of the same cohorts and with the same limits: simulated scans alone. In
brackets intervals of 95 % by subject. *One to one*: a candidate finds a microbleed whose center is within 3 mm or
within its radius, each at most one; *overlap*, as in the paper: it finds all with which it shares a voxel. Groups are
counted from 2 mm or 2 pixels on, one to one; how many microbleeds a scan has, from those of any size that it shows.
Where stage 3 rejects nothing, stage 2 is the final one. *Place and size* are those of the final candidates that share
voxels with one microbleed alone: how far the centers are apart, and the candidate's volume in parts of the true one;
median, and in brackets both quartiles. *Conspicuity*: how much a microbleed stands out from the ring of 2 mm around
it, in the slice that shows it best, in standard deviations (SD) of the ring. Made by
`python Testing/benchmarks/default_model/breakdown.py`.
"""


def burden(number: int) -> str:
    """Say how many microbleeds a scan has."""
    return BURDENS[np.searchsorted(BURDEN_EDGES, number, side="right")]


def sections(cohort: str, measured: Measured) -> Iterator[str]:
    """Give the Markdown blocks of one cohort."""
    subjects = {record.subject for records in measured.values() for record in records}
    yield f"## {cohort}: {len(subjects)} subjects"
    for title, counting in COUNTED.items():
        counted = {modality: [counting(record) for record in records] for modality, records in measured.items()}
        yield f"### {title}\n\n" + "\n".join(stage_table(counted))
    yield "### By group of microbleeds\n\n" + "\n".join(lesion_table(measured, LESION_GROUPS))
    yield "### Final stage, by group of scans\n\n" + "\n".join(scan_table(measured))
    yield "### Place and size\n\n" + "\n".join(outline_table(measured))


def stage_table(measured: Measured) -> Iterator[str]:
    """Give each stage under both rules, a row a modality."""
    yield from _head("contrast", "microbleeds", "stage", "matched", *(label for label, _ in METRICS.values()))
    for modality, records in measured.items():
        weights = metrics.bootstrap_weights([record.subject for record in records])
        number = sum(len(record.counted_lesions) for record in records)
        for rule, matched in RULES.items():
            for stage in _telling(records):
                found = metrics.estimates(metrics.stage_counts(records, rule, stage), weights)
                cells = (cell(found[name], decimals) for name, (_, decimals) in METRICS.items())
                yield _row(NAMES[modality], number, stage, matched, *cells)


def lesion_table(measured: Measured, groups: Iterable[str]) -> Iterator[str]:
    """Give TPR after stage 1 and in the end for groups of large lesions, one to one."""
    yield from _head("contrast", "by", "group", "microbleeds", "TPR after stage 1", "TPR")
    for modality, records in measured.items():
        large = [metrics.counting_large(record) for record in records]
        weights = metrics.bootstrap_weights([record.subject for record in records])
        scores = [
            [metrics.score_scan(item, Rule.CENTER, metrics.score_at(stage)) for item in large]
            for stage in FIRST_AND_LAST
        ]
        for kind in groups:
            first, last = (metrics.lesion_strata(large, found, LESION_GROUPS[kind], weights) for found in scores)
            for name, (number, tpr) in last.items():
                yield _row(NAMES[modality], kind, name, number, cell(first[name][1], 2), cell(tpr, 2))


def scan_table(measured: Measured) -> Iterator[str]:
    """Give the final stage for large lesions, one to one, in groups of scans."""
    yield from _head("contrast", "by", "group", "scans", "microbleeds", "TPR", "false positives per scan")
    for modality, records in measured.items():
        large = [metrics.counting_large(record) for record in records]
        for kind, group in SCAN_GROUPS.items():
            for name in metrics.natural_order({group(record) for record in records}):
                some = [item for item, record in zip(large, records, strict=True) if group(record) == name]
                counts = metrics.stage_counts(some, Rule.CENTER, Stage.FINAL)
                found = metrics.estimates(counts, metrics.bootstrap_weights([record.subject for record in some]))
                both = (cell(found["tpr"], 2), cell(found["fp_avg"], 1))
                yield _row(NAMES[modality], kind, name, len(some), int(np.sum(counts.lesions)), *both)


def outline_table(measured: Measured) -> Iterator[str]:
    """Give how well candidates agree in place and size with the microbleeds that they have found."""
    yield from _head("contrast", "microbleeds", "distance, mm", "volume, parts")
    for modality, records in measured.items():
        pairs = [pair for record in records for pair in _found(record)]
        away_mm = [math.dist((a.x, a.y, a.z), (b.x, b.y, b.z)) for a, b in pairs]
        part = [candidate.volume_mm3 / lesion.volume_mm3 for candidate, lesion in pairs]
        yield _row(NAMES[modality], len(pairs), *(_quartiles(values) for values in (away_mm, part)))


def _found(record: ScanRecord) -> Iterator[tuple[Candidate, Lesion]]:
    """Give the final candidates that share voxels with one microbleed alone, and that microbleed."""
    visible = {lesion.id: lesion for lesion in record.counted_lesions}
    for item in record.findings:
        if item.candidate.stage is Stage.FINAL and len(item.touches) == 1 and item.touches[0] in visible:
            yield item.candidate, visible[item.touches[0]]


def _quartiles(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.1f} ({low:.1f}-{high:.1f})"


def _telling(records: Sequence[ScanRecord]) -> list[Stage]:
    """Give the stages but for one after which no candidate is rejected."""
    left = {item.candidate.stage for record in records for item in record.findings}
    return [stage for stage in Stage if stage is not Stage.DISCRIMINATION or stage in left]


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + "---|" * len(names)


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def read_cohort(text: str) -> tuple[str, Measured]:
    """Read COHORT=EXPERIMENT; subjects of two cohorts may have the same name, so the cohort's goes before it."""
    cohort, _, folder = text.partition("=")
    found = read_evaluations(sorted((Path(folder) / "evaluations").iterdir()))
    return cohort, {
        modality: [replace(record, subject=f"{cohort}/{record.subject}") for record in found[METHOD, modality]]
        for modality in NAMES
    }


def together(cohorts: Iterable[Measured]) -> Measured:
    """Join the scans of several cohorts."""
    return {modality: [record for cohort in cohorts for record in cohort[modality]] for modality in NAMES}


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("experiments", nargs="+", metavar="COHORT=EXPERIMENT")
    options = parser.parse_args()
    cohorts = dict(read_cohort(text) for text in options.experiments)
    blocks = [HEADING.strip(), *(block for each in cohorts.items() for block in sections(*each))]
    if len(cohorts) > 1:
        table = lesion_table(together(cohorts.values()), ["conspicuity"])
        blocks += ["## All cohorts together", "\n".join(table)]
    options.file.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
