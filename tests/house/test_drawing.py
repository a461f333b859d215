"""Floor plans: every structure that people have is drawn, and wrong geometry is drawn and marked."""

import copy
import json
import re

import pytest
from designs import one_room
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from housebrain_core.display import plots
from housebrain_core.errors import DataError
from housebrain_core.house.drawing import floor_plan
from housebrain_core.house.measures import place_opening
from housebrain_core.house.schema import Bounds, Door


def rectangles(figure, level=0):
    return [patch for patch in figure.axes[level].patches if isinstance(patch, Rectangle)]


def boxes(figure, level=0):
    return {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in rectangles(figure, level)}


def texts(figure):
    return "\n".join([text.get_text() for axes in figure.axes for text in axes.texts]
                     + [axes.get_xlabel().replace("\n", " ") for axes in figure.axes])  # fmt: skip


def test_generated_samples_are_drawn_whole_and_unmarked(samples, tmp_path):
    for sample in samples[:8]:
        design = sample["output"]
        figure = floor_plan(design, "title")
        assert len(figure.axes) == len(design["levels"]) + 1, "the levels, and the plot"
        for index, level in enumerate(design["levels"]):
            for room in level["rooms"]:
                assert tuple(room["bounds"][key] for key in ("x", "y", "width", "height")) in boxes(figure, index)
            assert figure.axes[index].get_xlabel() == ""  # nothing is wrong
        assert "plot" in figure.axes[-1].get_title() and "N" in texts(figure) and "0 ft" in texts(figure)
        assert figure.get_figwidth() <= 8.8, "a notebook shows it as it is"
    assert plots.save(figure, tmp_path / "plan.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("facing", "across", "up"),
    [("S", 0, 1), ("north", 0, -1), ("W", -1, 0), ("East-facing", 1, 0), ("North_East", 1, -1)],
)
def test_north_is_where_the_brief_says_seen_from_the_street_below(facing, across, up):
    plot = {"length": 30, "width": 40, "orientation": facing}
    axes = floor_plan(one_room(), brief={"basicDetails": {"totalArea": 120, "bedrooms": 1}, "plot": plot}).axes[0]
    (arrow,) = [text for text in axes.texts if getattr(text, "arrowprops", None)]
    (x1, y1), (x0, y0) = arrow.xy, arrow.xyann
    assert [round((x1 - x0) * 100) > 0, round((y1 - y0) * 100) > 0] == [across > 0, up > 0]
    assert [round((x1 - x0) * 100) < 0, round((y1 - y0) * 100) < 0] == [across < 0, up < 0]


def test_without_an_orientation_nothing_is_said_of_north():
    assert [text.get_text() for text in floor_plan(one_room()).axes[0].texts] == ["living\n12 x 10", "5 ft"]


def test_the_bar_is_as_long_as_it_says():
    axes = floor_plan(one_room()).axes[0]
    assert [0, 5] in [list(line.get_xdata()) for line in axes.lines]


def test_plot_and_setbacks_surround_the_house():
    plot = {"length": 30, "width": 40, "setbacks_ft": {"front": 5, "rear": 6, "left": 2, "right": 3}}
    brief = {"basicDetails": {"totalArea": 120, "bedrooms": 1}, "plot": plot}
    drawn = boxes(floor_plan(one_room(), brief=brief), -1)
    assert (-2, -5, 40, 30) in drawn and (0, 0, 35, 19) in drawn


@pytest.mark.parametrize("door", [{"wall": "south", "position": 10, "width": 3}, {"position": {"x": 6, "y": 5}}, {}])
def test_an_opening_that_no_wall_holds_is_drawn_and_marked(door):
    box = Bounds(x=0, y=0, width=12, height=10)
    assert not place_opening(box, Door.model_validate(door)).fits
    assert "a door of living A is not on its" in texts(floor_plan(one_room(doors=[door])))


def test_wrong_geometry_is_drawn_and_marked(samples):
    design = copy.deepcopy(next(s["output"] for s in samples if len(s["output"]["levels"][0]["rooms"]) > 4))
    rooms = design["levels"][0]["rooms"]
    rooms[0]["bounds"]["width"] = -6
    rooms[1]["bounds"] = dict(rooms[3]["bounds"], x=rooms[3]["bounds"]["x"] + 2)
    rooms[2].pop("bounds")
    rooms[-1]["bounds"]["width"] = 200
    rooms.append("a terrace")
    figure = floor_plan(design)
    written = texts(figure)
    for mark in ("is -6 x 12 ft", "is none: 'a terrace'", "has no place", "overlap by", "beyond the setbacks"):
        assert mark in written, written
    assert any(patch.get_hatch() == "xxx" for patch in rectangles(figure))


def two_rooms(**living) -> list[dict]:
    """A living room of 12 x 10 ft and a bedroom to its east."""
    return [
        {"id": "R1", "type": "living_room", "bounds": {"x": 0, "y": 0, "width": 12, "height": 10}, **living},
        {"id": "R2", "type": "bedroom", "bounds": {"x": 12, "y": 0, "width": 11, "height": 10}},
    ]


