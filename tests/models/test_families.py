"""What an architecture can do, for every causal family that transformers makes tiny from a configuration.

Each is compared with the plain model, which makes its own masks: documents of a packed row with each document alone,
padded rows with rows alone, greedy answers with the argmax of the whole text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.models import adapters, backbone, decoding, pretrained
from cl.models.forward import TokenLoss
from cl.models.losses import Outputs
from strategies.adapters.lora import Lora
from tests.support import families

FAST = ("llama", "gemma3_text", "qwen2", "gpt2", "bamba", "bloom")
STATEFUL = """
    afmoe bamba biogpt bloom ctrl doge falcon falcon_alibi falcon_h1 falcon_mamba gpt_oss granitemoehybrid
    inkling_text jamba lfm2 lfm2_moe mamba mamba2 minimax modernbert-decoder mpt nemotron_h olmo_hybrid openai-gpt
    opt qwen3_5_moe_text qwen3_5_text qwen3_next recurrent_gemma rwkv xglm xlstm zamba2
""".split()  # noqa: SIM905
FAMILIES = sorted({*backbone.RESTARTING, *STATEFUL})
SEPARATOR = 3
LENGTHS = (11, 1, 13, 9)  # of documents; windows and chunks have 8 tokens

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and peft, about sizes that only toys have


@pytest.fixture(scope="module", params=[f if f in FAST else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES])
def model(request: pytest.FixtureRequest) -> Any:
    return families.model(request.param)


def documents() -> list[Tensor]:
    """Documents that start with the separator."""
    drawn = torch.Generator().manual_seed(1)
    bodies = [torch.randint(4, families.VOCABULARY, (length - 1,), generator=drawn) for length in LENGTHS]
    return [torch.cat([torch.tensor([SEPARATOR]), body]) for body in bodies]


def plain(model: Any, ids: Tensor) -> Tensor:
    """Logits [T, V] of one text by the model itself."""
    with torch.no_grad():
        found: Tensor = model(input_ids=ids[None], use_cache=False).logits[0].float()
    return found


def logits(outputs: Outputs) -> Tensor:
    """Logits [N, V] of outputs that may be hidden states."""
    values: Tensor = outputs.values if outputs.weight is None else F.linear(outputs.values, outputs.weight)
    return values


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """Equal up to rounding, relative to the spread of the logits."""
    assert float((found - expected).abs().max() / expected.std()) < 2e-5


def test_documents_of_a_row_are_read_as_if_alone(model: Any) -> None:
    texts = documents()
    rows = torch.stack([torch.cat([*texts, texts[1]]), torch.cat([*reversed(texts), texts[1]])])
    with torch.no_grad():
        found = logits(TokenLoss(model, SEPARATOR, boundaries=True).compute(Batch(rows, None)))
    alone = {id(text): plain(model, text) for text in texts}
    assert_equal(found, torch.cat([alone[id(text)] for text in (*texts, *reversed(texts))]))


def test_rows_without_boundaries_are_read_as_one_text(model: Any) -> None:
    row = torch.cat([*documents(), torch.tensor([SEPARATOR])])
    with torch.no_grad():
        found = logits(TokenLoss(model, SEPARATOR, boundaries=False).compute(Batch(row[None], None)))
    assert_equal(found, plain(model, row[:-1]))


def test_a_padded_dialogue_is_read_as_if_alone(model: Any) -> None:
    texts = [documents()[0], documents()[2]]
    batch = collate(
        [Row(ids, torch.where(torch.arange(len(ids) - 1) < 3, IGNORE, ids[1:])) for ids in texts], SEPARATOR
    )
    with torch.no_grad():
        found = logits(TokenLoss(model, SEPARATOR, boundaries=True).compute(batch))
    assert_equal(found, torch.cat([plain(model, ids[:-1])[3:] for ids in texts]))


def test_answers_are_the_argmax_of_the_whole_text(model: Any) -> None:
    questions = [ids[:-1] for ids in documents() if len(ids) > 2] + [documents()[0][:9]]
    end = families.VOCABULARY - 1
    expected = []
    for question in questions:
        text = question
        for _ in range(5):
            text = torch.cat([text, plain(model, text)[-1].argmax()[None]])
            if text[-1] == end:
                break
        expected.append([token for token in text[len(question) :].tolist() if token != end])
    assert decoding.answers(model, questions, limit=5, batch=2, ends=[end], padding=SEPARATOR) == expected


def test_all_weights_learn_and_are_stored(model: Any, tmp_path: Path) -> None:
    loss = TokenLoss(model, SEPARATOR, boundaries=True)
    loss.total(Batch(torch.cat([*documents(), torch.tensor([SEPARATOR])])[None], None)).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all()
                parameter -= 1e-3 * parameter.grad / (parameter.grad.norm() + 1e-9)
                parameter.grad = None
    pretrained.save(model, tmp_path)
    stored, weights = pretrained.load(tmp_path).eval(), model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in stored.state_dict().items())
    # Some processors multiply experts that are mapped from a file in another order than those in memory.
    assert_equal(plain(stored, documents()[0]), plain(model, documents()[0]))
    assert backbone.layers(model, backbone.of(model))


def test_an_adapter_learns_by_its_default_targets_and_is_merged(model: Any, tmp_path: Path) -> None:
    pretrained.save(model, tmp_path)
    torch.manual_seed(0)
    adapted = Lora(r=2).prepare(pretrained.load(tmp_path), 1).eval()
    row = Batch(torch.cat([*documents(), torch.tensor([SEPARATOR])])[None], None)
    loss = TokenLoss(adapted, SEPARATOR, boundaries=True)
    trained = [value for value in adapted.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    values = []
    for _ in range(4):
        optimizer.zero_grad()
        value = loss.total(row)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
    expected = plain(adapted, documents()[0])
    assert_equal(plain(adapters.merged(adapted), documents()[0]), expected)
