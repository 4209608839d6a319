"""Embed nodes: which texts are encoded, and where they are cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cl.config.model import Model
from cl.data import tokenization
from cl.graph.measurement_specs import EmbedSpec
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.specs import Compute, Local
from cl.models import embedding, pretrained
from cl.steps.embed import run
from tests.models.test_embedding import encoder
from tests.support.instruction import write_stream
from tests.support.steps import context
from tests.support.training import execute, plan

CPU = Compute("cpu", "fp32")


def inputs(folder: Path) -> Inputs:
    """The parents of an embed node of the set `copy`, computed."""
    graph, store = plan(write_stream(folder, strategies={"retrieval_bm25": None}))
    parents = {STATE: graph.base, data("copy"): graph.data["copy"]}
    for node in parents.values():
        execute(folder, node, store)
    tokenizer = graph.base.parents[TOKENIZER]
    return Inputs({role: store.path(node) for role, node in {**parents, TOKENIZER: tokenizer}.items()})


def test_what_is_stored_has_its_answer_and_what_is_asked_has_none(tmp_path: Path) -> None:
    parents = inputs(tmp_path)
    tokenizer = pretrained.stored_tokenizer(parents[TOKENIZER])
    model = pretrained.load(parents[STATE]).get_decoder().eval()
    for split, budget in (("train", 3), ("test", None)):
        found = run(EmbedSpec("copy", split, 4, CPU, budget), parents, context(tmp_path))
        examples = tokenization.examples(parents[data("copy")], split)
        texts = [f"{e.question}\n{e.answer}" if split == "train" else e.question for e in examples]
        texts = [texts[place * len(texts) // 3] for place in range(3)] if budget else texts
        assert (found["texts"], found["cut"]) == (len(texts), 0)
        ids = [tokenizer(text)["input_ids"] for text in texts]
        vectors = load_file(tmp_path / "out" / "vectors.safetensors")["vectors"]
        assert vectors == pytest.approx(embedding.vectors(model, ids, 1), abs=1e-5)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_an_encoder_of_its_own_reads_as_much_as_it_can(tmp_path: Path) -> None:
    parents = inputs(tmp_path)
    (tmp_path / "bert").mkdir()
    local = Local("toy.yaml", Model(name=str(encoder(tmp_path / "bert"))))
    spec = EmbedSpec("copy", "train", 4, CPU, encoder="its hash")
    own = Inputs({data("copy"): parents[data("copy")]})
    found = run(spec, own, context(tmp_path, local))
    assert (found["width"], found["cut"]) == (8, 0)
