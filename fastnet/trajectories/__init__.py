"""Update rules at work on surfaces that one can see: paths as numbers, pictures and animations.

from fastnet import trajectories
trajectories.trace("rosenbrock").to_gif("rosenbrock.gif")
trajectories.page([trajectories.trace(name) for name in trajectories.SURFACES], "rules.html")
"""

from .picture import overview
from .surfaces import SURFACES, Surface
from .svg import page
from .trace import RULES, Trace, trace

__all__ = ["RULES", "SURFACES", "Surface", "Trace", "overview", "page", "trace"]
