"""The SVG builders: figures in, well-formed and accessible SVG out."""

from xml.etree import ElementTree

import pytest

from config.charts import bar_chart, line_chart, nice_ceiling, sparkline


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own text


def heights(svg: str, css_class: str) -> list[float]:
    return [float(rect.get("height")) for rect in parsed(svg).iter("rect") if rect.get("class") == css_class]


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 1), (0.2, 1), (1, 1), (3, 4), (7, 8), (9, 10), (43, 50), (801, 1000), (12345, 20000)]
)
def test_the_scale_ends_on_a_round_number_not_below_the_highest_bar(value, ceiling):
    assert nice_ceiling(value) == ceiling


def test_bars_are_as_high_as_their_share_of_the_scale():
    low, high = heights(bar_chart([{"name": "In", "kind": "ok", "values": [50, 100]}]), "chart-ok")
    assert high == pytest.approx(2 * low)


def test_one_failure_among_thousands_can_be_seen():
    svg = bar_chart([{"name": "In", "kind": "ok", "values": [10000]}, {"name": "Dead", "kind": "bad", "values": [1]}])
    assert heights(svg, "chart-bad") == [1.5]


def test_a_zero_draws_no_bar_but_can_still_be_pointed_at():
    svg = bar_chart([{"name": "In", "kind": "ok", "values": [0, 5]}])
    assert len(heights(svg, "chart-ok")) == 1
    assert len(heights(svg, "chart-hit")) == 2


def test_every_bar_says_its_figures():
    svg = bar_chart([{"name": "In", "kind": "ok", "values": [1234]}], labels=["09:00"])
    assert "09:00: In 1,234" in [title.text for title in parsed(svg).iter("title")]


def test_a_screen_reader_hears_the_totals():
    series = [{"name": "In", "kind": "ok", "values": [1, 2]}, {"name": "Dead", "kind": "bad", "values": [4]}]
    svg = parsed(bar_chart(series, title="Deliveries"))
    assert [node.text for node in svg.iter("desc")] == ["In: 3; Dead: 4"]
    assert svg.find(".//svg").get("role") == "img"


def test_at_most_seven_labels_stand_on_the_axis():
    svg = bar_chart([{"name": "In", "kind": "ok", "values": [1] * 24}], labels=[f"{hour:02}:00" for hour in range(24)])
    texts = [text.text for text in parsed(svg).iter("text")]
    assert texts[0] == "00:00"
    assert len(texts) <= 7


@pytest.mark.parametrize("draw", [sparkline, lambda values: bar_chart([{"name": "x", "kind": "ok", "values": values}])])
@pytest.mark.parametrize("values", [[], [0], [None, 3], [5], [0, 0, 0]])
def test_thin_data_still_draws(draw, values):
    assert "NaN" not in draw(values)
    parsed(draw(values))


def test_names_and_labels_are_escaped():
    svg = bar_chart(
        [{"name": "<script>", "kind": 'x" onload="', "values": [1]}, {"name": "b", "kind": "ok", "values": [1]}],
        labels=["</svg>"],
        title="<b>",
    )
    assert "<script>" not in svg
    assert "onload" not in svg
    parsed(svg)


def test_the_line_ends_at_its_newest_value():
    circle = next(parsed(sparkline([0, 5, 10], height=24)).iter("circle"))
    assert (float(circle.get("cx")), float(circle.get("cy"))) == (94.5, 2.5)


@pytest.mark.parametrize(
    "svg", [sparkline([1, 2]), bar_chart([{"name": "x", "kind": "ok", "values": [1]}], labels=["a"])]
)
def test_nothing_needs_inline_style(svg):
    assert "style" not in svg


# Lines --------------------------------------------------------------------------------------------


def pieces(svg: str, tag: str) -> list[ElementTree.Element]:
    groups = [group for group in parsed(svg).iter("g") if group.get("class", "").startswith("chart-line")]
    return [piece for group in groups for piece in group.iter(tag)]


def test_a_line_joins_neighbours_and_breaks_where_there_is_nothing():
    svg = line_chart([{"name": "p50", "kind": "accent", "values": [1, 2, None, 4]}])
    assert len(pieces(svg, "line")) == 1
    assert len(pieces(svg, "circle")) == 3


def test_the_highest_point_stands_on_the_scale_s_share():
    svg = line_chart([{"name": "p50", "kind": "accent", "values": [100, 50, 0]}])
    top, middle, bottom = (float(dot.get("cy")) for dot in pieces(svg, "circle"))
    assert middle == pytest.approx((top + bottom) / 2)


def test_every_place_says_its_figures_and_where_there_are_none():
    series = [{"name": "p50", "kind": "accent", "values": [1.23, None]}, {"name": "p95", "kind": "warn", "values": [9]}]
    svg = line_chart(series, labels=["09:00", "10:00"], unit="ms")
    titles = [title.text for title in parsed(svg).iter("title")]
    assert "09:00: p50 1.2 ms; p95 9 ms" in titles
    assert "10:00: p50 no data; p95 no data" in titles
    assert [node.text for node in parsed(svg).iter("desc")] == ["p50: at most 1.2 ms; p95: at most 9 ms"]


def test_lines_without_figures_are_drawn_all_the_same():
    assert parsed(line_chart([])).find(".//svg") is not None
    svg = line_chart([{"name": "<p50>", "kind": "accent", "values": [None]}])
    assert "no data" in svg
    assert "<p50>" not in svg
