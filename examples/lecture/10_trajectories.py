"""Trajectories: every rule drawn on its way

A steep valley, a saddle, Beale's and Rosenbrock's functions, and all update rules let loose on them from one start, after
the animations of Alec Radford that the lecture shows. On the saddle plain SGD and momentum linger where the slope is nearly
zero, while rules that scale each coordinate leave at once; in the valley momentum overshoots. The page beside this picture
moves (HTML, SVG and GIF), and a rule of your own may join: here one that looks at the sign of the slope alone.
"""

import numpy as np
from _common import run, table

from fastnet import trajectories


class SignDescent:
    """w -= lr sign(gradient): eight lines make a rule that can join."""

    def __init__(self, params, lr):
        (self.w,), self.lr = params, lr

    def step(self, closure):
        value = closure()
        self.w.data -= self.lr * np.sign(self.w.grad)
        return value


def main(out, short=False):
    mine = {"sign (mine)": lambda params: SignDescent(params, 0.05)}
    traces = [trajectories.trace(name, joined_by=mine) for name in trajectories.SURFACES]
    trajectories.overview(traces, out / "10_trajectories.png")
    trajectories.page(traces, out / "10_trajectories.html")
    for one in traces[1:2] if short else traces:
        one.to_svg(out / f"10_trajectories_{one.surface.name}.svg")
    if not short:
        traces[0].to_gif(out / "10_trajectories_valley.gif")
        traces[1].to_gif(out / "10_trajectories_saddle.gif")
    arrival = {one.surface.name: {name: one.arrival(name) for name in one.paths} for one in traces}
    saddle = traces[1]
    out_of_it = {name: np.flatnonzero(np.abs(path[:, 1]) > 0.5) for name, path in saddle.paths.items()}
    left = {name: int(steps[0]) if steps.size else None for name, steps in out_of_it.items()}
    names = [name for name in arrival if name != "saddle"]
    rows = [[rule, *(arrival[name][rule] or "-" for name in names), left[rule] or "-"] for rule in saddle.paths]
    print("first step from which on a rule stays near the minimum, and the step at which it has left the saddle:\n")
    table(["rule", *names, "left the saddle"], rows)
    return {"arrival": arrival, "left_the_saddle": left}


if __name__ == "__main__":
    run(main)
