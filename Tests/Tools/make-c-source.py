#!/usr/bin/env python3
"""Writes a C program of some hundred kilobytes that a compiler has to work on.

Usage: make-c-source.py OUT.c [FUNCTIONS]

The program stands for no real one. It has what keeps an optimising compiler busy: loops over
arrays, switches, structures, shifts and divisions, calls that can be inlined, and tables. It
includes no header. The same arguments always give the same bytes (the numbers come from a
generator of our own, since Python promises nothing about `random` between versions).
"""

import sys

STATE = 0x2545F491


def pick(n):
    """The next number of a xorshift generator, reduced to 0..<n."""
    global STATE
    STATE ^= (STATE << 13) & 0xFFFFFFFF
    STATE ^= STATE >> 17
    STATE ^= (STATE << 5) & 0xFFFFFFFF
    return (STATE >> 3) % n


def expression(depth, names):
    if depth == 0 or pick(8) == 0:
        return names[pick(len(names))] if pick(3) else "%uu" % pick(60000)
    a, b = expression(depth - 1, names), expression(depth - 1, names)
    form = pick(10)
    if form < 6:
        return "(%s %s %s)" % (a, "+-*&|^"[form], b)
    if form == 6:
        return "(%s << %d)" % (a, 1 + pick(7))
    if form == 7:
        return "(%s >> %d)" % (a, 1 + pick(11))
    if form == 8:
        return "(%s / %du)" % (a, 3 + pick(90))
    return "(%s < %s ? %s : %s)" % (a, b, b, names[pick(len(names))])


def function(out, number):
    names = ["a", "b", "x", "y"]
    out.append("%su16 f%d(u16 a, u16 b, struct node *n)" % ("static " if pick(2) else "", number))
    out.append("{")
    out.append("  u16 x = a + %du, y = b ^ %du, i;" % (pick(1000), pick(1000)))
    for _ in range(2 + pick(3)):
        kind = pick(6)
        if kind == 0:
            out.append("  for (i = 0; i < %d; i++) {" % (8 + pick(56)))
            out.append("    x += table%d[(i + y) & 63] * %s;" % (pick(16), names[pick(4)]))
            out.append("    y ^= %s;" % expression(2, names + ["i"]))
            out.append("  }")
        elif kind == 1:
            out.append("  switch (%s & 7) {" % expression(1, names))
            for case in range(4 + pick(4)):
                out.append("  case %d: x = %s; break;" % (case, expression(2, names)))
            out.append("  default: y += n->count;")
            out.append("  }")
        elif kind == 2:
            out.append("  if (%s > %s) {" % (expression(2, names), expression(1, names)))
            out.append("    n->value[%d] = %s;" % (pick(8), expression(3, names)))
            out.append("  } else {")
            out.append("    x = %s;" % expression(2, names))
            out.append("  }")
        elif kind == 3 and number > 4:
            out.append("  y += f%d(%s, x, n);" % (number - 1 - pick(min(number, 40) - 1), expression(1, names)))
        elif kind == 4:
            out.append("  while (n && n->count < (x & 255)) {")
            out.append("    n->sum += (u32)x * %s;" % expression(2, names))
            out.append("    n->count++;")
            out.append("    if (n->next) n = n->next; else break;")
            out.append("  }")
        else:
            out.append("  n->sum = n->sum * %duL + (%s);" % (3 + pick(1000), expression(3, names)))
    out.append("  return x ^ y;")
    out.append("}")
    out.append("")


def main():
    path = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 520
    out = [
        "typedef unsigned short u16;",
        "typedef unsigned long u32;",
        "struct node { struct node *next; u16 count; u16 value[8]; u32 sum; };",
    ]
    for table in range(16):
        out.append("static const u16 table%d[64] = {" % table)
        for _ in range(8):
            out.append("  " + ", ".join(str(pick(65536)) for _ in range(8)) + ",")
        out.append("};")
    out.append("")
    for number in range(count):
        function(out, number)
    out.append("u16 (*const all[])(u16, u16, struct node *) = {")
    for number in range(0, count, 8):
        out.append("  " + " ".join("f%d," % n for n in range(number, min(number + 8, count))))
    out.append("};")
    with open(path, "w", newline="\n") as file:
        file.write("\n".join(out) + "\n")


main()
