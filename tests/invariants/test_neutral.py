"""A method with a neutral setting is plain training: the same nodes, or the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.instruction import write_stream
from tests.support.learner import anchored, fit, learner, state
from tests.support.mixture import write_mixture
from tests.support.training import keys, plan, token_rows, write_strategy

# Lightning advises workers for the loader; these rows are in memory.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what planning alone shows."""
    return write_stream(tmp_path_factory.mktemp("planned"))


def test_osf_that_preserves_nothing_is_full_fine_tuning(stream: Path) -> None:
    (plain,) = keys(stream, "--strategies={ewc: {ewc: {weight: 0}}}")
    assert keys(stream, "--strategies={osf: {osf: {preserve: 0, grow: 0}}}") == [plain]
    (growing,) = keys(stream, "--strategies={osf: {osf: {preserve: 0, grow: 0.5}}}")
    assert (growing[0] == plain[0], growing[1] == plain[1]) == (True, False)


@pytest.mark.parametrize(
    ("label", "neutral", "same"),
    [
        ("reglora", "--strategies={reglora: {reglora: {weight: 0}}}", "lora_merged"),
        ("reglora", "--strategies={reglora: {reglora: {keep: 0}}}", "lora_merged"),
        ("o_lora", "--strategies={o_lora: {o_lora: {orthogonality: 0}}}", "lora_incremental"),
        ("lora_ewc", "--strategies={lora_ewc: {ewc: {weight: 0}}}", "lora_sequential"),
        ("lora_mas", "--strategies={lora_mas: {mas: {weight: 0}}}", "lora_sequential"),
        ("lora_si", "--strategies={lora_si: {si: {weight: 0}}}", "lora_sequential"),
        ("n_lora", "--strategies={n_lora: {n_lora: {weight: 0}}}", "lora_incremental"),
        ("lora_replay", "--strategies={lora_replay: {replay: {share: 0}}}", "lora_sequential"),
        ("lora_lwf", "--strategies={lora_lwf: {lwf: {weight: 0}}}", "lora_sequential"),
    ],
)
def test_a_neutral_setting_asks_for_the_very_nodes_of_the_plain_method(
    stream: Path, label: str, neutral: str, same: str
) -> None:
    assert keys(stream, neutral) == keys(stream, f"--strategies={{{same}: null}}")


def test_share_0_is_the_plain_node(tmp_path: Path) -> None:
    write_mixture(tmp_path, strategies={"mixed": None, "plain": None})
    write_strategy(tmp_path, "plain", ["rewarm_cosine"])
    write_strategy(tmp_path, "mixed", ["rewarm_cosine", {"knowledge_mixture": {"shares": {"chat": 0.0}}}])
    graph, _ = plan(tmp_path)
    one, other = graph.runs
    assert [s.node.key for s in one.stages] == [s.node.key for s in other.stages]
    assert any("equivalent to training without it" in text for text in graph.warnings)


def test_weight_zero_is_plain_fine_tuning_bit_for_bit() -> None:
    plain = learner()
    journal = fit(plain, token_rows(64))
    neutral, _, neutral_journal = anchored(0.0, token_rows(64))
    assert journal.of("loss") == neutral_journal.of("loss")
    for name, value in state(plain).items():
        assert torch.equal(state(neutral)[name], value), name
