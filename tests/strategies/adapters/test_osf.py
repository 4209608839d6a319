"""OSF: what an update may touch, and a state that is a plain model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.config.train import Train
from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.method import Stage
from cl.models import adapters, pretrained
from cl.models.forward import TokenLoss
from cl.training.learner import Learner
from strategies.adapters.lora import Lora
from strategies.adapters.osf import OSF, preserved
from tests.support.training import SEPARATOR, tiny, token_rows

IDS = token_rows(4)
STREAM = [Stage(f"task{t}", {f"task{t}": 1.0}, t, 1000, None if t == 1 else t - 2, t) for t in (1, 2, 3)]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS[:, :-1]).logits
    return found


def weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights of the linear modules that OSF trains, by name."""
    found = {name: p.detach().clone() for name, p in model.named_parameters() if p.ndim == 2}
    return {name: value for name, value in found.items() if "embed" not in name and "lm_head" not in name}


def trained(method: OSF, optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW, steps: int = 5) -> Any:
    """A model after some steps of our learner."""
    model = method.prepare(tiny(), 1).train()
    learner = Learner(model, Train(batch=4), [method], separator=SEPARATOR, total=steps)
    learner.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate = 1e-3 if optimizer is torch.optim.AdamW else 1.0
    chosen = optimizer(parameters, lr=rate)  # type: ignore[call-arg]
    for _ in range(steps):
        chosen.zero_grad()
        learner._accumulate(Batch(IDS, None))
        chosen.step()
    return model


def leak(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], share: float) -> float:
    """Largest part of a module's update, by norm, that lies in the preserved directions on either side."""
    found = []
    for name, old in before.items():
        u, s, vh = torch.linalg.svd(old, full_matrices=False)
        k, change = int(share * len(s)), after[name] - old
        assert change.norm() > 1e-4
        found += [(u[:, :k].T @ change).norm() / change.norm(), (change @ vh[:k].T).norm() / change.norm()]
    return float(torch.stack(found).max())


def test_the_share_grows_by_task() -> None:
    assert [preserved(0.5, 0.1, t) for t in (0, 1, 2, 4)] == [0.5, 0.5, 0.6, 0.8]
    assert [OSF(0.0, 0.25).active(t) for t in (1, 2)] == [False, True]


@pytest.mark.parametrize("project", ["gradients", "factors"])
@pytest.mark.parametrize("share", [0.25, 0.9])
def test_what_is_preserved_is_not_touched(project: Any, share: float) -> None:
    method = OSF(preserve=share, project=project)
    before, exact = weights(tiny()), 1e-4
    after = {each: weights(adapters.merged(trained(method, each))) for each in (torch.optim.SGD, torch.optim.AdamW)}
    assert leak(before, after[torch.optim.SGD], share) < exact
    assert (leak(before, after[torch.optim.AdamW], share) < exact) == (project == "factors")


@pytest.mark.parametrize("project", ["gradients", "factors"])
def test_a_fresh_one_changes_nothing_and_the_trailing_triplets_alone_learn(project: Any) -> None:
    model = OSF(project=project).prepare(tiny(), 1)
    torch.testing.assert_close(logits(model), logits(tiny()), rtol=1e-5, atol=1e-5)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all("osf_svd_params" in name for name in learning)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("project", ["gradients", "factors"])
def test_its_state_is_a_plain_model_with_the_same_logits(project: Any, tmp_path: Path) -> None:
    model = trained(OSF(project=project))
    expected, frozen = logits(model), tiny().state_dict()
    adapters.save(model, tmp_path / "state", tmp_path)
    opened = pretrained.load(tmp_path / "state")
    torch.testing.assert_close(logits(opened), expected, rtol=1e-4, atol=1e-5)
    assert opened.state_dict().keys() == frozen.keys()
    assert {name for name, value in opened.state_dict().items() if not torch.equal(value, frozen[name])} == set(
        weights(tiny())
    )
    assert adapters.uses(adapters.load(tmp_path / "state", None)) == {}


def counting(by: int) -> Batch:
    """Rows in which each token is the last one plus `by`: one task per step width."""
    return Batch(1 + (torch.arange(16)[:, None] * 3 + by * torch.arange(17)[None]) % 49, None)


def learned(model: Any, batch: Batch, steps: int, rate: float) -> Any:
    """The plain model after some steps on one batch."""
    loss = TokenLoss(model.train(), SEPARATOR, boundaries=False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        (loss.total(batch) / 256).backward()
        optimizer.step()
    return adapters.merged(model).eval()


@pytest.mark.slow
def test_it_forgets_less_than_full_fine_tuning() -> None:
    first, second, after = counting(1), counting(5), []
    for prepare in (lambda model: model, lambda model: OSF(preserve=0.5).prepare(model, 2)):
        model = learned(prepare(learned(tiny(), first, 120, 3e-3)), second, 60, 1e-3)
        with torch.no_grad():
            after.append([float(TokenLoss(model, SEPARATOR, False).total(batch)) / 256 for batch in (first, second)])
    (plain, _), (held, learned_anyway) = after
    assert held < 1 < 3 < plain  # nats per token; 0.03 before
    assert learned_anyway < 4  # some 7 before


def test_peft_s_own_recipe_would_lose_what_was_learned() -> None:
    model = trained(OSF())
    assert (logits(model) - logits(tiny())).abs().max() > 1e-3
    assert torch.equal(logits(model.unload()), logits(tiny()))


def test_neutral_is_not_there_at_all() -> None:
    method = OSF(preserve=0.0, grow=0.0)
    assert method.validate([]) == ["preserve 0 and grow 0 are equivalent to full fine-tuning"]
    assert not any(method.active(t) for t in (1, 2, 9))
    assert not OSF().validate([])


def test_adapters_and_factored_weights_do_not_go_together() -> None:
    with pytest.raises(UserError, match="osf: trains the weights themselves; leave methods that add adapters out"):
        OSF().prepare(Lora(r=2).prepare(tiny(), 1), 1)
    with pytest.raises(UserError, match="another method trains the weights themselves; leave one of the two out"):
        Lora(r=2).prepare(OSF().prepare(tiny(), 1), 1)


def test_streams_that_do_not_fit_are_refused() -> None:
    assert OSF().stages(STREAM) == STREAM
    with pytest.raises(UserError, match=r"grow: 0\.25 leaves nothing to learn in stage 3; take one below 0\.25"):
        OSF(grow=0.25).stages(STREAM)
    with pytest.raises(UserError, match="a stage that is split would change its directions in the middle"):
        OSF().stages([STREAM[0], replace(STREAM[0], parent=0, continues=True)])


@pytest.mark.parametrize("settings", [{"preserve": 1.0}, {"preserve": -0.1}, {"grow": 1.0}, {"grow": -0.1}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="must be shares from 0 to below 1"):
        OSF(**settings)


def test_what_peft_refuses_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"osf: preserve 0\.001 of .*; change one"):
        OSF(preserve=0.001).prepare(tiny(), 1)
    with pytest.raises(UserError, match=r"targets: no module is called 'nothing'; linear modules are q_proj, k_proj"):
        OSF(targets=["nothing"]).prepare(tiny(), 1)
