"""How fast the review is with many candidates.

    python Testing/benchmarks/panel.py [COUNT]

A row change brings the three slice views to another place and draws them; a verdict changes session, table and scene
and is saved to its file. Both run in the test host.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "CMMDetect")]

import numpy as np  # noqa: E402 - the paths come first

import slicer_host  # noqa: E402 - the same

slicer_host.start()

import slicer  # noqa: E402 - the host has to be running

from CMMDetectLib.candidates import Candidate, Stage  # noqa: E402 - the same
from CMMDetectLib.scan import Modality  # noqa: E402 - the same

SHAPE = (512, 512, 160)
SPACING_MM = (0.45, 0.45, 1.0)
ROUNDS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=300, help="candidates (default: 300)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        panel = open_review(count, Path(folder))
        slicer.util.mainWindow().show()
        rows = [panel.review.listed[index] for index in np.linspace(0, count - 1, ROUNDS).astype(int)]
        choose = [timed(lambda name=name: change_row(panel, name)) for name in rows]
        judge = []
        for name in rows:
            panel.review._table._select(name)
            judge.append(timed(lambda name=name: panel.keeper.session.judge(name, "rejected")))
        report("row change, three views drawn", choose, 100)
        report("verdict, shown and saved", judge, 20)
        slicer_host.unload_module(panel)


def open_review(count: int, folder: Path):
    rng = np.random.default_rng(0)
    voxels = rng.normal(500, 30, SHAPE[::-1]).astype(np.float32)
    affine = np.diag([*SPACING_MM, 1.0])
    volume = slicer.util.addVolumeFromArray(voxels, affine, "benchmark_swi")
    panel = slicer_host.load_module(ROOT / "CMMDetect" / "CMMDetect.py")
    panel.parameters().resultsFolder = str(folder)
    places = rng.uniform(0.2, 0.8, (count, 3)) * np.multiply(SHAPE, SPACING_MM)
    candidates = [
        Candidate(id=f"cmb-{n:04d}", x=x, y=y, z=z, stage=Stage.FINAL, p_detection=p, p_discrimination=p)
        for n, (x, y, z, p) in enumerate(np.column_stack([places, rng.uniform(size=count)]).tolist(), 1)
    ]
    panel.keeper.start(volume, Modality.SWI, folder, "", candidates)
    return panel


def change_row(panel, name: str) -> None:
    panel.review.choose(name)
    slicer.app.processEvents()
    for view in slicer.app.layoutManager().sliceViewNames():
        slicer.app.layoutManager().sliceWidget(view).view.render()


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def report(what: str, times_ms: list[float], goal_ms: float) -> None:
    median, worst = np.median(times_ms), np.max(times_ms)
    print(f"{what}: median {median:.1f} ms, slowest {worst:.1f} ms (goal {goal_ms:g} ms)")


if __name__ == "__main__":
    main()
