"""Public benchmark formats, on small files written here, and on the real ones where a directory is named."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.splitting import Shares, split_texts
from scenarios.sources.benchmarks import CLBenchmark, Clinc, Coin, Trace

REAL = Path(os.environ.get("CL_BENCHMARKS", ""))
real = pytest.mark.skipif("CL_BENCHMARKS" not in os.environ, reason="CL_BENCHMARKS names no directory of benchmarks")


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_trace(tmp_path: Path) -> None:
    for file, count in (("train", 3), ("eval", 2), ("test", 1)):
        write(
            tmp_path / "TRACE" / "C-STANCE" / f"{file}.json",
            [{"prompt": f"{file} {i}?", "answer": "A"} for i in range(count)],
        )
    found = list(Trace("TRACE", "C-STANCE", folder=str(tmp_path)).documents())
    assert Counter(example.split for example in found) == {"train": 3, "validation": 2, "test": 1}
    assert (found[0].question, found[0].answer) == ("train 0?", "A")


def test_trace_names_a_bad_item(tmp_path: Path) -> None:
    for file in ("train", "eval", "test"):
        write(tmp_path / "T" / "x" / f"{file}.json", [{"prompt": "a?", "answer": "b"}, {"prompt": "a?"}])
    with pytest.raises(UserError, match=r"train\.json, item 2: there is no column 'answer'"):
        list(Trace("T", "x", folder=str(tmp_path)).documents())


def benchmark(folder: Path, labels: list[str], test_labels: list[str]) -> CLBenchmark:
    base = folder / "CL" / "NLI" / "MNLI"
    write(base / "labels.json", labels)
    write(base / "train.json", [{"label": labels[i % 2], "sentence": f"pair {i}"} for i in range(100)])
    test = [{"label": label, "sentence": f"test pair {i}"} for i, label in enumerate(test_labels)]
    write(base / "test.json", test)
    write(base / "dev.json", test)  # the benchmark's defect
    return CLBenchmark("CL", "NLI/MNLI", folder=str(folder))


def test_cl_benchmark_s_validation_is_not_its_test(tmp_path: Path) -> None:
    source = benchmark(tmp_path, ["neutral", "entailment"], ["neutral", "entailment"])
    splits = split_texts([(source.documents(), None)], Shares(0.2, 0.2, 0), None, False)
    assert len(splits.test) == 2
    assert 5 < len(splits.validation) < 40
    assert len(splits.train) + len(splits.validation) == 100
    assert all("test pair" not in str(example) for example in (*splits.train, *splits.validation))


def test_cl_benchmark_drops_rows_without_a_label_and_refuses_unknown_ones(tmp_path: Path) -> None:
    source = benchmark(tmp_path, ["neutral", "entailment"], ["neutral", "-", "-"])
    assert sum(example.split == "test" for example in source.documents()) == 1
    other = benchmark(tmp_path, ["neutral", "entailment"], ["maybe"])
    with pytest.raises(UserError, match=r"test\.json, item 1: label 'maybe' is none of"):
        list(other.documents())


def test_a_dash_is_a_label_where_the_labels_have_it(tmp_path: Path) -> None:
    found = benchmark(tmp_path, ["-", "entailment"], ["-"]).documents()
    assert [example.answer for example in found if example.split == "test"] == ["-"]


def test_cl_benchmark_asks_in_the_words_of_o_lora(tmp_path: Path) -> None:
    example = next(benchmark(tmp_path, ["neutral", "entailment"], []).documents())
    assert example.options == ("neutral", "entailment")
    assert example.question.splitlines() == [
        'What is the logical relationship between the "sentence 1" and the "sentence 2"? Choose one from the option.',
        "Option: neutral, entailment",
        "pair 0",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["text"], "item 1: is not a JSON object"),
        ([{"label": "neutral"}], "item 1: there is no column 'sentence'"),
        ([{"label": "neutral", "sentence": 3}], "item 1: column 'sentence' holds 3, which is not text"),
        ({}, "must hold a JSON list"),
    ],
)
def test_cl_benchmark_names_a_bad_row(rows: Any, message: str, tmp_path: Path) -> None:
    source = benchmark(tmp_path, ["neutral", "entailment"], [])
    write(tmp_path / "CL" / "NLI" / "MNLI" / "train.json", rows)
    with pytest.raises(UserError, match=message):
        list(source.documents())


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "CL" / "NLP" / "MNLI" / "labels.json", ["a"])
    with pytest.raises(UserError, match="dataset: family: 'NLP' is unknown; did you mean 'NLI'"):
        CLBenchmark("CL", "NLP/MNLI", folder=str(tmp_path))


@pytest.mark.parametrize("content", [b"[\xff]", b"[", b""])
def test_what_is_not_json_in_utf_8_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.json is not JSON in UTF-8: "):
        list(Coin("train.json", folder=str(tmp_path)).documents())


def test_a_wrong_data_set_gets_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give FAMILY/NAME, such as NLI/MNLI"):
        CLBenchmark("CL", "MNLI", folder=str(tmp_path))


def conversation(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **more}


def test_coin(tmp_path: Path) -> None:
    write(tmp_path / "train.json", [conversation("2 + 2?", "4"), conversation("<image>\nwhat?", "cat", image="1.jpg")])
    with pytest.raises(UserError, match=r"train\.json, item 2: needs its image; set images: drop"):
        list(Coin("train.json", folder=str(tmp_path)).documents())
    (example,) = Coin("train.json", images="drop", folder=str(tmp_path)).documents()
    assert (example.question, example.answer, example.split) == ("2 + 2?", "4", None)


def test_coin_reads_the_first_turns(tmp_path: Path) -> None:
    turns = [("human", "first?"), ("gpt", "1"), ("human", "second?"), ("gpt", "2")]
    item = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    write(tmp_path / "train.json", [item])
    write(tmp_path / "test.json", [item])
    found = list(Coin("train.json", "test.json", folder=str(tmp_path)).documents())
    assert [(e.question, e.answer, e.split) for e in found] == [("first?", "1", "train"), ("first?", "1", "test")]


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"conversations": "2 + 2?"},
        {"conversations": ["2 + 2?"]},
        {"conversations": [{"value": "2 + 2?"}]},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": 4}]},
    ],
)
def test_coin_names_a_bad_item(item: Any, tmp_path: Path) -> None:
    write(tmp_path / "train.json", [item])
    with pytest.raises(UserError, match="item 1: field 'conversations' has no text from human or none from gpt"):
        list(Coin("train.json", folder=str(tmp_path)).documents())


def clinc(folder: Path) -> str:
    write(folder / "clinc" / "domains.json", {"banking": ["pay_bill", "balance"], "travel": ["book_flight"]})
    rows = [["pay my rent", "pay_bill"], ["how much is left", "balance"], ["fly me home", "book_flight"]]
    write(
        folder / "clinc" / "data_full.json",
        dict.fromkeys(("train", "val", "test"), rows) | {"oos_test": [["x", "oos"]]},
    )
    return str(folder)


def test_clinc_by_domain(tmp_path: Path) -> None:
    found = list(Clinc("clinc", domains=["banking"], folder=clinc(tmp_path)).documents())
    assert [(e.answer, e.split) for e in found[:2]] == [("pay bill", "train"), ("balance", "train")]
    assert {e.options for e in found} == {("pay bill", "balance")}
    assert Counter(e.split for e in found) == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domains": ["bankin"]}, "domains: 'bankin' is unknown; did you mean 'banking'"),
        ({"intents": ["pay"]}, "intents: 'pay' is unknown"),
        ({}, "domains: give either domains or intents"),
        ({"domains": ["banking"], "labels": ["balance"]}, "labels: 'pay_bill' is missing"),
        ({"domains": ["travel"], "labels": ["book flight"]}, "labels: 'book flight' is unknown"),
    ],
)
def test_clinc_refuses_what_it_does_not_have(settings: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Clinc("clinc", folder=clinc(tmp_path), **settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": []}, r"data_full\.json: has no list 'val'"),
        ({"train": [["x"]]}, r"data_full\.json, train, item 1: \['x'\] is no pair of query and intent"),
    ],
)
def test_clinc_names_a_bad_file(content: Any, message: str, tmp_path: Path) -> None:
    source = Clinc("clinc", domains=["travel"], folder=clinc(tmp_path))
    write(tmp_path / "clinc" / "data_full.json", content)
    with pytest.raises(UserError, match=message):
        list(source.documents())


def test_content_and_settings_are_in_the_fingerprint(tmp_path: Path) -> None:
    folder = clinc(tmp_path)
    prints = {Clinc("clinc", domains=[domain], folder=folder).fingerprint() for domain in ("banking", "travel")}
    assert len(prints) == 2
    before = Clinc("clinc", domains=["travel"], folder=folder).fingerprint()
    write(tmp_path / "clinc" / "domains.json", {"travel": ["book_flight", "balance"]})
    assert Clinc("clinc", domains=["travel"], folder=folder).fingerprint() != before
    write(tmp_path / "clinc" / "domains.json", {"travel": ["book_flight"]})
    assert Clinc("clinc", domains=["travel"], folder=folder).fingerprint() == before
    write(tmp_path / "clinc" / "data_full.json", {"train": [], "val": [], "test": []})
    assert Clinc("clinc", domains=["travel"], folder=folder).fingerprint() != before


@real
def test_real_cl_benchmark() -> None:
    found = Counter(e.split for e in CLBenchmark("cl_benchmark", "NLI/MNLI", folder=str(REAL)).documents())
    assert found == {"train": 3000, "test": 7600 - 131}
    for labels in sorted((REAL / "cl_benchmark").glob("*/*/labels.json")):
        name = str(labels.parent.relative_to(REAL / "cl_benchmark"))
        assert any(CLBenchmark("cl_benchmark", name, folder=str(REAL)).documents())


@real
def test_real_clinc() -> None:
    found = Counter(e.split for e in Clinc("clinc150", domains=["banking"], folder=str(REAL)).documents())
    assert found == {"train": 1500, "validation": 300, "test": 450}
