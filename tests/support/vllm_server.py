"""A stand-in for a vLLM server: requests of `cl.models.generation.served`, answered over HTTP by a function."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cl.models.generation.served import Server

Complete = Callable[[dict[str, Any]], list[list[int]] | None]
"""From a request to the token ids of each answer. None: the connection is cut without an answer."""


def handler(complete: Complete) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self._send(200, {})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if request["max_tokens"] > 100:
                self._send(400, {"error": "max_tokens is\ntoo large"})
                return
            found = complete(request)
            if found is None:
                self.connection.close()
                return
            choices = [{"index": at, "text": "", "token_ids": ids} for at, ids in enumerate(found)]
            self._send(200, {"choices": choices[::-1]})  # in any order

        def _send(self, code: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def standing_in(complete: Complete, folder: Path, program: str = "import time; time.sleep(60)") -> Iterator[Server]:
    """A server in a thread of this process; `program` is the process that stands for vLLM's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(complete))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", process, folder / "log")
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


PROGRAM = """#!{python} -S
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
open({record!r}, "w").write(json.dumps(sys.argv[1:]))
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): ...
    def do_GET(self):
        self.send_response(200); self.end_headers()
{before}
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def install(folder: Path, version: str, before: str = "") -> Path:
    """Write a program `vllm` and its distribution; return the file in which it records its arguments.

    Args:
        folder: folder that the caller puts on PATH and on sys.path.
        version: version of the distribution.
        before: Python code that it executes before it listens.
    """
    folder.mkdir(exist_ok=True)
    record = folder / "arguments.json"
    program = folder / "vllm"
    program.write_text(PROGRAM.format(python=sys.executable, record=str(record), before=before), encoding="utf-8")
    program.chmod(0o755)
    about = folder / f"vllm-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")
    return record
