"""Cost of training: seconds per step and patches per second by width and precision, memory by number of scans.

    python Testing/benchmarks/training.py [--width 16 32 64] [--batch 8] [--size 48] [--cases 10 100]

A step is one of stage 1: patches are read and augmented, the network goes forward and back, Adam steps. Memory is the
peak of a process that draws two steps out of so many cases of 128 x 128 x 48 voxels.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# one thread unless told otherwise: cost is stated for a core
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("CMMDetect", "CMMDetectTrain")]

from CMMDetectLib.channels import CHANNELS  # noqa: E402
from CMMDetectLib.devices import Compute, choose_compute  # noqa: E402
from CMMDetectLib.networks import CandidateDetector  # noqa: E402
from CMMDetectLib.scan import Modality  # noqa: E402
from CMMDetectTrainLib.augmentation import Augmentation  # noqa: E402
from CMMDetectTrainLib.cases import Case, CaseArrays, read_shelf, write_shelf  # noqa: E402
from CMMDetectTrainLib.patches import Sampling, SplitPlaces, grid_places  # noqa: E402
from CMMDetectTrainLib.tasks import detector_task  # noqa: E402
from CMMDetectTrainLib.training import Schedule, Watch, fit  # noqa: E402

SHAPE = (128, 128, 48)
SOURCE = {"made for": "the benchmark"}


def write_cases(folder: Path, count: int) -> None:
    """Write cases of noise with one microbleed each."""
    image = np.random.default_rng(0).random((len(CHANNELS), *SHAPE), np.float32)
    labels = np.zeros(SHAPE, np.int16)
    labels[60:63, 60:63, 20:22] = 1
    for number in range(count):
        name = f"sub-{number:04d}_swi"
        arrays = CaseArrays(name, name, Modality.SWI, (1.0, 1.0, 3.0), image, labels, np.ones(SHAPE, bool))
        write_shelf(folder / name, [arrays], SOURCE)


def train(cases: list[Case], width: int, batch: int, size: int, steps: int, compute: Compute) -> np.ndarray:
    """Train stage 1 for some steps; give the seconds of each and the seconds of a core, (2, steps)."""
    places = [place for case in cases for place in grid_places(case, (size, size, size))]
    validation = [place for place in places if place.positive][:1]
    sampling = Sampling(Augmentation(factor=batch * steps), most=batch * steps)
    task = detector_task(CandidateDetector(width), SplitPlaces(places, validation), sampling)
    told = [(time.perf_counter(), time.process_time())]
    watch = Watch(progressed=lambda *_: told.append((time.perf_counter(), time.process_time())))
    with tempfile.TemporaryDirectory() as work:
        fit(task, Schedule(epochs=1, batch=batch), compute, Path(work), watch)
    return np.diff(np.array(told[: steps + 1]).T)


def print_speed(folder: Path, options: argparse.Namespace) -> None:
    """Print a row a width and precision."""
    cases = [case for path in sorted(folder.iterdir()) for case in read_shelf(path, SOURCE)]
    device = choose_compute().device
    fast = choose_compute().dtype is torch.bfloat16 or options.bfloat16
    print(
        f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, device {device}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"| width | precision | seconds a step of {options.batch} x {options.size}^3 | of a core | patches a second |"
    )
    print("|---|---|---|---|---|")
    for width in options.width:
        for dtype in (torch.float32, *([torch.bfloat16] if fast else [])):
            compute = Compute(device, dtype)
            # the first step finds out which kernels to use
            seconds = train(cases, width, options.batch, options.size, options.steps + 1, compute)[:, 1:]
            step, core = np.median(seconds, axis=1)
            print(f"| {width} | {str(dtype)[6:]} | {step:.2f} | {core:.2f} | {options.batch / step:.2f} |", flush=True)


def print_memory(folder: Path, options: argparse.Namespace) -> None:
    """Print the peak memory of a process for each number of cases."""
    print("| cases | on disk, MB | peak memory, MB |")
    print("|---|---|---|")
    for count in options.cases:
        write_cases(folder, count)
        command = [sys.executable, __file__, "--child", folder, "--cases", str(count)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        disk = sum(path.stat().st_size for path in folder.rglob("*.npy"))
        print(f"| {count} | {disk / 1e6:.0f} | {peak} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--bfloat16", action="store_true", help="also where the processor is slow at it")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        cases = [case for path in sorted(options.child.iterdir()) for case in read_shelf(path, SOURCE)]
        assert len(cases) == options.cases[0]
        train(cases, 4, 4, 24, 2, Compute(torch.device("cpu"), torch.float32))
        # what the system reports of a child begins with the parent's size; this is the process's own
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        print(int(line.split()[1]) // 1000)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.width:
            write_cases(folder / "speed", 2)
            print_speed(folder / "speed", options)
        print_memory(folder / "memory", options)


if __name__ == "__main__":
    main()
