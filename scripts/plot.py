#!/usr/bin/env python3
"""Draws how cost grows: JSON lines with "chunks" or "files" and figures in seconds, into one SVG with a log-log panel each.

Usage: scripts/plot.py FIGURES.jsonl OUT.svg
"""
import json
import math
import sys

PANELS = [
    ("chunks in the store", "chunks", ["append_seconds", "rebuild_seconds", "gc_seconds", "open_seconds"]),
    ("files in the package", "files", ["put_seconds", "again_seconds", "get_seconds", "install_seconds", "update_seconds"]),
]
COLOURS = ["#1f6feb", "#bf3989", "#9a6700", "#1a7f37", "#57606a"]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LEGEND = 460, 340, 62, 34, 44, 128


def power(value):
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(d)] if d != "-" else "⁻" for d in str(value))


def panel(at, title, key, names, rows):
    rows = sorted((row for row in rows if key in row), key=lambda row: row[key])
    if not rows:
        return []
    values = [row[name] for row in rows for name in names if row.get(name)]
    x_low, x_high = (math.log10(rows[i][key]) for i in (0, -1))
    x_high = max(x_high, x_low + 1)
    y_low, y_high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    right = WIDTH - LEGEND

    def x(value):
        return at + LEFT + (math.log10(value) - x_low) / (x_high - x_low) * (right - LEFT)

    def y(value):
        return HEIGHT - BOTTOM - (math.log10(value) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<text x="{at + LEFT}" y="18" class="title">{title}: seconds</text>']
    for exponent in range(y_low, y_high + 1):
        level = y(10.0**exponent)
        out.append(f'<line x1="{at + LEFT}" x2="{at + right}" y1="{level:.1f}" y2="{level:.1f}" class="grid"/>')
        out.append(f'<text x="{at + LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{power(exponent)}</text>')
    for row in rows:
        exponent = math.log10(row[key])
        out.append(f'<line x1="{x(row[key]):.1f}" x2="{x(row[key]):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="grid"/>')
        label = power(round(exponent)) if abs(exponent - round(exponent)) < 1e-6 else str(row[key])
        out.append(f'<text x="{x(row[key]):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    ends = []
    for name, colour in zip(names, COLOURS):
        points = [(x(row[key]), y(row[name])) for row in rows if row.get(name)]
        if not points:
            continue
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points]
        ends.append([points[-1][1], name.removesuffix("_seconds"), colour])
    # Names at the ends of their lines, at least a line apart.
    ends.sort()
    for number in range(1, len(ends)):
        ends[number][0] = max(ends[number][0], ends[number - 1][0] + 15)
    out += [f'<text x="{at + right + 10}" y="{py + 4:.1f}" style="fill:{colour}">{name}</text>' for py, name, colour in ends]
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    body = [line for number, spec in enumerate(PANELS) for line in panel(number * WIDTH, *spec, rows)]
    style = "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold}.grid{stroke:#d0d7de}"
    size = f'width="{WIDTH * len(PANELS)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(PANELS)} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write("\n".join([head, *body, "</svg>"]) + "\n")


main()
