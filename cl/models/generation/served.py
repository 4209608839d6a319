"""Answers of a vLLM server, which a node starts on the weights of a state (`evaluation.engine: vllm`).

    vllm serve FOLDER --port … ; GET /health ; POST /v1/completions, the protocol of OpenAI

Prompts are sent, and answers come back, as token ids, so that no text is tokenized twice. Every token is the likeliest:
the model's generation settings and its own end of text are switched off. Answers are those of transformers but for
rounding: vLLM's kernels decide another way between tokens that are nearly equally likely.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from cl.errors import UserError

STARTS, ANSWERS = 900.0, 3600.0
"""Seconds that a server may take to start (it compiles kernels), and to answer one request."""
AT_ONCE = 256  # questions per request: the server forms its batches itself, and a lost request names few questions
SHARE = 0.5
"""Share of a GPU's memory that the server takes: the model that computes the losses is on the same GPU."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
NAME = "state"
REMEDY = "nothing was scored; run again, or set evaluation.engine: transformers"


class Server:
    """A server that answers, as a process of this node.

    Args:
        address: its URL.
        process: the process.
        log: file of its output.
    """

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.address, self.process, self.log = address, process, log

    def answers(
        self, questions: Sequence[Tensor], limit: int, ends: Collection[int], stop: Sequence[str]
    ) -> list[list[int]]:
        """Return the token ids of the answer to each question, without its end of turn.

        Args:
            questions: token ids [n] of each question.
            limit: largest number of tokens of an answer.
            ends: ids of the tokens that end an answer.
            stop: texts that end an answer; the tokens of one may be among the answer's.

        Raises:
            UserError: if the server ends, refuses the request or does not answer in time.
        """
        found: list[list[int]] = []
        for start in range(0, len(questions), AT_ONCE):
            asked = [question.tolist() for question in questions[start : start + AT_ONCE]]
            request = {
                "model": NAME,
                "prompt": asked,
                "max_tokens": limit,
                "temperature": 0,
                "stop_token_ids": sorted(ends),
                "stop": list(stop) or None,
                "include_stop_str_in_output": True,
                "ignore_eos": True,  # it is among `ends`, where the model states one
                "return_token_ids": True,
            }
            choices = sorted(self._asked("/v1/completions", request)["choices"], key=lambda choice: choice["index"])
            if len(choices) != len(asked) or any(choice.get("token_ids") is None for choice in choices):
                raise UserError(f"evaluation.engine: the server gave no token ids; install vllm>=0.11; {REMEDY}")
            found += [_until(choice["token_ids"], ends) for choice in choices]
        return found

    def wait(self) -> None:
        """Return as soon as the server is ready. Raises UserError if it ends first, or is not ready in STARTS."""
        until = time.monotonic() + STARTS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise UserError(f"evaluation.engine: vllm did not start: {self._last()}; {REMEDY}")
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=10):
                    return
            except OSError:  # not listening yet
                time.sleep(0.2)
        raise UserError(f"evaluation.engine: vllm was not ready after {STARTS:.0f} s: {self._last()}; {REMEDY}")

    def _asked(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """The JSON answer to a request."""
        body, kind = json.dumps(content).encode(), {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.address}{path}", body, kind), timeout=ANSWERS
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            told = " ".join(error.read().decode(errors="replace").split())
            raise UserError(
                f"evaluation.engine: the server refused to answer ({error.code}): {told}; {REMEDY}"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UserError(f"evaluation.engine: vllm ended while it answered: {self._last()}; {REMEDY}") from error

    def _last(self) -> str:
        """Exit code, if the server has ended, and the last line that it wrote."""
        try:
            code: int | None = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return said if code is None else f"exit code {code}, {said}"


@contextmanager
def served(model: Path, tokenizer: Path, precision: str, engine: str) -> Iterator[Server]:
    """Start a server on stored weights, and stop it when the context is left.

    Args:
        model: folder of merged weights and configuration.
        tokenizer: folder of the tokenizer.
        precision: `fp32` or `bf16`.
        engine: name and version, as in the node's key.

    Raises:
        UserError: if vLLM is missing here or of another version, and if it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*_program(engine), "serve", str(model), "--tokenizer", str(tokenizer), "--served-model-name", NAME]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", DTYPES[precision], "--seed", "0"]
    command += ["--generation-config", "vllm", "--gpu-memory-utilization", str(SHARE)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        server = Server(f"http://127.0.0.1:{port}", process, log)
        try:
            server.wait()
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _program(engine: str) -> list[str]:
    """The command of the engine. Raises UserError if it is missing here or of another version."""
    name, _, wanted = engine.partition(" ")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = ""
    program = shutil.which(name)
    if found != wanted or program is None:
        here = f"{name} {found}" if found and program else f"no {name}"
        raise UserError(f"evaluation.engine: this machine has {here}; pip install {name}=={wanted}")
    return [program]


def _until(ids: list[int], ends: Collection[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]
