"""Answers of a server: the protocol, against a stand-in; and every way in which the server is not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.models import decoding
from cl.models.generation import served
from tests.models.test_decoding import END, LIMIT, PAD, questions, sharp
from tests.support.vllm_server import install, standing_in


def test_answers_are_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "AT_ONCE", 4)
    model, asked, requests = sharp("llama-tiny"), questions(), list[dict[str, Any]]()

    def complete(request: dict[str, Any]) -> list[list[int]]:
        requests.append(request)
        prompts = [torch.tensor(ids) for ids in request["prompt"]]
        found = decoding.answers(model, prompts, request["max_tokens"], 4, request["stop_token_ids"], PAD)
        return [[*ids, END, END] for ids in found]  # what follows an end is no part of an answer

    with standing_in(complete, tmp_path) as server:
        assert server.answers(asked, LIMIT, {END}, ["\n"]) == decoding.answers(model, asked, LIMIT, 4, {END}, PAD)
    assert [len(request["prompt"]) for request in requests] == [4, 4, 1]
    assert {key: requests[0][key] for key in ("temperature", "ignore_eos", "stop", "return_token_ids")} == {
        "temperature": 0,
        "ignore_eos": True,
        "stop": ["\n"],
        "return_token_ids": True,
    }


def test_a_server_that_ends_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("loading\nCUDA out of memory\n\n")
    with standing_in(lambda request: None, tmp_path, "raise SystemExit(9)") as server:
        expected = "vllm ended while it answered: exit code 9, CUDA out of memory; nothing was scored"
        with pytest.raises(UserError, match=expected):
            server.answers(questions(), LIMIT, {END}, [])


def test_a_refused_request_is_one_line(tmp_path: Path) -> None:
    with standing_in(lambda request: [], tmp_path) as server:
        with pytest.raises(UserError, match=r'refused to answer \(400\): \{"error": "max_tokens is\\ntoo large"\}; no'):
            server.answers(questions(), 101, {END}, [])
        with pytest.raises(UserError, match=r"gave no token ids; install vllm>=0\.11"):
            server.answers(questions(), LIMIT, {END}, [])


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs and distributions of this machine."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_server_is_started_on_stored_weights_and_stopped(bin: Path) -> None:
    record = install(bin, "0.11.2")
    with served.served(Path("weights"), Path("tokens"), "bf16", "vllm 0.11.2") as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None
    arguments = json.loads(record.read_text())
    assert arguments[:2] == ["serve", "weights"]
    pairs = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    assert pairs["--tokenizer"] == "tokens"
    assert pairs["--dtype"] == "bfloat16"
    assert pairs["--generation-config"] == "vllm"  # no penalty or temperature of the model's own settings


def test_a_server_that_does_not_start_is_one_line(bin: Path) -> None:
    install(bin, "0.11.2", before="raise SystemExit('no GPU was found')")
    with (
        pytest.raises(UserError, match=r"vllm did not start: exit code 1, no GPU was found; nothing was scored"),
        served.served(Path("weights"), Path("tokens"), "fp32", "vllm 0.11.2"),
    ):
        pass


@pytest.mark.parametrize(("installed", "here"), [(None, "no vllm"), ("0.12.0", "vllm 0.12.0")])
def test_another_machine_has_another_version(bin: Path, installed: str | None, here: str) -> None:
    if installed:
        install(bin, installed)
    with (
        pytest.raises(UserError, match=f"this machine has {here}; pip install vllm==0.11.2"),
        served.served(Path("weights"), Path("tokens"), "fp32", "vllm 0.11.2"),
    ):
        pass
