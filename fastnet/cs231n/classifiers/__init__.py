"""The course's nets: models with .params and .loss(X, y), for `fastnet.cs231n.solver.Solver`."""

from . import cnn, fc_net

__all__ = ["cnn", "fc_net"]
