"""Writing files so that a reader finds the old one or the new one, never a part."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import BinaryIO

__all__ = ["replace_file"]


def replace_file(path: str | os.PathLike[str], fill: Callable[[BinaryIO], object]) -> None:
    """Let fill(file) write a new file beside path, bring it to the disk, and give it path's name.

    If anything fails, the old file is as it was, the new one is gone, and the error is raised. Only a killed process
    leaves its unfinished file behind (".NAME.<process>-<thread>.tmp").
    """
    path = os.path.realpath(path)  # through a link: the link stays one
    folder, name = os.path.split(path)
    unfinished = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Bring a rename to the disk. Windows and some network drives cannot be asked to."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
