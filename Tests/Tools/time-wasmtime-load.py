#!/usr/bin/env python3
"""Prints how long wasmtime takes to load an artifact: the median of RUNS, in microseconds.

Usage: time-wasmtime-load.py MODULE.wasm RUNS        (PyPI package `wasmtime`)

The artifact is made first, by Cranelift, and stays in .build/bench for the next time. What is timed is
`Module.deserialize_file` alone; the module is dropped after each.
"""

import gc
import hashlib
import pathlib
import statistics
import sys
import time
from importlib.metadata import version

import wasmtime


def main():
    path, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    engine = wasmtime.Engine()
    key = hashlib.sha256(path.read_bytes() + version("wasmtime").encode()).hexdigest()[:16]
    artifact = pathlib.Path(".build/bench") / ("%s.library.%s.cwasm" % (path.stem, key))
    if not artifact.exists():
        artifact.parent.mkdir(parents=True, exist_ok=True)
        part = artifact.with_suffix(".part")
        part.write_bytes(wasmtime.Module.from_file(engine, str(path)).serialize())
        part.rename(artifact)
    times = []
    gc.disable()
    for _ in range(runs):
        start = time.perf_counter_ns()
        module = wasmtime.Module.deserialize_file(engine, str(artifact))
        times.append(time.perf_counter_ns() - start)
        module.close()
    print("%.2f" % (statistics.median(times) / 1000))


main()
