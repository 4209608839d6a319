"""When a stage saves checkpoints, and how its steps wait for no more than a copy of the state.

A thread writes the copy: the files of `cl.training.checkpoint`, which is safetensors and JSON. `async_save` of
torch.distributed.checkpoint is not used, because its files are pickles, nothing in it is checksummed or forced to the
disk before it counts, and its thread runs collectives, for which a second process group of CPUs would be needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from cl.config.checkpoints import Checkpoints
from cl.methods.method import Trains
from cl.training import checkpoint


class Writer:
    """Saves the checkpoints of a stage. A context: at its end, the last checkpoint is on the disk.

    An error of the thread is raised by the next call, or at the end of the context.

    Args:
        folder: folder of the checkpoints.
        settings: when checkpoints are saved, and how.

    Attributes:
        saved: when the last checkpoint was saved, or the stage began.
        lost: seconds that training waited for it.
    """

    def __init__(self, folder: Path, settings: Checkpoints) -> None:
        self.folder, self.settings = folder, settings
        self.saved, self.lost = time.monotonic(), 0.0
        self._buffers: checkpoint.Files = {}
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._failed = threading.Event()

    def begin(self) -> None:
        """Count the time to the first checkpoint from now on."""
        self.saved = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be saved after a step: time has come, or `steps` asks for it."""
        if self.settings.steps is not None and step % self.settings.steps == 0:
            return True
        waited = time.monotonic() - self.saved
        return not self.busy and waited >= max(self.settings.seconds, self.lost / self.settings.share)

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        methods: Sequence[Trains],
        extra: Mapping[str, Any],
    ) -> None:
        """Save a checkpoint: begin it, and let it be written. Every process must call.

        Args:
            step: number of optimizer steps done.
            model: the model.
            optimizer: the optimizer.
            methods: the methods in order.
            extra: JSON data to store with the step.
        """
        began = time.monotonic()
        self.wait()
        checkpoint.begin(self.folder, step)
        files = checkpoint.files(model, optimizer, methods)
        if self.settings.background:
            copied = self._copied(files)
            self._thread = threading.Thread(target=self._write, args=(step, copied, extra), name="cl-checkpoint")
            self._thread.start()
        else:
            checkpoint.write(self.folder, step, files, extra)
        self.saved = time.monotonic()
        self.lost = self.saved - began

    def wait(self) -> None:
        """Wait for the checkpoint that is being written. Raises the error of its thread."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises the error of a thread that has ended."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, step: int, files: checkpoint.Files, extra: Mapping[str, Any]) -> None:
        try:
            checkpoint.write(self.folder, step, files, extra, self._failed.is_set)
        except BaseException as error:
            self._error = error  # raised in the thread of the training

    def _copied(self, files: checkpoint.Files) -> checkpoint.Files:
        """A copy of tensors in memory that is used again for the next checkpoint."""
        kept, self._buffers = self._buffers, {}
        for file, tensors in files.items():
            before = kept.get(file, {})
            self._buffers[file] = {name: _copy(value, before.get(name)) for name, value in tensors.items()}
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # copies from a device do not wait
        return self._buffers

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
            return
        self._failed.set()
        try:
            self.wait()
        except Exception as another:
            error.add_note(f"The last checkpoint could not be written either: {another}")


def _copy(value: Tensor, buffer: Tensor | None) -> Tensor:
    """Copy a tensor to the CPU, into a buffer of its shape if there is one."""
    if buffer is None or buffer.shape != value.shape or buffer.dtype != value.dtype:
        buffer = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
    return buffer.copy_(value.detach(), non_blocking=value.is_cuda)
