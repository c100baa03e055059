"""What a Solver shows while it trains: a bar (tqdm, on a terminal), plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ..solver import Solver

__all__ = ["Bar", "Lines", "Silent", "choose"]

PATIENCE = 10.0  # seconds: a longer epoch gets lines in between


class Silent:
    """Shows nothing; the form of the others."""

    def step(self, solver: Solver) -> None:
        """A step is done."""

    def epoch(self, solver: Solver) -> None:
        """An epoch is done, its accuracies are in the history."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def close(self) -> None:
        """Training ends."""


class Lines(Silent):
    """One line per epoch, and one every ten seconds within long ones."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self.last = time.monotonic()

    def _print(self, text: str) -> None:
        print(text, file=self.stream or sys.stderr, flush=True)
        self.last = time.monotonic()

    def step(self, solver: Solver) -> None:
        if time.monotonic() - self.last > PATIENCE and solver.batch < solver.batches:
            self._print(f"{_place(solver)}  step {solver.batch}/{solver.batches}  loss {solver.history.loss[-1]:.4f}")

    def epoch(self, solver: Solver) -> None:
        self._print(_summary(solver))

    def note(self, text: str) -> None:
        self._print(text)


class Bar(Silent):
    """A tqdm bar for the epoch that runs, a line for every one that is done."""

    def __init__(self, tqdm: Any) -> None:
        self.tqdm = tqdm
        self.bar: Any = None

    def step(self, solver: Solver) -> None:
        if self.bar is None:
            self.bar = self.tqdm(
                total=solver.batches, initial=solver.batch - 1, leave=False, desc=_place(solver), unit="step"
            )
        self.bar.set_postfix_str(f"loss {solver.history.loss[-1]:.4f}", refresh=False)
        self.bar.update(1)

    def epoch(self, solver: Solver) -> None:
        self.close()
        self.tqdm.write(_summary(solver), file=sys.stderr)

    def note(self, text: str) -> None:
        self.tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def choose(progress: bool | str | None) -> Silent:
    """False: nothing; "lines" or "bar": that; None or True: a bar on a terminal where tqdm is installed, else lines."""
    if progress is False:
        return Silent()
    if progress not in (None, True, "bar", "lines"):
        raise ValueError(f'Solver: progress must be None, True, False, "bar" or "lines", found {progress!r}')
    if progress == "lines" or (progress != "bar" and not sys.stderr.isatty()):
        return Lines()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if progress == "bar":
            raise ImportError('a progress bar needs tqdm: pip install "fastnet[progress]"') from error
        return Lines()
    return Bar(tqdm)


def _place(solver: Solver) -> str:
    return f"epoch {solver.epoch + 1}/{solver.epochs}"


def _summary(solver: Solver) -> str:
    history, width = solver.history, len(str(solver.epochs))
    return (
        f"epoch {solver.epoch:{width}d}/{solver.epochs}  loss {history.epoch_loss()[-1]:.4f}"
        f"  train {history.train_accuracy[-1]:7.2%}  val {history.val_accuracy[-1]:7.2%}"
        f"  lr {history.lr[-1]:.2e}  {history.seconds[-1]:.1f} s"
    )
