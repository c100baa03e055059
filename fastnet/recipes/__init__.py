"""Recipes: whole training runs to a known accuracy, each one plain function from data to result.

A recipe is a file of this folder with a function `run(data, root, *, …) -> Result`; `fastnet train --recipe NAME` finds it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

__all__ = ["about", "get", "names"]


def names() -> list[str]:
    """The recipes there are: the files of this folder, but for what they share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "result")


def get(name: str) -> Callable[..., Any]:
    """The function `run` of the recipe of that name. ValueError if there is none."""
    if name not in names():
        raise ValueError(f"recipes.get: there is no {name!r}; there are {', '.join(names())}")
    run: Callable[..., Any] = importlib.import_module(f"{__name__}.{name}").run
    return run


def about(name: str) -> str:
    """The first line of what the recipe says about itself."""
    return (importlib.import_module(f"{__name__}.{name}").__doc__ or "").strip().splitlines()[0]
