"""The files of a search: every finished run is on the disk before the next one counts."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import load, save
from ..errors import FormatError
from ..files import replace_file
from ..memory import Array
from .work import Trial

__all__ = ["Journal"]


class Journal:
    """A folder with search.json (what is looked for), runs.jsonl (a line per finished run) and the best runs' states.

    A line is appended in one write and brought to the disk. A kill in the middle of it leaves a line without its end, which
    the next search drops: its run was not finished. Without a folder everything stays in memory.
    """

    def __init__(self, out: str | os.PathLike[str] | None, keep: int) -> None:
        self.out, self.keep = None if out is None else Path(out), keep
        self.states: dict[int, list[dict[str, Array]]] = {}  # of runs whose states are not on the disk
        self.saved: dict[tuple[int, int], list[bytes]] = {}  # (run, rung) -> its Solvers, without a folder
        self.trials: dict[tuple[int, int], Trial] = {}
        self.stored: set[int] = set()  # runs whose states are on the disk

    # --- beginning ------------------------------------------------------------------------------------------------------

    def open(self, about: Mapping[str, Any], runs: int) -> None:
        """Take up what an earlier search of the same description has finished of so many runs. ValueError if it was
        another search."""
        if self.out is None:
            return
        (self.out / "states").mkdir(parents=True, exist_ok=True)
        path = self.out / "search.json"
        if path.exists():
            try:
                before = json.loads(path.read_text())
            except ValueError as error:
                raise FormatError(f"{path}: not valid JSON: {error}") from None
            for name, value in json.loads(json.dumps(about)).items():
                if before.get(name) != value:
                    raise ValueError(
                        f"search: {self.out} holds a search whose {name} is {before.get(name)}, found {value}; "
                        "give another folder, or delete that one"
                    )
            self._read(runs)
        else:
            text = json.dumps(about, indent=1)
            replace_file(path, lambda file: file.write(text.encode()))

    def _read(self, runs: int) -> None:
        assert self.out is not None
        self.stored = {int(path.name[3:].partition("-")[0]) for path in (self.out / "states").glob("run*.safetensors")}
        path = self.out / "runs.jsonl"
        if not path.exists():
            return
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):  # cut off by a kill
            with open(path, "r+b") as file:
                file.truncate(end)
        for number, line in enumerate(whole[:end].splitlines(), 1):
            try:
                trial = Trial(**_from_json(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise FormatError(f"{path}, line {number}: not a finished run: {error}") from None
            if trial.index < runs:
                self.trials[trial.index, trial.rung] = trial

    # --- writing --------------------------------------------------------------------------------------------------------

    def add(self, trial: Trial, states: list[dict[str, Array]], saved: list[bytes]) -> None:
        """Note a finished run; its states first, so that a run that is noted has them."""
        key = trial.index, trial.rung
        if self.out is None:
            self.states[trial.index] = states
            self.saved[key] = saved
        else:
            for fold, state in enumerate(states):
                save(state, self._state(trial.index, fold))
                self.stored.add(trial.index)
            for fold, content in enumerate(saved):
                (self.out / "states" / f"{_name(trial.index, fold)}.rung{trial.rung}").write_bytes(content)
            line = json.dumps(_to_json(trial), allow_nan=False, default=repr) + "\n"
            handle = os.open(self.out / "runs.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, line.encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        self.trials[key] = trial
        self._forget()

    def _forget(self) -> None:
        """Remove the states of runs that are no longer among the best."""
        latest = {trial.index: trial for trial in sorted(self.trials.values(), key=lambda t: t.rung)}
        ranked = sorted(latest.values(), key=lambda t: (t.rank, -t.index), reverse=True)
        for trial in ranked[self.keep :]:
            self.states.pop(trial.index, None)
            if trial.index in self.stored:
                self.stored.remove(trial.index)
                for fold in range(max(1, len(trial.scores))):
                    self._state(trial.index, fold).unlink(missing_ok=True)

    def drop_saved(self) -> None:
        """Remove what could be continued: the search is over."""
        self.saved.clear()
        if self.out is not None:
            for path in (self.out / "states").glob("*.rung*"):
                path.unlink()

    # --- reading --------------------------------------------------------------------------------------------------------

    def continued(self, index: int, rung: int, folds: int) -> list[bytes] | None:
        """What the Solvers of that run saved; None if it is not there."""
        if self.out is None:
            return self.saved.get((index, rung))
        paths = [self.out / "states" / f"{_name(index, fold)}.rung{rung}" for fold in range(folds)]
        return [path.read_bytes() for path in paths] if all(path.exists() for path in paths) else None

    def best_states(self, trial: Trial) -> list[dict[str, Array]] | None:
        """The best state of each fold; None if the run was not among the best `keep`."""
        if trial.index in self.states:
            return self.states[trial.index]
        paths = [self._state(trial.index, fold) for fold in range(len(trial.scores))] if self.out else []
        return [load(path) for path in paths] if paths and all(path.exists() for path in paths) else None

    def _state(self, index: int, fold: int) -> Path:
        assert self.out is not None
        return self.out / "states" / f"{_name(index, fold)}.safetensors"


def _name(index: int, fold: int) -> str:
    return f"run{index:05d}-{fold}"


def _to_json(trial: Trial) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value

    found: dict[str, Any] = plain(dataclasses.asdict(trial))
    return found


def _from_json(line: dict[str, Any]) -> dict[str, Any]:
    """None where a number was not finite becomes nan again."""
    nan = math.nan
    for name in ("score", "loss"):
        line[name] = nan if line[name] is None else line[name]
    for name in ("scores", "val_accuracy"):
        line[name] = [nan if value is None else value for value in line[name]]
    return line
