"""Draws CPU and memory by the number of contacts, as an SVG, on logarithmic scales."""

from __future__ import annotations

import math
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 260, 56, 34, 40
_COLOURS = {"export": "#2b6cb0", "sync": "#c05621"}
_TITLES = {"cpu": "CPU seconds", "megabytes": "Memory at most, MB"}


def plot(points: list[dict[str, Any]]) -> str:
    """Return the picture.

    :param points: what was run, on how many contacts, and what it took.
    """
    panels = [_panel(points, name, index * _WIDTH) for index, name in enumerate(_TITLES)]
    size = f'width="{2 * _WIDTH}" height="{_HEIGHT}" viewBox="0 0 {2 * _WIDTH} {_HEIGHT}"'
    style = "<style>text{font:12px sans-serif;fill:#555}.title{font-weight:bold}</style>"
    label = "CPU seconds and memory of an export and of a sync, by the number of contacts"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">\n{style}\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(points: list[dict[str, Any]], name: str, offset: int) -> str:
    counts = sorted({point["count"] for point in points})
    low, high = math.log10(counts[0]), math.log10(counts[-1])
    most = max(point[name] for point in points)
    is_log = name == "cpu"
    least = math.floor(math.log10(max(0.01, min(point[name] for point in points)))) if is_log else 0
    top = math.ceil(math.log10(most)) if is_log else most * 1.1

    def x(count: float) -> float:
        return offset + _LEFT + (math.log10(count) - low) / ((high - low) or 1) * (_WIDTH - _LEFT - 40)

    def y(value: float) -> float:
        share = ((math.log10(max(value, 0.01)) if is_log else value) - least) / ((top - least) or 1)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    drawn = [f'<text class="title" x="{offset + _LEFT}" y="18">{_TITLES[name]}</text>']
    marks = (
        [10.0**power for power in range(least, int(top) + 1)]
        if is_log
        else [top * step / 4 for step in range(5)]
    )
    for mark in marks:
        text = f"{mark:g}" if is_log else f"{mark:.0f}"
        left, right, at = offset + _LEFT, offset + _WIDTH - 40, y(mark)
        drawn += [
            f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>',
        ]
    drawn += [
        f'<text x="{x(count):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{count:,}</text>'
        for count in counts
    ]
    for what, colour in _COLOURS.items():
        line = sorted((point["count"], point[name]) for point in points if point["what"] == what)
        if not line:
            continue
        path = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [
            f'<circle cx="{x(count):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
            for count, value in line
        ]
        count, value = line[-1]
        place = f'x="{x(count) - 8:.1f}" y="{y(value) - 8:.1f}" text-anchor="end"'
        drawn.append(f'<text {place} style="fill:{colour}">{what}</text>')
    return "\n".join(drawn)
