"""Run the benchmarks and print one table per claim, and a summary: python benchmarks/run.py."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import bench_callback
import bench_convergence
import bench_preview
import bench_rate
import bench_training
import numpy
import sklearn
import skorch
import torch
from datasets import digits, fashion_mnist
from report import Claim, Report, summary

NAMES = ("rate", "callback", "preview", "training", "convergence")
RESULTS = Path(__file__).with_name("results.md")


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(1)
    # Raises if data is missing, before anything is measured.
    benchmarks = {name: _benchmark(name, arguments) for name in NAMES if name in arguments.only}
    parts = [_header(arguments.quick)]
    print(parts[0], end="\n\n", flush=True)
    claims: list[Claim] = []
    begun = perf_counter()
    for name, benchmark in benchmarks.items():
        _progress(f"{name} ...")
        start = perf_counter()
        report = benchmark()
        _progress(f"{name}: {perf_counter() - start:.0f} s")
        claims += report.claims
        parts.append(str(report))
        print(report, end="\n\n", flush=True)
    parts.append(summary(claims))
    parts.append(f"Measured in {perf_counter() - begun:.0f} s.")
    print("\n\n".join(parts[-2:]))
    if arguments.output is not None:
        arguments.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        _progress(f"written to {arguments.output}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds, and digits in place of Fashion-MNIST: shows that all runs, not how fast",
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {NAMES}"
    )
    parser.add_argument("--data-dir", type=Path, help="folder of Fashion-MNIST's .gz files")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file to write, by default {RESULTS.name} beside this script for a full run and "
        "none with --quick or --only",
    )
    arguments = parser.parse_args()
    if arguments.output is None and not arguments.quick and set(arguments.only) == set(NAMES):
        arguments.output = RESULTS
    return arguments


def _benchmark(name: str, arguments: argparse.Namespace) -> Callable[[], Report]:
    if name == "convergence":
        try:
            data = digits() if arguments.quick else fashion_mnist(arguments.data_dir)
        except FileNotFoundError as error:
            sys.exit(str(error))
        return partial(bench_convergence.measure, data, arguments.quick, progress=_progress)
    modules = {
        "rate": bench_rate,
        "callback": bench_callback,
        "preview": bench_preview,
        "training": bench_training,
    }
    return partial(modules[name].measure, arguments.quick)


def _header(quick: bool) -> str:
    versions = ", ".join(
        f"{module.__name__} {module.__version__}" for module in (torch, skorch, sklearn, numpy)
    )
    settings = "--quick: too few repeats for the figures to mean anything" if quick else "full"
    return (
        "# Benchmarks of sklr\n\n"
        f"Python {platform.python_version()}, {versions}; torch threads: "
        f"{torch.get_num_threads()}. Settings: {settings}. `benchmarks/README.md` says what is "
        "measured and how."
    )


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
