"""Update rules on surfaces: what the paths are, and that pictures and animations show them."""

import sys
import xml.etree.ElementTree as ET
from functools import partial

import numpy as np
import pytest

from fastnet import optim, trajectories
from fastnet.trajectories import SURFACES, Surface, trace
from fastnet.trajectories.svg import contour
from fastnet.trajectories.trace import KINDS, RATES

SVG = "{http://www.w3.org/2000/svg}"
every = pytest.mark.parametrize("name", SURFACES)


@every
def test_slopes_are_the_slopes_of_the_values(name):
    surface = SURFACES[name]
    for x, y in [surface.start, (0.3, -0.7), (-1.1, 0.4)]:
        dx, dy = surface.slope(x, y)
        assert dx == pytest.approx((surface.value(x + 1e-6, y) - surface.value(x - 1e-6, y)) / 2e-6, rel=1e-5, abs=1e-6)
        assert dy == pytest.approx((surface.value(x, y + 1e-6) - surface.value(x, y - 1e-6)) / 2e-6, rel=1e-5, abs=1e-6)
    if surface.minimum is not None:
        assert surface.slope(*surface.minimum) == pytest.approx((0, 0), abs=1e-12)


def test_every_rule_of_the_package_takes_part():
    kinds = {getattr(kind, "func", kind) for kind in KINDS.values()}
    rules = {value for name in optim.__all__ if isinstance(value := getattr(optim, name), type)}
    assert kinds == {rule for rule in rules if issubclass(rule, optim.Rule)} - {optim.Rule}, "add the new rule to KINDS"
    assert RATES.keys() == SURFACES.keys()
    assert {len(rates) for rates in RATES.values()} == {len(KINDS)}


