"""Nets and whole training states as files: safetensors for the arrays, JSON for the settings, never pickle."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import safetensors
from .errors import FormatError
from .memory import Array

__all__ = ["Checkpoint", "load", "load_settings", "pack", "save", "unpack"]

SETTINGS = "fastnet.settings"  # the metadata key that holds our JSON


def save(net_or_state: Any, path: str | os.PathLike[str], settings: Mapping[str, Any] | None = None) -> None:
    """Write a net's state, or any mapping of name -> array, to a safetensors file; settings are JSON values beside it.

    The file appears whole or not at all: it is written under another name, brought to the disk and renamed.
    TypeError if there is nothing to save in it, or settings are no JSON.
    """
    state = net_or_state.state_dict() if hasattr(net_or_state, "state_dict") else net_or_state
    if not isinstance(state, Mapping):
        raise TypeError(f"save: expected a net or a mapping of name to array, found {type(net_or_state).__name__}")
    metadata = {}
    if settings is not None:
        try:
            metadata[SETTINGS] = json.dumps(dict(settings), allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise TypeError(f"save: the settings must be JSON values: {error}") from None
    safetensors.write(path, state, metadata)


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Name -> array of a safetensors file, ours or another's. FormatError if it is damaged or no such file.

    `net.load_state_dict(fastnet.load(path))` brings a saved net back.
    """
    return safetensors.read(path)[0]


def load_settings(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """(what `load` gives, the settings that `save` was given): {} for a file without."""
    state, metadata = safetensors.read(path)
    return state, _settings(path, metadata.get(SETTINGS, "{}"))


def _settings(path: str | os.PathLike[str], text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{os.fspath(path)}: the settings are not valid JSON: {error}") from None
    if not isinstance(settings, dict):
        raise FormatError(f"{os.fspath(path)}: the settings are not a JSON object")
    return settings


def pack(tree: Any, prefix: str) -> tuple[Any, dict[str, Array]]:
    """(JSON, arrays) of nested dicts, lists and tuples with arrays among the leaves; `unpack` puts them together again.

    An array becomes {"@": name} with the name prefix/key/key…; NumPy scalars become Python's; tuples become lists.
    """
    arrays: dict[str, Array] = {}

    def walk(node: Any, name: str) -> Any:
        if isinstance(node, Mapping):
            if not all(isinstance(key, str) for key in node):
                raise TypeError(f"checkpoint: {name} has keys that are not text: {list(node)!r:.80}")
            return {key: walk(value, f"{name}/{key}") for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [walk(value, f"{name}/{i}") for i, value in enumerate(node)]
        if isinstance(node, np.ndarray):
            arrays[name] = node
            return {"@": name}
        if isinstance(node, np.generic):
            return node.item()
        if isinstance(node, float) and not np.isfinite(node):
            return {"@float": repr(node)}
        return node

    return walk(tree, prefix), arrays


def unpack(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """What `pack` was given. FormatError if an array is missing."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if node.keys() == {"@"}:
                if not isinstance(node["@"], str) or node["@"] not in arrays:
                    raise FormatError(f"checkpoint: the array {node['@']!r:.80} is missing")
                return arrays[node["@"]]
            if node.keys() == {"@float"} and node["@float"] in ("nan", "inf", "-inf"):
                return float(node["@float"])
            return {key: walk(value) for key, value in node.items()}
        return [walk(value) for value in node] if isinstance(node, list) else node

    try:
        return walk(tree)
    except RecursionError:
        raise FormatError("checkpoint: the settings are nested too deeply") from None


class Checkpoint:
    """When and where a Solver writes its state.

    path            one file, replaced each time; or a pattern with {epoch} or {step}, as "run/{step:06d}.safetensors"
    every_epochs    after every so many epochs (None: never), and always after the last
    every_steps     after every so many steps as well (None: never)
    keep            with a pattern: only the latest so many files (None: all of them)
    about           JSON values to keep in the file beside the state (which model, which data)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        keep: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.name = os.path.split(os.fspath(path))
        for name, value in (("every_epochs", every_epochs), ("every_steps", every_steps), ("keep", keep)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"Checkpoint: {name} must be None or an integer of at least 1, found {value!r}")
        self.pattern = re.search(r"\{(epoch|step)\b[^{}]*\}", self.name) is not None
        try:
            if self.pattern:
                self.name.format(step=1, epoch=1)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"Checkpoint: only {{epoch}} and {{step}} can stand in a file's name, found {self.name!r}"
            ) from error
        if not self.name or os.path.isdir(path):
            raise ValueError(f"Checkpoint: path must name a file, found the folder {os.fspath(path)!r}")
        if keep is not None and keep > 1 and not self.pattern:
            raise ValueError(
                f"Checkpoint: keep={keep} needs {{epoch}} or {{step}} in the file's name, found {self.name!r}"
            )
        self.every_epochs, self.every_steps, self.keep = every_epochs, every_steps, keep
        self.about = dict(about or {})
        self.written: list[str] = []

    def due(self, step: int, epoch_done: int | None) -> bool:
        """Is a file wanted after this step, which ended that epoch (None: it ended none)?"""
        if self.every_epochs and epoch_done is not None and epoch_done % self.every_epochs == 0:
            return True
        return self.every_steps is not None and step % self.every_steps == 0

    def write(self, state: Mapping[str, Array], settings: Mapping[str, Any], *, step: int, epoch: int) -> str:
        """Save under the name for this step and epoch, then remove what is older than the latest `keep`; the path."""
        os.makedirs(self.folder or ".", exist_ok=True)
        path = os.path.join(self.folder, self.name.format(step=step, epoch=epoch) if self.pattern else self.name)
        save(state, path, {"about": self.about, **settings})
        self.written = [*(old for old in self.written if old != path), path]
        if self.pattern and self.keep is not None:
            while len(self.written) > self.keep:
                Path(self.written.pop(0)).unlink(missing_ok=True)
        return path
