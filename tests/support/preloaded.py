"""A Python interpreter that starts with this project's libraries imported, for tests that start processes.

Importing torch, transformers, Lightning and MLflow takes 5 to 10 seconds. One server process imports them once; its
client, an executable that takes the arguments of `python`, asks it for a fork in which those arguments are executed:
with the client's working directory, environment, standard streams and exit status. A signal that the client receives
is sent to the fork; a client that is killed takes its fork with it.

Not for tests of the start itself: what is imported when, and how the installed command behaves.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch.distributed.run", "transformers.models.llama.modeling_llama", "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.auto.modeling_auto", "pytorch_lightning", "peft", "tokenizers", "datasets", "mlflow",
    "mlflow.server.fastapi_app", "optuna", "submitit",
)  # fmt: skip
CLIENT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ), "executable": {client!r}}}
body = json.dumps(asked).encode()
streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
server.sendmsg([len(body).to_bytes(8, "big")], streams)
server.sendall(body)
answers = server.makefile()
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, _: os.kill(child, number))
status = int(answers.readline())
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def start(folder: Path) -> tuple[Path, subprocess.Popen[bytes]]:
    """Start a server.

    Args:
        folder: holds the client and the server's socket.

    Returns:
        The client, which waits until the server has imported the libraries, and the server.
    """
    address, client = str(folder / "socket"), folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=address, client=str(client)), encoding="utf-8")
    client.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    with listener:
        command = [sys.executable, "-P", str(Path(__file__)), str(listener.fileno())]
        return client, subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.PIPE)


class Server:
    """Forks a process for each client, without threads of its own, and reports how the process ended."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.selector = listener, selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self.stop)

    def serve(self) -> dict[str, Any]:
        """Serve clients. In a fork: return what its client asked for."""
        asked: dict[str, Any] | None = None
        while not asked:
            for key, _ in self.selector.select():
                if not asked and key.fd in self.selector.get_map():  # the event before may have ended this client
                    asked = key.data()
        return asked

    def stop(self) -> None:
        """The tests are over: end."""
        os._exit(0)

    def accept(self) -> dict[str, Any] | None:
        """Fork for a new client; in the fork, return what it asked for."""
        client, _ = self.listener.accept()
        head, streams, _, _ = socket.recv_fds(client, 8, 3)
        with client.makefile("rb") as sent:
            asked: dict[str, Any] = json.loads(sent.read(int.from_bytes(head, "big")))
        if (child := os.fork()) == 0:
            os.setsid()  # a killed client takes what its process has started with it
            self.selector.close()
            self.listener.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for each in (*streams, client.detach()):
                os.close(each)
            return asked
        for stream in streams:
            os.close(stream)
        client.sendall(f"{child}\n".encode())
        end = os.pidfd_open(child)
        self.selector.register(end, selectors.EVENT_READ, partial(self.ended, child, end, client))
        self.selector.register(client, selectors.EVENT_READ, partial(os.killpg, child, signal.SIGKILL))
        return None

    def ended(self, child: int, end: int, client: socket.socket) -> None:
        """Tell the client how its process ended."""
        _, status = os.waitpid(child, 0)
        self.selector.unregister(end)
        self.selector.unregister(client)
        os.close(end)
        with client, contextlib.suppress(BrokenPipeError):  # the client was killed
            client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def execute(asked: dict[str, Any], path: list[str]) -> None:
    """Execute the arguments of `python` in this process: -P, -u, -m MODULE, -c PROGRAM, or a file."""
    arguments, environment = list(asked["arguments"]), asked["environment"]
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = asked["executable"]
    safe = bool(environment.get("PYTHONSAFEPATH"))
    while arguments and arguments[0] in ("-P", "-u"):
        safe |= arguments.pop(0) == "-P"
    sys.path[:] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *path]
    _settle()
    if arguments[0] not in ("-m", "-c"):
        sys.argv = arguments
        sys.path[:0] = [] if safe else [str(Path(arguments[0]).parent)]
        runpy.run_path(arguments[0], run_name="__main__")
        return
    kind, what, *rest = arguments
    sys.argv = [kind, *rest]
    sys.path[:0] = [] if safe else [os.getcwd() if kind == "-m" else ""]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def _settle() -> None:
    """What an interpreter settles at its start and a fork inherits: chance, threads."""
    import random

    import torch

    random.seed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))


def main() -> None:
    """Import the libraries, then serve."""
    import importlib

    path = sys.path[:]
    listener = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    asked = Server(listener).serve()
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    status = _status(partial(execute, asked, path))
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)  # taking the imported modules down would take 3 seconds


def _status(call: Callable[[], None]) -> int:
    """Call, wait for its threads, and return the exit status that Python gives."""
    try:
        call()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        status = int(end.code or 0) if isinstance(end.code, int | None) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    else:
        status = 0
    threading._shutdown()  # type: ignore[attr-defined]
    return status


if __name__ == "__main__":
    main()
