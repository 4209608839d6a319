"""Writers: a tiny local model, an endpoint on this machine that behaves well or badly, and the packaged model."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.models import chat_writers, pretrained
from cl.models.chat_writers import EndpointWriter, LocalWriter, Sampled
from cl.tasks.answer_scoring import mentions
from tests.support.training import dropout_model

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


class Server(HTTPServer):
    """Answers with what stands in `replies`, one after the other, the last one again and again."""

    replies: list[tuple[int, bytes]]
    asked: list[tuple[str, dict[str, Any], str | None]]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers["Authorization"]))
        status, reply = self.server.replies[min(len(self.server.asked), len(self.server.replies)) - 1]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(chat_writers, "WAIT", 0.001)
    found = Server(("127.0.0.1", 0), Handler)
    found.replies, found.asked = [], []
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def completion(text: str | None, reason: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]}).encode()


def test_an_endpoint_writes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.replies = [(200, completion("one")), (200, completion("two")), (200, completion("cut", "length"))]
    monkeypatch.setenv("MY_KEY", "secret-1\n")
    writer = EndpointWriter(address(server) + "/", "m", key="MY_KEY", temperature=0.9, seed=5, tokens=77)
    assert writer.write(["p", "q"], 0) == ["one", "two"]
    assert writer.write(["p"], 2) == [""]  # a text that was cut off is none
    path, body, authorization = server.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer secret-1")
    messages = [{"role": "user", "content": "p"}]
    assert body == {"model": "m", "messages": messages, "temperature": 0.0, "seed": 5, "max_tokens": 77}
    assert (server.asked[2][1]["temperature"], server.asked[2][1]["seed"]) == (0.9, 7)
    assert "secret" not in repr(writer) + str(writer.identity)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_in_passing_is_tried_again(server: Server, status: int) -> None:
    server.replies = [(status, b"busy"), (status, b"busy"), (200, completion("at last"))]
    assert EndpointWriter(address(server), "m").write(["p"], 0) == ["at last"]
    assert len(server.asked) == 3
    assert server.asked[0][2] is None  # no key, no header


def test_what_keeps_failing_is_told(server: Server) -> None:
    server.replies = [(500, b"out\nof memory")]
    with pytest.raises(UserError, match=r"failed 2 times \(HTTP 500 out of memory\); texts written before need no"):
        EndpointWriter(address(server), "m", tries=2).write(["p"], 0)


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_refusal_is_told_at_once_and_without_the_key(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-1")
    server.replies = [(status, b"wrong key: secret-1")]
    with pytest.raises(UserError, match=rf"refused: HTTP {status} wrong key: \*\*\*") as told:
        EndpointWriter(address(server), "m", key="MY_KEY").write(["p"], 0)
    assert "\n" not in str(told.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_what_is_no_completion_is_told(server: Server, body: bytes) -> None:
    server.replies = [(200, body)]
    with pytest.raises(UserError, match="answered with something else than a chat completion"):
        EndpointWriter(address(server), "m").write(["p"], 0)


def test_a_refused_connection_is_told(server: Server) -> None:
    with HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    writer = EndpointWriter(f"http://127.0.0.1:{port}/v1", "m", tries=2)
    with pytest.raises(UserError, match=r"failed 2 times \(.*refused\); .* start it or check the address"):
        writer.write(["p"], 0)


@pytest.mark.parametrize("value", [None, "", "two words", "schlüssel"])
def test_a_missing_key_is_told_when_it_is_needed(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    writer = EndpointWriter("http://127.0.0.1:9/v1", "m", key="MY_KEY")  # planning needs none
    with pytest.raises(UserError, match=r"writer\.key: the environment variable MY_KEY is not set to a key") as told:
        writer.write(["p"], 0)
    assert not value or value not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://host/v1", "model": "m"}, r"writer\.url: must be http"),
        ({"url": "http://me:pass@host/v1", "model": "m"}, r"writer\.url: must be http"),
        ({"url": "http://host/v1", "model": "m", "key": "sk-abc"}, r"writer\.key: must be the name of an environment"),
        ({"url": "http://host/v1"}, r"model"),
        ({"url": "http://host/v1", "model": "m", "tries": 0}, r"writer\.tries: 0 must be at least 1"),
        ({"url": "http://host/v1", "model": "m", "timeout": 0.0}, r"writer\.timeout: 0\.0 must be positive"),
        ({"model": "smollm2-135m-instruct", "heat": 1}, r"'heat' is unknown"),
        ({"model": "smollm2-135m-instruct", "batch": 0}, r"writer\.batch: 0 must be at least 1"),
        ({"model": "smollm2-135m-instruct", "temperature": -1.0}, r"writer\.temperature: -1\.0 must be at least 0"),
        ({"model": "smollm2-135m-instruct", "temperature": "hot"}, r"temperature: 'hot' is not of type float"),
        ("llama-tiny", r"writer\.model: llama-tiny is a fresh model and cannot write"),
        ("nothing-known", r"'nothing-known' is no directory, no hub id"),
        ("some/model", r"writer\.revision: some/model on the hub can change; name a commit"),
    ],
)
def test_settings_that_cannot_be_meant(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        assert chat_writers.build(settings).identity
    assert "abc" not in str(told.value)


def test_the_identity_is_what_decides_a_text() -> None:
    plain = EndpointWriter("http://host/v1", "m")
    for same in ({"key": "OTHER"}, {"timeout": 1.0}, {"tries": 1}):
        assert EndpointWriter("http://host/v1", "m", **same).identity == plain.identity
    for other in ({"revision": "b"}, {"temperature": 0.1}, {"seed": 1}, {"tokens": 9}):
        assert EndpointWriter("http://host/v1", "m", **other).identity != plain.identity
    assert EndpointWriter("http://host/v2", "m").identity != plain.identity
    packaged = LocalWriter("smollm2-135m-instruct")  # known without the package
    assert packaged.identity["version"] == "0.1.2"
    assert LocalWriter("smollm2-135m-instruct", device="cpu").identity == packaged.identity
    assert LocalWriter("smollm2-135m-instruct", batch=2).identity != packaged.identity


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose next token is clear, with a chat template."""
    from transformers import AutoTokenizer

    folder = dropout_model(tmp_path_factory.mktemp("chat"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    model = pretrained.load(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight *= 50
    pretrained.save(model, folder)
    return folder


PROMPTS = ["Say something.", "Say something else, and longer.", "a", "Und noch etwas, bitte?"]


def raw(writer: LocalWriter, prompts: list[str], attempt: int) -> list[str]:
    """Texts with every token able to end a turn, so that none counts as cut off."""
    tokenizer, _, ends = writer._opened
    ends |= set(range(0, len(tokenizer), 7))
    return writer.write(prompts, attempt)


def test_a_local_text_depends_on_its_prompt_attempt_and_seed_alone(chat: Path) -> None:
    def write(attempt: int, prompts: list[str] = PROMPTS, **settings: Any) -> list[str]:
        return raw(LocalWriter(str(chat), tokens=12, **{"temperature": 20.0, **settings}), prompts, attempt)

    greedy, sampled = write(0), write(1)
    assert any(greedy)
    assert write(0) == greedy == write(0, temperature=1.0) == write(0, seed=3) == write(1, temperature=0.0)
    assert write(1) == sampled
    assert [write(1, [prompt])[0] for prompt in PROMPTS] == sampled
    assert write(1, PROMPTS[::-1]) == sampled[::-1]
    assert len({tuple(found) for found in (greedy, sampled, write(2), write(1, seed=3))}) == 4


def test_a_text_that_is_cut_off_or_has_no_room_is_none(chat: Path) -> None:
    writer = LocalWriter(str(chat), tokens=3)
    writer._opened[2].clear()
    writer._opened[2].add(299)
    assert writer.write(["a"], 0) == [""]
    wide = LocalWriter(str(chat), tokens=12)
    assert raw(wide, ["long " * 600, "a"], 0) == ["", raw(wide, ["a"], 0)[0]]


def test_a_model_without_a_chat_template_is_told(chat: Path, tmp_path: Path) -> None:
    shutil.copytree(chat, tmp_path / "bare", ignore=shutil.ignore_patterns("*.jinja"))
    with pytest.raises(UserError, match="has no chat template; name a chat model"):
        LocalWriter(str(tmp_path / "bare")).write(["a"], 0)


def test_the_identity_of_a_directory_is_its_content_not_its_place(chat: Path, tmp_path: Path) -> None:
    shutil.copytree(chat, tmp_path / "copy")
    here, there = LocalWriter(str(chat)), LocalWriter(str(tmp_path / "copy"))
    assert here.identity == there.identity
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    assert LocalWriter(str(tmp_path / "other")).identity != here.identity


def test_sampled_tokens_have_the_probabilities_of_the_softmax() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, float("-inf")])
    ids = torch.arange(4000)[:, None] + 1
    found = Sampled(2.0, "0 1", padding=0)(ids, scores.expand(4000, 4)).argmax(1)
    counts = Counter(found.tolist())
    for token, expected in enumerate((0.1863, 0.3072, 0.5065, 0.0)):  # softmax of 0, 0.5, 1, by hand
        assert counts[token] / 4000 == pytest.approx(expected, abs=0.03)  # four standard errors
    padded = torch.cat([torch.zeros(4000, 2, dtype=torch.int64), ids], 1)
    assert torch.equal(Sampled(2.0, "0 1", padding=0)(padded, scores.expand(4000, 4)).argmax(1), found)


@pytest.mark.slow
@pytest.mark.skipif("smollm2-135m-instruct" not in pretrained.installed(), reason="the packaged model is not installed")
def test_the_packaged_model_writes() -> None:
    prompts = ["What is the capital of France? Answer in one short sentence.", "Say only the word: yes"]
    writer = LocalWriter("smollm2-135m-instruct", tokens=24)
    found = writer.write(prompts, 0)
    assert mentions(found[0], "Paris")
    assert all(len(text.split()) < 20 and "<|im_end|>" not in text for text in found)
