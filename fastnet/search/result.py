"""What a search has found."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

from ..ensemble import Ensemble
from ..files import replace_file
from ..tables import columns
from .journal import Journal
from .space import Space
from .work import Recipe, Trained, Trial, parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SearchResult"]


class SearchResult:
    """The finished runs of a search, the best first.

    .runs               list of Trial: .settings, .score, .loss, .epochs, .seconds, .failed …
    .best               the first of them; .best.settings is what was looked for
    .warnings           sentences: ranges at whose end the best settings lie
    .table()            as text; .to_csv(path); .plot(path): every range against the score
    .net(), .ensemble() trained nets of the best runs, with their preprocessing
    .narrow()           a space around the best, for a finer search
    """

    def __init__(self, recipe: Recipe, space: Space, journal: Journal) -> None:
        self.recipe, self.space, self._journal = recipe, space, journal
        latest = {trial.index: trial for trial in sorted(journal.trials.values(), key=lambda t: t.rung)}
        self.runs = sorted(latest.values(), key=lambda t: (t.rank, -t.index), reverse=True)
        self.warnings = [] if not self.runs or self.runs[0].failed else space.edges(self.runs[0].settings)

    @property
    def best(self) -> Trial:
        """The run with the highest score. ValueError if all failed."""
        if not self.runs or self.runs[0].failed:
            reasons = {trial.failed for trial in self.runs}
            raise ValueError(f"search: none of {len(self.runs)} runs gave a score: {'; '.join(map(str, reasons)):.200}")
        return self.runs[0]

    def table(self, count: int = 20) -> str:
        """The best `count` runs as lines of text, then what the border says."""
        names = list(self.space.dimensions)
        rows = [["rank", "run", "score", "loss", "epochs", "seconds", *names]]
        for rank, trial in enumerate(self.runs[:count], 1):
            score = "failed" if trial.failed else _text(trial.score)
            numbers = [score, _text(trial.loss), str(trial.epochs), f"{trial.seconds:.1f}"]
            rows.append([str(rank), str(trial.index), *numbers, *(_text(trial.settings[name]) for name in names)])
        lines = columns(rows)
        if len(self.runs) > count:
            lines.append(f"… and {len(self.runs) - count} more")
        return "\n".join([*lines, *(f"warning: {sentence}" for sentence in self.warnings)])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """All runs, the best first, one row each."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        names = list(self.space.dimensions)
        rows.writerow(["rank", "run", "rung", "score", "loss", "epochs", "seconds", "failed", *names])
        for rank, t in enumerate(self.runs, 1):
            values = [t.settings[name] for name in names]
            rows.writerow([rank, t.index, t.rung, t.score, t.loss, t.epochs, t.seconds, t.failed or "", *values])
        replace_file(path, lambda file: file.write(text.getvalue().encode()))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """A panel per range: each run's value against its score; and the first two ranges against each other."""
        from .picture import scatter

        return scatter(self.runs, self.space, path)

    def net(self, rank: int = 1, fold: int = 0) -> Trained:
        """The net of the run at that rank (1 is the best) with its best epoch's weights: predict, evaluate, .net.

        LookupError if its weights were not kept: `keep` of the search says of how many runs they are.
        """
        return self._nets(self.runs[rank - 1])[fold]

    def ensemble(self, count: int = 5, **options: Any) -> Ensemble:
        """An Ensemble of the best `count` runs (of folds, every fold's net). options are Ensemble's."""
        good = [trial for trial in self.runs[:count] if not trial.failed]
        if not good:
            raise ValueError("search: no run gave a net")
        return Ensemble([net for trial in good for net in self._nets(trial)], **options)

    def _nets(self, trial: Trial) -> list[Trained]:
        states = self._journal.best_states(trial)
        if not states:
            raise LookupError(
                f"search: the weights of run {trial.index} were not kept; search(…, keep={len(self.runs)}) keeps all"
            )
        return [
            Trained(self.recipe, trial, part, state)
            for part, state in zip(parts(self.recipe.data, self.recipe.folds), states)
        ]

    def narrow(self, best: int = 3, shrink: float = 0.4) -> dict[str, Any]:
        """A space for the next, finer search: each range `shrink` times as wide (on its own scale) around the best run, wider
        where the best few lie further apart, choices only those that are among them. It stays inside this space: where
        .warnings says that the best lies at an end, widen that range yourself.
        """
        if not 0 < shrink <= 1:
            raise ValueError(f"search: shrink must be above 0 and at most 1, found {shrink}")
        self.best  # noqa: B018  # which says so if there is none
        good = [trial.settings for trial in self.runs[: max(1, best)] if not trial.failed]
        return self.space.narrowed(good, shrink)

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        if not self.runs or self.runs[0].failed:
            return f"SearchResult({len(self.runs)} runs, none with a score)"
        inside = ", ".join(f"{name}={_text(value)}" for name, value in self.best.settings.items())
        return f"SearchResult({len(self.runs)} runs, best {self.best.score:.4g} with {inside})"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
