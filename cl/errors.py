"""The exception for users' mistakes, its message on one line, and errors of the machine rather than of `cl`."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

LONGEST = 300
"""Characters of a message, with the words that the command line puts before it."""
MOST_READ = 20_000
"""Characters of a message that are looked at."""
_VALUES = re.compile(
    r"""'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | \{.*\} | \[.*\] | \(known:[^)]*\) | [^\s'"]{30,}""", re.VERBOSE
)
"""Parts of a message that repeat what was given, or list what there is."""


class UserError(Exception):
    """Invalid input. The message is one line that names the key, the value and the remedy.

    The command line prints the message without a traceback and exits with code 2. Any other exception is a defect of
    `cl` and keeps its traceback.
    """


class DivergedError(UserError):
    """The loss, a gradient or a score is no finite number.

    Args:
        step: optimizer step of the stage; None: it is a score.
        loss: last finite loss; None: there was none.
    """

    def __init__(self, step: int | None = None, loss: float | None = None) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, loss

    def __str__(self) -> str:
        if self.step is None:
            return "diverged: a score is not finite; lower train.lr or train.clip"
        if self.loss is None:
            return f"the loss was not finite from step {self.step} on; check the model's weights and train.precision"
        return f"diverged at step {self.step}, last finite loss {self.loss:.4g}; lower train.lr or train.clip"


class IncompleteError(UserError):
    """Some nodes failed. All nodes that do not stand on them are stored.

    Args:
        failures: name of each such node and what happened, by the node's key.
    """

    def __init__(self, failures: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        told = "; ".join(f"{name}: {what}" for name, what in self.failures.values())
        return f"{told}; all that does not stand on it is done"


def one_line(message: str, most: int = LONGEST) -> str:
    """A message as one line of limited length, without control characters.

    The ends of long values are kept and their middle is left out, so that key and remedy stay readable.

    Args:
        message: any text.
        most: number of characters.
    """
    words = _ends(" ".join(message.split()), MOST_READ)
    line = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in words)
    for width in (160, 100, 60, 40, 20):
        if len(line) > most:
            line = _VALUES.sub(lambda found, width=width: _ends(found[0], width), line)  # type: ignore[misc]
    return _ends(line, most)


def _ends(text: str, most: int) -> str:
    """The two ends of a text of more than `most` characters."""
    last = most // 3
    return text if len(text) <= most else f"{text[: most - last - 3]} … {text[len(text) - last :]}"


MACHINE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "ask for the permission, or name another folder",
    errno.EPERM: "ask for the permission, or name another folder",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise `ulimit -n`",
}
"""Errors of the operating system that are no defect of `cl`, with the remedy."""
WORDS = {
    "No space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "Read-only file system": errno.EROFS,
    "Unable to locate credentials": errno.EACCES,
}
"""What libraries without an error number say."""


def of_machine(error: BaseException | None) -> str | None:
    """A line about an error of the machine, such as a full disk, with its remedy. None: the error is another one.

    Args:
        error: the error; what caused it is looked at as well.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        number = number or next((found for word, found in WORDS.items() if word in str(error)), None)
        if number in MACHINE:
            kept = "finished nodes and the newest checkpoint are kept: run it again to go on"
            return f"{' '.join(str(error).split())}; {MACHINE[number]}; {kept}"
        error = error.__cause__ or error.__context__
    return None
