#!/usr/bin/env python3
"""Writes what modules do in wasmtime, for the differential test, which does the same and compares.

Usage: observe-wasmtime.py MODULE.wasm...        (PyPI package `wasmtime`)

For each module a file MODULE.observed is written, one observation a line:

    round 0                          a new instance
    instantiate: trap unreachable
    call 2: i32:7 f64:nan            the exports are numbered in the order of their names' bytes
    call 3: trap integerOverflow
    global 4: i64:-1
    memory 5: 65536 cbf29ce484222325     size in bytes, and FNV-1a over 64-bit words
    table 6: 10

In round 0 the exported functions are called one after the other; in each further round one of them, in its turn, is called
in an instance of its own. The arguments depend on the round and the position. All NaNs are one: which of them an operation gives is up to the engine. `call_indirect` beyond the end of a table is
"tableOutOfBounds" here.
"""

import struct
import sys

import wasmtime

TRAPS = {
    "STACK_OVERFLOW": "stackOverflow",
    "MEMORY_OUT_OF_BOUNDS": "memoryOutOfBounds",
    "TABLE_OUT_OF_BOUNDS": "tableOutOfBounds",
    "INDIRECT_CALL_TO_NULL": "uninitializedElement",
    "BAD_SIGNATURE": "indirectCallTypeMismatch",
    "INTEGER_OVERFLOW": "integerOverflow",
    "INTEGER_DIVISION_BY_ZERO": "integerDivideByZero",
    "BAD_CONVERSION_TO_INTEGER": "invalidConversionToInteger",
    "UNREACHABLE": "unreachable",
}
INTEGERS = [0, 1, -1, 7, 255, 65536, -2147483648, 2147483647]
FLOATS = [0.0, 1.5, -1.0, 1e10, -0.0, float("inf"), 3e-40, float("nan")]


def argument(kind, round_number, position):
    index = (round_number * 3 + position) % 8
    if kind in ("i32", "i64"):
        return INTEGERS[index]
    if kind in ("f32", "f64"):
        return FLOATS[index]
    return None


def show(kind, value):
    if kind == "anyref":  # What the package calls an externref.
        kind = "externref"
    if isinstance(value, wasmtime.Val):  # How a global's null comes.
        value = value.value
    if kind == "f32":
        return "f32:nan" if value != value else "f32:%08x" % struct.unpack("<I", struct.pack("<f", value))
    if kind == "f64":
        return "f64:nan" if value != value else "f64:%016x" % struct.unpack("<Q", struct.pack("<d", value))
    if kind in ("i32", "i64"):
        bits = int(kind[1:])
        value &= (1 << bits) - 1
        return "%s:%d" % (kind, value - (1 << bits) if value >> (bits - 1) else value)
    return "%s:%s" % (kind, "null" if value is None else "some")


def digest(data):
    value = 0xCBF29CE484222325
    for (word,) in struct.iter_unpack("<Q", data):
        value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value


def trap_name(error):
    if isinstance(error, wasmtime.Trap) and error.trap_code is not None:
        return TRAPS.get(error.trap_code.name, error.trap_code.name)
    return str(error).splitlines()[0]


def observe(engine, path):
    module = wasmtime.Module.from_file(engine, path)
    names = sorted((export.name.encode(), export.name, export.type) for export in module.exports)
    functions = [i for i, (_, _, kind) in enumerate(names) if isinstance(kind, wasmtime.FuncType)]
    lines = []
    for round_number, calls in enumerate([functions] + [[number] for number in functions]):
        lines.append("round %d" % round_number)
        store = wasmtime.Store(engine)
        try:
            instance = wasmtime.Instance(store, module, [])
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            lines.append("instantiate: trap " + trap_name(error))
            continue
        exports = instance.exports(store)
        for number in calls:
            lines.append("call %d: %s" % (number, call(store, exports[names[number][1]], round_number)))
        for number, (_, name, _) in enumerate(names):
            item = exports[name]
            if isinstance(item, wasmtime.Global):
                lines.append("global %d: %s" % (number, show(str(item.type(store).content), item.value(store))))
            elif isinstance(item, wasmtime.Memory):
                size = item.data_len(store)
                lines.append("memory %d: %d %s" % (number, size, digest(bytes(item.read(store, 0, size)))))
            elif isinstance(item, wasmtime.Table):
                lines.append("table %d: %d" % (number, item.size(store)))
    return lines


def call(store, function, round_number):
    kind = function.type(store)
    arguments = [argument(str(p), round_number, i) for i, p in enumerate(kind.params)]
    try:
        results = function(store, *arguments)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        return "trap " + trap_name(error)
    if len(kind.results) < 2:
        results = [results] * len(kind.results)
    return " ".join(show(str(k), v) for k, v in zip(kind.results, results))


def main():
    config = wasmtime.Config()
    config.max_wasm_stack = 2 << 20
    engine = wasmtime.Engine(config)
    for path in sys.argv[1:]:
        with open(path[: -len(".wasm")] + ".observed", "w", newline="\n") as file:
            file.write("\n".join(observe(engine, path)) + "\n")


main()