def test_a_path_is_the_rules_own():
    found = trace("valley", {"SGD": partial(optim.SGD, lr=0.01)}, steps=30).paths["SGD"]
    wanted = np.array([-9.0, 1.6]) * np.array([0.99, 0.6]) ** np.arange(31)[:, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_the_stories_are_what_the_lecture_says():
    valley, saddle, rosenbrock = (trace(name) for name in ("valley", "saddle", "rosenbrock"))
    assert valley.arrival("Nesterov") < valley.arrival("SGD")  # on an ill-conditioned valley
    assert valley.values["momentum"].max() > valley.values["Nesterov"][1:].max()  # momentum overshoots
    away = {name: int(np.argmax(path[:, 1] > 0.5)) for name, path in saddle.paths.items()}
    assert max(away["AdaGrad"], away["RMSProp"], away["Adam"]) < away["momentum"] < away["SGD"]
    assert rosenbrock.arrival("L-BFGS") < 50
    assert all(path.shape == (401, 2) for path in rosenbrock.paths.values())


@every
def test_no_rule_ends_worse_than_it_began(name):
    one = trace(name)
    assert len(one.paths) == len(KINDS)
    for rule, values in one.values.items():
        assert values[-1] < values[0], rule
    if one.surface.minimum is not None:
        assert min(values[-1] for values in one.values.values()) < 1e-10


class Mine:
    """A rule of a user: it follows the sign of the slope."""

    def __init__(self, params, lr):
        self.params, self.lr = params, lr

    def step(self, closure):
        closure()
        for p in self.params:
            p.data = p.data - self.lr * np.sign(p.grad)


def test_any_rule_may_join():
    one = trace("beale", joined_by={"mine": partial(Mine, lr=0.01)}, steps=20, start=(1.0, 1.5))
    assert list(one.paths)[-1] == "mine"
    np.testing.assert_allclose(one.paths["mine"][1], [0.99, 1.49])
    assert "mine" in one.table()
    assert "mine" in one.to_svg()


def test_a_path_that_leaves_stays_where_it_was_last_seen():
    wild = {"too fast": partial(optim.SGD, lr=3.0), "infinite": partial(optim.SGD, lr=1e200)}
    one = trace("rosenbrock", wild, steps=10)
    for path in one.paths.values():
        np.testing.assert_array_equal(path, np.broadcast_to(path[0], path.shape))
    assert one.arrival("too fast") is None


def test_a_surface_may_be_ones_own():
    bowl = Surface(
        "bowl", "x² + y²", lambda x, y: x**2 + y**2, lambda x, y: (2 * x, 2 * y), (1.0, 2.0), (-3, 3, -2, 4), (0, 0), 40
    )
    one = trace(bowl)
    assert one.steps == 40
    assert one.values["L-BFGS"][-1] < 1e-12


def test_contour_lines_lie_where_the_surface_has_their_height():
    surface = SURFACES["beale"]
    x, y, values = surface.grid(90, 70)
    for level in surface.levels()[3:]:
        segments = contour(x, y, values, float(level))
        assert len(segments)
        heights = surface.value(*segments.reshape(-1, 2).T)
        assert np.abs(heights / level - 1).max() < 0.2
    circle = contour(
        np.linspace(-2, 2, 41),
        np.linspace(-2, 2, 31),
        *[np.hypot(np.linspace(-2, 2, 41)[None], np.linspace(-2, 2, 31)[:, None]), 1.5],
    )
    np.testing.assert_allclose(np.hypot(*circle.reshape(-1, 2).T), 1.5, atol=2e-3)
    length = np.hypot(*(circle[:, 0] - circle[:, 1]).T).sum()
    assert length == pytest.approx(2 * np.pi * 1.5, rel=5e-3)


def test_the_svg_is_one_file_that_moves_every_path_to_its_end(tmp_path):
    one = trace("saddle", steps=60)
    text = one.to_svg(tmp_path / "s.svg", seconds=5)
    assert (tmp_path / "s.svg").read_text() == text
    assert "href" not in text
    root = ET.fromstring(text)
    dots = root.findall(f".//{SVG}circle")
    assert len(dots) == len(one.paths)
    for dot in dots:
        ends = [animation.get("values").split(";") for animation in dot.findall(f"{SVG}animate")]
        times = dot.find(f"{SVG}animate").get("keyTimes").split(";")
        assert [values[-1] for values in ends] == [dot.get("cx"), dot.get("cy")]
        assert {len(values) for values in ends} == {len(times)} == {62}
        assert [float(t) for t in times] == sorted(float(t) for t in times)
        assert (times[0], times[-1]) == ("0.0000", "1")
    assert {"SGD", "L-BFGS"} <= {text.text for text in root.findall(f".//{SVG}text")}


def test_a_page_stands_alone_and_has_every_trace(tmp_path):
    text = trajectories.page([trace("valley", steps=8), trace("saddle", steps=9)], tmp_path / "page.html")
    assert text.count("<svg") == text.count("</svg>") == 2
    assert "src=" not in text
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_still_picture_has_a_panel_for_each_and_a_line_for_every_rule(tmp_path):
    pytest.importorskip("matplotlib")
    traces = [trace(name, steps=5) for name in SURFACES]
    figure = trajectories.overview(traces, tmp_path / "all.png")
    assert len(figure.axes) == 4
    for axes, one in zip(figure.axes, traces):
        drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
        for name, path in one.paths.items():
            np.testing.assert_array_equal(drawn[name], path)
    assert (tmp_path / "all.png").stat().st_size > 20_000
    assert len(traces[0].plot().axes) == 1


def test_the_gif_has_frames_in_the_rules_own_colours(tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    trace("valley", steps=7).to_gif(tmp_path / "v.gif", width=240)
    with image.open(tmp_path / "v.gif") as film:
        assert film.n_frames == 8
        assert film.size[0] == 240
        film.seek(7)
        found = {tuple(c) for c in np.asarray(film.convert("RGB")).reshape(-1, 3).tolist()}
    assert {(0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)} <= found


def test_numbers_go_to_csv(tmp_path):
    one = trace("rosenbrock", steps=3)
    one.to_csv(tmp_path / "r.csv")
    rows = (tmp_path / "r.csv").read_text().splitlines()
    assert rows[0] == "rule,step,x,y,value"
    assert len(rows) == 1 + 4 * len(KINDS)
    assert rows[1] == "SGD,0,-1.2,1.0,24.199999999999996"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trace("mountain"), "surface must be one of valley, saddle"),
        (lambda: trace(steps=0), "steps must be an integer of at least 1, found 0"),
        (lambda: trace(rules={}), "at least one rule"),
        (lambda: trajectories.page([]), "at least one trace"),
        (lambda: trajectories.overview([]), "at least one trace"),
    ],
)
def test_what_cannot_be_traced_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_pillow_the_message_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"fastnet\[images\]"):
        trace(steps=2).to_gif(tmp_path / "x.gif")
