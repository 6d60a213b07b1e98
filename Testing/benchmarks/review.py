"""Times that a reader waits in a review: saving a verdict, redrawing, going to the next candidate.

    python Testing/benchmarks/review.py [--candidates 300 5000]

Prints one table. Saving runs without Slicer; the rows of the scene need slicer-core and are left out without it.
"Drawn" rows include the drawing of three views of 500 x 500 pixels, without a graphics card.
"""

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("CMMDetect", "Testing")]

from CMMDetectLib.candidates import Candidate, Stage  # noqa: E402
from CMMDetectLib.review import ReviewSession  # noqa: E402
from CMMDetectLib.review_file import open_review, start_review, to_text  # noqa: E402
from CMMDetectLib.review_records import Verdict  # noqa: E402
from CMMDetectLib.review_state import ScanIdentity, ShownFilter  # noqa: E402

SCAN = ScanIdentity("sub-01_swi")
REPEATS = 20


def make_session(count: int) -> ReviewSession:
    """As many candidates as asked for, a third in each stage, all fields filled."""
    rng = np.random.default_rng(1)
    stages = list(Stage)
    candidates = [
        Candidate(
            id=f"cmb-{number:04d}",
            **dict(zip("xyz", rng.uniform(-70, 70, 3).tolist(), strict=True)),
            stage=stages[number % 3],
            rejected_by=(None, "volume", "discrimination")[number % 3],
            p_detection=float(rng.random()),
            p_discrimination=float(rng.random()),
            volume_mm3=float(rng.uniform(2, 200)),
            diameter_mm=float(rng.uniform(2, 8)),
            ellipticity=float(rng.random()),
            skull_distance_mm=float(rng.uniform(1, 40)),
            note="beside the ventricle, seen on phase too",
        )
        for number in range(1, count + 1)
    ]
    return ReviewSession(SCAN, candidates)


def median_ms(action, repeats: int = REPEATS) -> float:
    """Median time of an action that is told how often it ran before."""
    times = []
    for number in range(repeats):
        start = time.perf_counter()
        action(number)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def alternate(session: ReviewSession):
    """Give an action that changes the verdict of one candidate after the other."""
    ids = [item.id for item in session.candidates]

    def judge(number: int) -> None:
        session.judge(ids[number % len(ids)], (Verdict.ACCEPTED, Verdict.REJECTED)[number // len(ids) % 2])

    return judge


def time_session(count: int, folder: Path) -> dict[str, float]:
    """Times of a session without a scene."""
    session = make_session(count)
    path = folder / f"{count}_review.json"
    rows = {"verdict, in memory": median_ms(alternate(make_session(count)))}
    start_review(path, session)
    rows["verdict, saved to the file"] = median_ms(alternate(session))
    rows["next undecided"] = median_ms(lambda _: session.next_undecided("cmb-0001"))
    rows["points nearby"] = median_ms(lambda _: session.nearby((0.0, 0.0, 0.0)))
    rows["open the file"] = median_ms(lambda _: open_review(path, SCAN), 3)
    sys.stdout.write(f"{count} candidates: the file has {path.stat().st_size / 1e3:.0f} kB\n")
    return rows


def show_volume():
    """Put a scan into an empty scene; give its volume and a function that draws three views."""
    from slicer_host.boot import empty_scene
    from slicer_host.views import layout_manager

    empty_scene()
    import slicer.util

    array = np.random.default_rng(2).normal(200, 20, (60, 200, 200)).astype(np.float32)
    volume = slicer.util.addVolumeFromArray(array, np.diag([-0.8, -0.8, 2.5, 1.0]), "sub-01_swi")
    views = [layout_manager().sliceWidget(name).sliceView().view for name in ("Red", "Green", "Yellow")]
    for view in views:
        view.resize(500, 500)
        view.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())

    def draw() -> None:
        for view in views:
            view.render()

    draw()
    return volume, draw


def time_scene(count: int, folder: Path) -> dict[str, float]:
    """Times of a session that is shown in a scene."""
    volume, draw = show_volume()
    from CMMDetectLib.scene import ReviewScene
    from CMMDetectLib.scene_views import jump_to

    def row_change(number: int) -> None:
        jump_to((-80.0 + number, -80.0, 70.0))
        draw()

    session = make_session(count)
    order = [item.id for item in session.candidates]
    judge = alternate(session)
    rows = {"jump without candidates, drawn": median_ms(row_change)}
    start = time.perf_counter()
    shown = ReviewScene(session, volume)
    rows["show the session"] = 1e3 * (time.perf_counter() - start)
    start_review(folder / f"scene-{count}_review.json", session)
    filters = [ShownFilter({Stage.FINAL}, 0.5), ShownFilter()]
    draw()
    rows["next candidate, drawn"] = median_ms(lambda n: session.next(order[n], order) and row_change(n))
    rows["verdict, in the scene and saved"] = median_ms(judge)
    rows["verdict, the same and drawn"] = median_ms(lambda n: judge(n + REPEATS) or draw())
    rows["threshold or stage changed"] = median_ms(lambda n: shown.show(filters[n % 2]), 6)
    rows["hide all marks, drawn"] = median_ms(lambda n: shown.show_markings(n % 2 == 1) or draw(), 6)
    rows["text of the session"] = median_ms(lambda _: to_text(session))
    shown.detach()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[300, 5000])
    counts = parser.parse_args().candidates
    columns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            rows = time_session(count, Path(name))
            if find_spec("slicer_core"):
                rows |= time_scene(count, Path(name))
            columns.append(rows)
    print(f"{'median, ms':32}" + "".join(f"{count:>10}" for count in counts))
    for row in columns[0]:
        print(f"{row:32}" + "".join(f"{rows[row]:>10.2f}" for rows in columns))


if __name__ == "__main__":
    main()
