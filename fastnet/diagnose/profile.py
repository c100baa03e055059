"""Where the time of a training step goes: per layer and pass, with the bytes that each of them moves."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _ext, config
from ..functional import checks, trace
from ..layers.base import Layer
from ..layers.plan import plan
from ..layers.watching import Method, detached, methods, wrapped
from ..losses import SoftmaxCrossEntropy
from ..memory import Array
from ..optim import SGD
from ..tables import ruled
from .subject import rule_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Profile", "Row", "profile_step"]

PASSES = ("forward", "weight gradient", "input gradient", "backward", "loss", "update")
COLOURS = ("#2563a8", "#d9731a", "#e8b04a", "#7a5195", "#6b7280", "#2a9d8f")
PRODUCTS = ("weight gradient", "input gradient")  # passes of a backward that are told apart
COUNTERS = Path("/sys/bus/event_source/devices")  # with uncore_imc, where the memory's traffic can be counted
BARS = 40  # layers in the picture: those that take longest


class Row(NamedTuple):
    """One layer in one pass: its dotted name and kind, the median seconds of a step, and the bytes its arrays have that are
    read or written, estimated from shapes (None where nothing is known, as of the loss)."""

    name: str
    layer: str
    direction: str
    seconds: float
    bytes: int | None


class Event(NamedTuple):
    """A call: when it began, how long it took, and how long without the layers that it called."""

    name: str
    layer: str
    direction: str
    start: float
    seconds: float
    own: float


class Profile:
    """What `profile_step` returns: printable.

    rows      a Row per layer and pass, in the order in which they ran
    seconds   the median of a whole step
    events    the calls of the step that was nearest to it
    """

    def __init__(self, title: str, rows: list[Row], seconds: float, events: list[Event]) -> None:
        self.title, self.rows, self.seconds, self.events = title, rows, seconds, events

    def layers(self) -> dict[str, dict[str, Row]]:
        """Layer ("0 Conv2d") -> pass -> its row."""
        found: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in self.rows:
            found[f"{row.name} {row.layer}".strip()][row.direction] = row
        return dict(found)

    def table(self) -> str:
        """A line per layer: milliseconds of each pass and together, share of the step, bytes moved and how many a second."""
        layers = self.layers()
        passes = [name for name in PASSES if any(name in rows for rows in layers.values())]
        body = [(name, *_cells(rows, passes, self.seconds)) for name, rows in layers.items()]
        sums = {name: sum(rows[name].seconds for rows in layers.values() if name in rows) for name in passes}
        whole = sum(row.seconds for row in self.rows)
        moved = sum(row.bytes or 0 for row in self.rows)
        total = [f"{sums[name] * 1e3:.3f}" for name in passes]
        total += [f"{whole * 1e3:.3f}", f"{whole / self.seconds:.1%}", f"{moved / 1e6:,.1f}", ""]
        lines = [("ms", *passes, "together", "share", "MB moved", "GB/s"), *body, ("all layers", *total)]
        foot = [f"a step: {self.seconds * 1e3:.3f} ms", f"MB moved: estimated from shapes; {_counters()}"]
        return ruled(self.title, lines, {0}, foot)

    __str__ = __repr__ = table

    def to_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events of one step as JSON that chrome://tracing and Perfetto open; times are in microseconds."""
        origin = min(event.start for event in self.events)
        known = {(row.name, row.direction): row.bytes for row in self.rows}
        shared = {"ph": "X", "pid": 1, "tid": 1}
        events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": 1, "name": "process_name", "args": {"name": self.title}},
            {"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {"name": "a training step"}},
        ]
        for event in sorted(self.events, key=lambda event: (event.start, -event.seconds)):
            where = f"{event.name} {event.layer}".strip()
            times = {"ts": round((event.start - origin) * 1e6, 3), "dur": round(event.seconds * 1e6, 3)}
            more = {"pass": event.direction, "bytes": known.get((event.name, event.direction))}
            events.append({"name": where, "cat": event.direction, **times, **shared, "args": more})
        whole = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"title": self.title}}
        Path(path).write_text(json.dumps(whole, indent=1) + "\n")

    def plot(self, path: Any = None) -> Figure:
        """A bar per layer, stacked by pass: a matplotlib Figure, saved to path if one is given."""
        from ..plot.figure import figure, finish, frame  # an extra: only when it is asked for

        layers = self.layers()
        longest = sorted(layers, key=lambda name: -sum(row.seconds for row in layers[name].values()))[:BARS]
        shown = {name: rows for name, rows in layers.items() if name in longest}
        picture = figure(9, 1.6 + 0.24 * len(shown))
        axes: Any = picture.subplots()
        left = np.zeros(len(shown))
        for name, colour in zip(PASSES, COLOURS):
            widths = np.array([rows[name].seconds * 1e3 if name in rows else 0.0 for rows in shown.values()])
            if widths.any():
                axes.barh(range(len(shown)), widths, left=left, color=colour, label=name, height=0.75)
                left += widths
        axes.set_yticks(range(len(shown)), shown, fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        frame(axes, self.title, f"milliseconds of the {self.seconds * 1e3:.2f} of a step", "")
        axes.grid(axis="y", visible=False)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        return finish(picture, path)


def profile_step(
    net: Layer, x: Array, y: Array, *, loss: Any = None, optimizer: Any = None, steps: int = 10, warm_up: int = 2
) -> Profile:
    """Train a copy of the net on one batch for so many steps, and note when every layer began and ended.

    loss: softmax cross-entropy if None; optimizer: what makes a rule of parameters, SGD with momentum 0.9 if None. The time
    of a layer is its own, without the layers inside it; what rides on a layer's pass (docs/fusion.md) is in that layer's
    time. The net itself stays as it is.  ValueError as the net's own, or for steps < 1.
    """
    steps = checks.integer("profile_step", steps, "steps", 1)
    warm_up = checks.integer("profile_step", warm_up, "warm_up", 0)
    if not isinstance(x, np.ndarray) or x.ndim < 2 or not len(x):
        raise TypeError("profile_step: x must be an array of examples")
    twin, cost = detached(net), SoftmaxCrossEntropy() if loss is None else loss
    rule = rule_of("profile_step", optimizer or (lambda parameters: SGD(parameters, lr=1e-3, momentum=0.9)), twin, None)
    moved = {(row.name, row.direction): (row.reads + row.writes) * len(x) for row in plan(twin, x.shape[1:]).rows}
    runs: list[tuple[float, list[Event]]] = []
    with trace.recording() as passes:
        clock = _Clock(passes)
        with wrapped(methods(twin), clock.timing):
            for _ in range(warm_up + steps):
                clock.events = []
                del passes[:]
                start = time.perf_counter()
                scores = twin.forward(x)
                clock.timed(("", "loss", "loss"), cost.forward, scores, y)
                gradient = clock.timed(("", "loss", "loss"), cost.backward)
                twin.backward(gradient, input_gradient=False)
                clock.timed(("", "update", "update"), rule.step)
                runs.append((time.perf_counter() - start, clock.events))
    runs = runs[warm_up:]
    seconds = float(np.median([took for took, _ in runs]))
    typical = min(runs, key=lambda run: abs(run[0] - seconds))[1]
    said = f"{type(net).__name__} on {' x '.join(map(str, x.shape))}, {_ext.level}"
    threads = config.get_num_threads()
    said += f" at {config.get_float32_matmul_precision()}, {threads} thread{'s' * (threads > 1)}"
    return Profile(said, _rows([events for _, events in runs], moved), seconds, typical)


class _Clock:
    """Times calls, one inside the other."""

    def __init__(self, passes: list[trace.Pass]) -> None:
        self.passes, self.events = passes, list[Event]()
        self.inside: list[float] = []  # seconds of the calls within each open one

    def timed(self, what: tuple[str, str, str], method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call the method, and note how long it took."""
        first, start = len(self.passes), time.perf_counter()
        self.inside.append(0.0)
        try:
            return method(*args, **options)
        finally:
            seconds, inside = time.perf_counter() - start, self.inside.pop()
            if self.inside:
                self.inside[-1] += seconds
            event = Event(*what, start, seconds, seconds - inside)
            self.events += [event] if inside else _products(event, self.passes[first:])

    def timing(self, one: Method, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, timed."""
        what = one.name or "(net)", type(one.layer).__name__, one.direction
        return lambda *args, **options: self.timed(what, method, *args, **options)


def _products(event: Event, passes: list[trace.Pass]) -> list[Event]:
    """A backward as the products it was made of; everything else as it is."""
    found = [one for one in passes if one.what in PRODUCTS] if event.direction == "backward" else []
    events, start, end = [], event.start, event.start + event.seconds
    for i, one in enumerate(found):
        stop = end if i == len(found) - 1 else one.at
        events.append(event._replace(direction=one.what, start=start, seconds=stop - start, own=stop - start))
        start = stop
    return events or [event]


def _rows(runs: list[list[Event]], moved: dict[tuple[str, str], int]) -> list[Row]:
    """The median over the steps of what each layer took in each pass."""
    keys = dict.fromkeys((event.name, event.layer, event.direction) for events in runs for event in events)
    taken: dict[tuple[str, str, str], list[float]] = {key: [0.0] * len(runs) for key in keys}
    for i, events in enumerate(runs):
        for event in events:
            taken[event.name, event.layer, event.direction][i] += event.own
    rows, counted = [], set[tuple[str, str]]()
    for (name, layer, direction), seconds in taken.items():
        way = name, "backward" if direction in PRODUCTS else direction
        nbytes = 0 if way in counted else moved.get(way)  # a backward's bytes stand in its first row
        counted.add(way)
        rows.append(Row(name, layer, direction, float(np.median(seconds)), nbytes))
    return rows


def _cells(rows: dict[str, Row], passes: list[str], step: float) -> list[str]:
    together = sum(row.seconds for row in rows.values())
    known = [row.bytes for row in rows.values() if row.bytes is not None]
    cells = [f"{rows[name].seconds * 1e3:.3f}" if name in rows else "" for name in passes]
    cells += [f"{together * 1e3:.3f}", f"{together / step:.1%}"]
    speed = f"{sum(known) / together / 1e9:.1f}" if any(known) and together else ""
    return cells + [f"{sum(known) / 1e6:,.1f}" if known else "", speed]


def _counters() -> str:
    """What is to be said about measuring them instead."""
    there = COUNTERS.is_dir() and any(COUNTERS.glob("uncore_imc*"))
    return "the memory's counters are not read" if there else "this system has no counters of the memory's traffic"
