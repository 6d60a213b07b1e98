"""The demo's comparison and picture, with a stand-in for the simulation and for the detector."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import Modality, Scan, read_scan, to_world
from CMMDetectTrainLib import demo
from CMMDetectTrainLib.simulation.modulation import LEAN
from CMMDetectTrainLib.simulation.protocols import Protocol
from CMMDetectTrainLib.simulation.simulate import SimulatedScan, simulate_scan

SMALL = Protocol("small", spacing_mm=(2.0, 2.0, 4.0), shape=(96, 112, 30), tilt_deg=10.0, qsm_method="true")


@pytest.fixture(scope="module")
def simulated() -> SimulatedScan:
    return simulate_scan(SMALL, seed=4, lesions=6, detail=LEAN)


def test_the_demo_says_what_was_found_missed_and_invented(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "simulate_scan", lambda *_: simulated)
    lesions = [r for r in simulated.truth[Modality.SWI].records if r.kind == "microbleed" and r.visible]
    assert len(lesions) >= 3

    def detect(scan: Scan) -> list[Candidate]:
        np.testing.assert_array_equal(scan.array, simulated.images[Modality.SWI])
        near = [Candidate(id=f"c{n}", x=r.x + 1.5, y=r.y, z=r.z, stage=Stage.FINAL) for n, r in enumerate(lesions[1:])]
        far = Candidate(id="far", x=0.0, y=0.0, z=500.0, stage=Stage.FINAL)
        rejected = Candidate(id="early", x=lesions[0].x, y=lesions[0].y, z=lesions[0].z, stage=Stage.DETECTION)
        return [*near, far, rejected]

    messages: list[tuple[float, str]] = []
    result = demo.run_demo(tmp_path / "demo", detect, progress=lambda part, text: messages.append((part, text)))
    assert (result.lesions, result.found, result.false_positives) == (len(lesions), len(lesions) - 1, 1)
    with result.table.open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    outcomes = {row["microbleed"]: row["outcome"] for row in rows}
    assert outcomes[lesions[0].id] == "missed"
    assert outcomes[lesions[1].id] == "found"
    assert [row["candidate"] for row in rows if row["outcome"] == "false positive"] == ["far"]
    assert result.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert read_scan(result.scan).array.shape == SMALL.shape
    assert messages[-1][0] == 1.0


def test_the_picture_shows_the_slices_of_false_positives_too(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "simulate_scan", lambda *_: simulated)
    drawn: list[int] = []
    monkeypatch.setattr(demo, "_draw_slice", lambda *given: drawn.append(given[-1]))
    for k in (1, SMALL.shape[2] - 2):
        x, y, z = to_world(simulated.scan(Modality.SWI).affine, np.array([40.0, 50.0, k]))
        demo.run_demo(tmp_path, lambda _, x=x, y=y, z=z: [Candidate(id="far", x=x, y=y, z=z, stage=Stage.FINAL)])
        assert k in drawn
        drawn.clear()


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        demo.run_demo(tmp_path / "file" / "demo", lambda _: [])


def test_a_negative_seed_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed -1: must not be negative"):
        demo.run_demo(tmp_path / "demo", lambda _: [], seed=-1)
    assert not (tmp_path / "demo").exists()
