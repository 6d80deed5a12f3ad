"""Which processes of this machine still ask, known by the locks that they hold on files."""

import contextlib
import fcntl
import os
import uuid
from pathlib import Path


class FileAskers:
    """Tells living askers from lost ones: each holds a lock on a file of its own for as long as it lives.

    The operating system releases the lock when the process ends, however it ends, so there is no waiting
    for a lease to run out, and neither a reused process id nor a changed clock can mislead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self.id = uuid.uuid4().hex

    def join(self) -> None:
        """Takes this asker's lock (once); to be called before its first reservation is written."""
        while self._file is None:
            self._folder.mkdir(exist_ok=True)
            for lock in self._folder.iterdir():
                if self._lost(lock):
                    lock.unlink(missing_ok=True)
            # Another asker may sweep the folder, or this file between its creation and its lock: then once more.
            with contextlib.suppress(FileNotFoundError):
                path = self._folder / self.id
                file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
                fcntl.flock(file, fcntl.LOCK_EX)
                if path.exists() and os.path.samefile(file, path):
                    self._file = file
                else:
                    os.close(file)

    def living(self, asker: str) -> bool:
        """Returns whether the process that reserved under this id still runs."""
        return asker == self.id or not self._lost(self._folder / asker)

    def leave(self) -> None:
        """Releases the lock and removes its file."""
        if self._file is not None:
            (self._folder / self.id).unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
            with contextlib.suppress(OSError):  # others are still there
                self._folder.rmdir()

    @staticmethod
    def _lost(path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDONLY)  # who only reads the ledger may not be allowed to write here
        except FileNotFoundError:
            return True
        except PermissionError:
            return False  # another user's: what cannot be known to be lost counts as living
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True
