"""Where things are: openings on their walls, and the plot around a house."""

import json

import pytest
from designs import house, one_room, room
from matplotlib.backends.backend_agg import FigureCanvasAgg

from housebrain_core.errors import DataError
from housebrain_core.house import drawing
from housebrain_core.house.layout import find_site, read_layout
from housebrain_core.house.measures import place_opening
from housebrain_core.house.schema import HouseDesign

LIVING = [room("A", "living", (0, 0, 12, 10))]
SETBACKS = {"front": 5, "rear": 6, "left": 2, "right": 3}


def on_plot(length, width, orientation=None, setbacks=SETBACKS) -> dict:
    plot = {"length": length, "width": width, "orientation": orientation, "setbacks_ft": setbacks}
    return {"basicDetails": {"totalArea": 120, "bedrooms": 1}, "plot": plot}


def places(figure) -> dict[str, tuple[float, float]]:
    """Text -> where it is anchored, of what is written along the plot's edges."""
    return {
        text.get_text(): text.xy
        for text in figure.axes[-1].texts
        if hasattr(text, "xyann") and len(text.get_text()) > 1
    }


@pytest.mark.parametrize(
    ("door", "start", "end"),
    [
        ({"wall": "south", "position": 2, "width": 3}, (2, 0), (5, 0)),
        ({"wall": "East", "position": 1, "width": 3}, (12, 1), (12, 4)),
        ({"id": "D", "wall_index": 2, "position": 4, "width": 3, "connecting_room_id": "B"}, (4, 10), (7, 10)),
        ({"position": {"x": 12.1, "y": 5}, "width": 4, "to_room": "B"}, (12, 3), (12, 7)),
        ({"wall": "north", "position": 0.5, "width": 2}, (5, 10), (7, 10)),
        ({"wall": "west", "width": 4}, (0, 3), (0, 7)),
        ({"wall": "north", "position": "center"}, (4.5, 10), (7.5, 10)),
        ("south", (4.5, 0), (7.5, 0)),
    ],
)
def test_openings_of_every_structure_are_on_their_wall(door, start, end):
    layout = read_layout(one_room(doors=[door]))
    room = layout.design.levels[0].rooms[0]
    placed = place_opening(room.bounds, room.doors[0])
    assert placed.start == pytest.approx(start) and placed.end == pytest.approx(end) and placed.fits


def test_a_drawing_of_walls_and_spaces_is_refused_in_one_sentence_that_names_the_structure_expected():
    drawing = {"walls": [], "openings": [], "spaces": [{"id": "a", "boundary": [[0, 0], [3048, 0], [3048, 6096]]}]}
    for design in (drawing, json.dumps(drawing), {"output": drawing}):
        with pytest.raises(DataError, match="^the design has walls and spaces.*levels with rooms, in feet.$"):
            read_layout(design)


def test_the_edges_of_the_plot_say_which_is_the_streets_and_what_each_setback_is():
    figure = drawing.floor_plan(house(LIVING), brief=on_plot(30, 40, "S"))
    assert places(figure) == {
        "street side\nsetback 5 ft": (18, -5),
        "rear\nsetback 6 ft": (18, 25),
        "left\nsetback 2 ft": (-2, 10),
        "right\nsetback 3 ft": (38, 10),
    }
    assert figure.axes[-1].get_title() == "plot 40 x 30 ft\nfaces south"


def test_a_house_that_lies_across_has_the_street_on_the_left_and_its_sides_as_seen_from_there():
    figure = drawing.floor_plan(house(LIVING), brief=on_plot(40, 30, "East"))
    site = find_site(on_plot(40, 30), HouseDesign.model_validate(house(LIVING)).levels)
    assert site.plot == (-5, -3, 40, 30) and site.inside == (0, 0, 29, 25), "front on the left, right at the bottom"
    assert places(figure) == {
        "street side\nsetback 5 ft": (-5, 12),
        "rear\nsetback 6 ft": (35, 12),
        "left\nsetback 2 ft": (15, 27),
        "right\nsetback 3 ft": (15, -3),
    }
    assert figure.axes[-1].get_title() == "plot 40 x 30 ft\nfaces east"
    assert find_site(on_plot(40, 30, "E"), HouseDesign.model_validate(house(LIVING)).levels).north == 180


def test_without_setbacks_only_the_street_side_is_named():
    figure = drawing.floor_plan(house(LIVING), brief=on_plot(30, 40, setbacks=None))
    assert list(places(figure)) == ["street side"]
    assert len(drawing.floor_plan(house(LIVING)).axes) == 1, "without a brief there is no plot"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60, 16), (16, 60), (30, 200), (200, 30), (25, 25)])
def test_what_stands_at_the_edges_covers_nothing_and_stays_in_the_drawing(size, samples):
    drawn = [
        drawing.floor_plan(house(*levels), brief=on_plot(*size, "North_East"))
        for levels in ([LIVING], [LIVING, LIVING])
    ]
    for figure in [*drawn, *(drawing.floor_plan(sample["output"]) for sample in samples[:3])]:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        axes = figure.axes[-1]
        shown = {text: text.get_window_extent(canvas.get_renderer()) for text in axes.texts}
        assert len(shown) == 4
        for text, inside in shown.items():
            others = [other for other in shown if other is not text and shown[other].overlaps(inside)]
            assert not others, (text.get_text(), [other.get_text() for other in others])
            assert axes.bbox.x0 <= inside.x0 and inside.x1 <= axes.bbox.x1, text.get_text()
            assert axes.bbox.y0 <= inside.y0 and inside.y1 <= axes.bbox.y1, text.get_text()


def test_a_plot_in_metres_is_drawn_in_feet():
    brief = on_plot(12, 9)
    brief["plot"]["unit"] = "m"
    site = find_site(brief, HouseDesign.model_validate(house(LIVING)).levels)
    assert site.plot[2:] == pytest.approx((12 / 0.3048, 9 / 0.3048))
