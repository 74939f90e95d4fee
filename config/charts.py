"""Charts as SVG text, drawn on the server; no Django, no clock, no script.

Colours come from CSS classes (`chart-ok`, `chart-bad`, …) because the page's CSP forbids inline
style, so every size and position is an SVG attribute. Each chart carries `role="img"` with a
`<title>` and a `<desc>`: a screen reader hears the figures that a sighted person sees.
"""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import TypedDict

KINDS = frozenset({"ok", "warn", "bad", "idle", "busy", "accent"})
# Pixels above the highest gridline, and below the base line where the axis labels stand.
HEADROOM = 8.0
AXIS = 20


class Series(TypedDict):
    """One layer of a bar chart: its name, its colour word (see `KINDS`) and one figure a bar."""

    name: str
    kind: str
    values: Sequence[float | None]


def _figure(value: float) -> str:
    """A coordinate or a count without a trailing `.0`, at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _amount(value: float) -> str:
    """A count for people: 1,234 or 0.5."""
    return f"{int(value):,}" if value == int(value) else f"{value:,.2f}".rstrip("0")


def _at(values: Sequence[float | None], index: int) -> float:
    """The value there, 0 where there is none or less than none."""
    return max(0.0, float(values[index] or 0)) if index < len(values) else 0.0


def _kind(kind: str) -> str:
    return kind if kind in KINDS else "accent"


def nice_ceiling(value: float) -> float:
    """The smallest 1, 2, 4, 5 or 8 × 10ⁿ that is not below `value` (so half of it is round too); 1
    for nothing.
    """
    if value <= 0:
        return 1
    power: float = 10 ** floor(log10(value))
    for step in (1, 2, 4, 5, 8, 10):
        if step * power >= value:
            return max(1, step * power)
    return 10 * power


def sparkline(
    values: Sequence[float | None],
    *,
    label: str = "Trend",
    width: int = 96,
    height: int = 24,
    kind: str = "accent",
) -> str:
    """A small line of `values`, oldest first, over a faint area; user units are pixels.

    None counts as 0, no values give a flat base line, and the scale starts at 0 so that a quiet
    hour looks quiet.
    """
    points = [max(0.0, float(value or 0)) for value in values]
    described = ", ".join(_amount(value) for value in points) or "no data"
    top = max(points, default=0) or 1
    base = height - 1.5
    span = height - 4
    step = (width - 3) / max(1, len(points) - 1)
    drawn = [(1.5 + i * step, base - span * value / top) for i, value in enumerate(points)]
    if len(drawn) < 2:
        y = drawn[0][1] if drawn else base
        drawn = [(1.5, y), (width - 1.5, y)]
    line = " ".join(f"{_figure(x)},{_figure(y)}" for x, y in drawn)
    area = f"{_figure(drawn[0][0])},{_figure(base)} {line} {_figure(drawn[-1][0])},{_figure(base)}"
    end_x, end_y = drawn[-1]
    return (
        f'<svg class="sparkline chart-{_kind(kind)}" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">'
        f"<title>{escape(label)}</title><desc>{escape(described)}</desc>"
        f'<polygon class="sparkline-area" points="{area}"/>'
        f'<polyline class="sparkline-line" points="{line}"/>'
        f'<circle class="sparkline-end" cx="{_figure(end_x)}" cy="{_figure(end_y)}" r="1.5"/></svg>'
    )


def bar_chart(
    series: Sequence[Series],
    *,
    labels: Sequence[str] = (),
    title: str = "Chart",
    height: int = 160,
) -> str:
    """Stacked bars on a zero-based scale with two gridlines, and a legend when there is more than
    one series.

    `series` are stacked in the given order, the first at the bottom; shorter ones are filled with
    0. `labels` name the bars; only as many as fit are printed on the axis, and all stand in each
    bar's own `<title>` (shown on hover). Widths are percentages and heights pixels, so the chart
    fills its column at any width and its text stays crisp.
    """
    bars = max((len(one["values"]) for one in series), default=0)
    columns = [[_at(one["values"], i) for one in series] for i in range(bars)]
    top = nice_ceiling(max((sum(column) for column in columns), default=0))
    base = height - AXIS
    slot = 100 / max(1, bars)
    drawn = [
        _bar(series, column, labels[i] if i < len(labels) else f"{i + 1}", i * slot, slot, base, top)
        for i, column in enumerate(columns)
    ]
    return _figure_of(
        series, _described(series), "".join(drawn), labels, title=title, height=height, top=top, slot=slot
    )


def _figure_of(
    series: Sequence[Series],
    described: str,
    drawn: str,
    labels: Sequence[str],
    *,
    title: str,
    height: int,
    top: float,
    slot: float,
) -> str:
    """What is drawn, with its legend, gridlines and axes."""
    base = height - AXIS
    lines = "".join(
        f'<line class="{name}" x1="0" x2="100%" y1="{_figure(y)}" y2="{_figure(y)}"/>'
        for name, y in (
            ("chart-grid", HEADROOM),
            ("chart-grid", (HEADROOM + base) / 2),
            ("chart-base", base),
        )
    )
    half = _amount(top / 2) if top / 2 == int(top / 2) else ""
    places = max((len(one["values"]) for one in series), default=0)
    return (
        f'<figure class="chart">{_legend(series)}<div class="chart-plot">'
        f'<div class="chart-scale" aria-hidden="true">'
        f"<span>{_amount(top)}</span><span>{half}</span><span>0</span></div>"
        f'<svg class="bars" role="img" width="100%" height="{height}">'
        f"<title>{escape(title)}</title><desc>{escape(described)}</desc>"
        f"{lines}{drawn}{_axis(labels, places, slot, height - 4)}</svg></div></figure>"
    )


def line_chart(
    series: Sequence[Series],
    *,
    labels: Sequence[str] = (),
    title: str = "Chart",
    height: int = 160,
    unit: str = "",
) -> str:
    """Lines on a zero-based scale, for figures that cannot be added up: percentiles, ages.

    A None breaks its line, and a figure without neighbours is a dot. Otherwise like `bar_chart`.
    """
    places = max((len(one["values"]) for one in series), default=0)
    known = [float(value) for one in series for value in one["values"] if value is not None]
    top = nice_ceiling(max(known, default=0))
    base = height - AXIS
    slot = 100 / max(1, places)
    hits = "".join(
        _hit(series, labels[i] if i < len(labels) else f"{i + 1}", i, slot, base, unit) for i in range(places)
    )
    drawn = "".join(_line(one, slot, base, top) for one in series)
    return _figure_of(
        series, _worst(series, unit), f"{hits}{drawn}", labels, title=title, height=height, top=top, slot=slot
    )


def _hit(series: Sequence[Series], label: str, i: int, slot: float, base: float, unit: str) -> str:
    """A transparent area over one place, whose title says the figures there."""
    values = [(one["name"], one["values"][i] if i < len(one["values"]) else None) for one in series]
    said = "; ".join(f"{name} {_with_unit(value, unit)}" for name, value in values)
    return (
        f'<g class="chart-bar"><title>{escape(f"{label}: {said}")}</title><rect class="chart-hit" '
        f'x="{_figure(i * slot)}%" y="0" width="{_figure(slot)}%" height="{_figure(base)}"/></g>'
    )


def _line(one: Series, slot: float, base: float, top: float) -> str:
    """Straight pieces between neighbours, in percent, which a polyline cannot have."""
    points = [
        None if value is None else ((i + 0.5) * slot, base - (base - HEADROOM) * max(0.0, float(value)) / top)
        for i, value in enumerate(one["values"])
    ]
    pieces = []
    for i, point in enumerate(points):
        if point is None:
            continue
        x, y = point
        before = points[i - 1] if i else None
        if before is not None:
            pieces.append(
                f'<line x1="{_figure(before[0])}%" y1="{_figure(before[1])}" x2="{_figure(x)}%" y2="{_figure(y)}"/>'
            )
        pieces.append(f'<circle cx="{_figure(x)}%" cy="{_figure(y)}" r="2"/>')
    return f'<g class="chart-line chart-{_kind(one["kind"])}">{"".join(pieces)}</g>'


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "no data"
    return f"{_amount(round(value, 1))} {unit}".strip()


def _worst(series: Sequence[Series], unit: str) -> str:
    """The highest of each line, in words."""
    highest = [(one["name"], max((v for v in one["values"] if v is not None), default=None)) for one in series]
    return "; ".join(f"{name}: at most {_with_unit(value, unit)}" for name, value in highest) or "no data"


def _bar(
    series: Sequence[Series],
    column: Sequence[float],
    label: str,
    x: float,
    slot: float,
    base: float,
    top: float,
) -> str:
    """One stacked bar with a transparent hit area over the whole slot, so that a thin bar's title
    can be found.
    """
    said = "; ".join(f"{one['name']} {_amount(value)}" for one, value in zip(series, column, strict=True))
    parts = [
        f'<g class="chart-bar"><title>{escape(f"{label}: {said}")}</title>'
        f'<rect class="chart-hit" x="{_figure(x)}%" y="0" '
        f'width="{_figure(slot)}%" height="{_figure(base)}"/>'
    ]
    gap = slot * 0.24
    y = base
    for one, value in zip(series, column, strict=True):
        if not value:
            continue
        # A non-zero figure is never invisible: one dead among thousands is the one to see.
        tall = max(1.5, (base - HEADROOM) * value / top)
        y = max(0.0, y - tall)
        parts.append(
            f'<rect class="chart-{_kind(one["kind"])}" x="{_figure(x + gap / 2)}%" '
            f'y="{_figure(y)}" width="{_figure(slot - gap)}%" height="{_figure(tall)}" rx="1"/>'
        )
    parts.append("</g>")
    return "".join(parts)


def _axis(labels: Sequence[str], bars: int, slot: float, y: float) -> str:
    """At most seven labels, evenly spaced from the first bar; every second one makes way on a
    narrow screen.
    """
    named = min(len(labels), bars)
    if not named:
        return ""
    every = ceil(named / 7)
    parts = []
    for count, i in enumerate(range(0, named, every)):
        crowd = " chart-tick-odd" if count % 2 else ""
        parts.append(
            f'<text class="chart-tick{crowd}" x="{_figure((i + 0.5) * slot)}%" y="{_figure(y)}" '
            f'text-anchor="middle">{escape(str(labels[i]))}</text>'
        )
    return "".join(parts)


def _described(series: Sequence[Series]) -> str:
    """The totals in words: what a person who cannot see the bars needs first."""
    totals = [f"{one['name']}: {_amount(sum(v or 0 for v in one['values']))}" for one in series]
    return "; ".join(totals) or "no data"


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    entries = "".join(f'<li class="chart-{_kind(one["kind"])}">{escape(one["name"])}</li>' for one in series)
    return f'<ul class="chart-legend" aria-hidden="true">{entries}</ul>'
