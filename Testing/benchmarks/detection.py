"""Time and memory of ``cmmdetect detect``, from the start of the process to the written files.

    python Testing/benchmarks/detection.py [--case NAME ...] [--width 64] [--method paper classical]

Prints one table, a row a step with its share. The scans are analytic heads. The networks have random weights of the
given width but for one path that passes the image on, so that there are candidates; their cost is that of any weights.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("CMMDetect", "CMMDetectTrain", "Testing/library")]

from CMMDetectLib.bundle import write_bundle  # noqa: E402
from CMMDetectLib.devices import choose_compute  # noqa: E402
from CMMDetectLib.networks import Student  # noqa: E402
from head_phantom import head  # noqa: E402
from known_networks import thresholding_detector, untrained_description  # noqa: E402

CASES = {
    "256x288x48": ((256, 288, 48), (0.8, 0.8, 3.0), "at most 20 s, 4 GB"),
    "512x512x160": ((512, 512, 160), (0.45, 0.45, 1.0), "at most 150 s, 8 GB"),
}


def write_scan(folder: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Path:
    """Write an analytic head, padded or cut to the shape."""
    half = shape[2] * spacing_mm[2] / 2
    signal = head("swi", spacing_mm, z_range_mm=(-half, half)).signal
    array = np.zeros(shape, np.float32)
    common = tuple(slice(0, min(a, b)) for a, b in zip(shape, signal.shape, strict=True))
    array[common] = signal[common]
    path = folder / "bench_swi.nii.gz"
    nib.save(nib.Nifti1Image((1000 * array).astype(np.int16), np.diag([*spacing_mm, 1.0])), path)
    return path


def write_model(folder: Path, width: int) -> Path:
    """Write a bundle of untrained networks."""
    torch.manual_seed(0)
    description = untrained_description("benchmark", width, th_detection=0.5)
    networks = {"detector": thresholding_detector(width, level=0.7), "student": Student(width)}
    return write_bundle(folder / "model", description, networks).folder


def measure(scan: Path, options: list[str], folder: Path) -> dict[str, object]:
    """Run the command once; give its wall time, peak memory and the time of each step."""
    command = [sys.executable, "-m", "CMMDetectTrainLib.cli", "detect", str(scan), "-o", str(folder), *options]
    environment = {"PYTHONPATH": f"{ROOT / 'CMMDetect'}:{ROOT / 'CMMDetectTrain'}", "PATH": "/usr/bin:/bin"}
    start = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    provenance = json.loads((folder / "bench_swi_candidates.json").read_text())["provenance"]
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss / 1e6,
        "steps": provenance["seconds"],
        "candidates": provenance["candidates_of_stage_1"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--method", nargs="+", choices=("paper", "classical"), default=["paper", "classical"])
    options = parser.parse_args()
    compute = choose_compute("auto")
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, auto: {compute.describe()}")
    print(f"| case | method | {'step':22} | seconds | share |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, options.width)
        for case in options.case:
            shape, spacing, target = CASES[case]
            scan = write_scan(folder, shape, spacing)
            for method in options.method:
                more = ["--model", str(model)] if method == "paper" else []
                found = measure(scan, ["--method", method, *more], folder)
                steps = {**found["steps"], "start, writing": found["wall"] - sum(found["steps"].values())}
                for step, seconds in steps.items():
                    print(f"| {case} | {method} | {step:22} | {seconds:7.2f} | {seconds / found['wall']:5.0%} |")
                print(
                    f"| {case} | {method} | all ({found['candidates']} candidates) | {found['wall']:7.2f} | "
                    f"{found['cpu']:.1f} s of CPU, peak {found['peak']:.2f} GB; {target} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