STRUCTURES = {  # as people's files have them (the models of schema.py name the fields)
    "doors by wall name, brief beside": {
        "input": {"basicDetails": {"totalArea": 230, "bedrooms": 1}, "plot": {"length": 30, "width": 40}},
        "total_area": 230, "construction_cost": 1,
        "levels": [{"level_number": 1, "rooms": two_rooms(doors=[{"wall": "east", "position": 3.5}],
                                                          windows=[{"wall": "south", "position": 3}])}],
    },
    "doors by wall number, levels only": {
        "levels": [{"level_number": 0, "rooms": two_rooms(
            doors=[{"id": "D1", "wall_index": 1, "position": 3.5, "width": 3, "connecting_room_id": "R2"}],
            windows=[{"id": "W1", "wall_index": 0, "position": 3, "width": 3, "height": 4, "elevation": 3}])}],
    },
    "a sample with doors by point and a named level": {
        "prompt": "A small house",
        "output": {
            "input": {"plot_dimensions": "30x40"}, "vastu_compliance": True, "sustainability_features": ["solar"],
            "levels": [{"level_name": "Ground", "level_number": 1,
                        "rooms": two_rooms(doors=[{"position": {"x": 12, "y": 5}, "width": 3, "to_room": "R2"}],
                                           windows=[{"position": {"x": 4.5, "y": 0}, "width": 3}]),
                        "stairs": [{"id": "S1", "type": "straight", "floor_from": 0, "floor_to": 1,
                                    "bounds": {"x": 1, "y": 6, "width": 10, "height": 3}}]}],
        },
    },
    "JSON text in a sample": {"prompt": "2BHK", "output": json.dumps(
        {"levels": [{"rooms": two_rooms(doors=[{"wall": "east", "position": 3.5}])}]})},
    "rooms without openings": {"input": {}, "levels": [{"level_number": 1, "height": 10, "rooms": two_rooms()}]},
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_designs_of_every_structure_are_drawn_to_scale(name):
    figure = floor_plan(STRUCTURES[name])
    drawn = {tuple(round(value, 6) for value in box) for box in boxes(figure)}
    assert {(0, 0, 12, 10), (12, 0, 11, 10)} <= drawn
    assert "living" in texts(figure) and "bedroom" in texts(figure) and "12 x 10" in texts(figure)
    assert figure.axes[0].get_xlabel() == "", "nothing is marked as wrong"
    doors = [[round(float(v), 2) for v in (*line.get_xdata(), *line.get_ydata())] for line in figure.axes[0].lines]
    assert ([12, 12, 3.5, 6.5] in doors) == (name != "rooms without openings")
    treads = figure.axes[0].collections
    assert len(treads) == name.startswith("a sample"), "stairs are drawn where there are some"


def test_levels_without_rooms_are_a_card():
    figure = floor_plan({"levels": [{"level_number": 1}, {"level_number": 2}], "total_area": 100})
    assert "no geometry" in figure.get_suptitle()


def test_a_design_without_geometry_is_a_card_with_all_of_its_specification(samples):
    figure = floor_plan({**samples[0]["output"], "levels": []}, "flat")
    rows = {}
    for axes in figure.axes:
        cells = axes.tables[0].get_celld()
        rows |= {cells[row, 0].get_text().get_text(): cells[row, 1].get_text().get_text() for row, column in cells}
    outside, codes = samples[0]["output"]["exterior_specifications"], samples[0]["output"]["building_codes"]
    assert rows["exterior wall"] == outside["exterior_wall"].replace("_", " ")
    assert rows["fire safety sprinklers"] == ("yes" if codes["fire_safety"]["sprinklers"] else "no")
    assert {"house", "materials", "climate and site", "building codes", "flooring", "climate zone"} <= set(rows)
    assert "no geometry" in figure.get_suptitle()


@pytest.mark.slow
def test_labels_do_not_reach_beyond_their_rooms(samples):
    """Measured on paper, for every room of eight houses; a hall may be nearly all stairs."""
    for sample in samples[:8]:
        figure = floor_plan(sample["output"])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for axes, level in zip(figure.axes[:-1], sample["output"]["levels"], strict=True):
            labels = {text.get_text().replace("\n", " "): text for text in axes.texts}
            for room in level["rooms"]:
                b = room["bounds"]
                words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", room["type"]).lower()
                text = labels[f"{words} {b['width']} x {b['height']}"]
                assert text.get_fontsize() >= (5 if room["type"] == "hall" else 8)
            for text in (text for text in axes.texts if " x " in text.get_text() and "plot" not in text.get_text()):
                extent = text.get_window_extent(canvas.get_renderer())
                (x0, y0), (x1, y1) = axes.transData.inverted().transform(extent)
                assert any(
                    b["x"] <= x0 and x1 <= b["x"] + b["width"] and b["y"] <= y0 and y1 <= b["y"] + b["height"]
                    for b in (room["bounds"] for room in level["rooms"])
                ), text.get_text()


def test_what_is_no_design_is_refused():
    for design in ("no json", "[1]", {"total_area": "large"}):
        with pytest.raises(DataError):
            floor_plan(design)
