"""The learner: the loss does not depend on how it is computed, and the optimizer does what the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cl.config.train import Train
from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.method import MicroBatch, Progress, Step, TakesRows, Trains
from cl.models import losses
from cl.models.losses import Criterion
from cl.training.learner import Learner
from cl.training.optimizer import build_optimizer
from tests.support.learner import anchored, assert_close_without_drift, fit, gradients, learner, state
from tests.support.methods import Half, Names
from tests.support.training import SEPARATOR, VOCABULARY, Anchor, tiny, token_rows

# Lightning advises workers for the loader; these rows are in memory.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_a_loss_term_is_a_mean_over_the_step(micro_batch: int) -> None:
    module = learner([Constant("one", 1.0)], micro_batch=micro_batch)
    module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    _, terms = module._accumulate(Batch(token_rows(8), None))
    assert float(terms["one"]) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_chunks_of_logits_change_nothing(name: str, monkeypatch: Any) -> None:
    rows = token_rows(8)
    loss, gradient = gradients(learner(model=tiny(name)), rows)
    monkeypatch.setattr(losses, "CHUNK_BYTES", 0)  # the smallest chunk: 64 of the 128 tokens
    chunked = Mock(wraps=losses.fused)
    monkeypatch.setattr(losses, "fused", chunked)
    loss_c, gradient_c = gradients(learner(model=tiny(name)), rows)
    assert chunked.called
    torch.testing.assert_close(loss_c, loss, rtol=1e-6, atol=0)
    assert_close_without_drift(gradient_c, gradient, 1e-6)


def test_gradient_checkpointing_changes_nothing() -> None:
    rows = token_rows(8)
    loss, gradient = gradients(learner().train(), rows)
    loss_g, gradient_g = gradients(learner(gradient_checkpointing=True).train(), rows)
    torch.testing.assert_close(loss_g, loss, rtol=1e-6, atol=0)
    assert_close_without_drift(gradient_g, gradient, 1e-6)


def test_loss_is_the_mean_over_all_targets_of_the_model_s_own_logits() -> None:
    model, rows = tiny(), token_rows(4)
    rows[rows == SEPARATOR] = 1  # one document: plain causal attention
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
    loss, _ = gradients(learner(model=model, batch=4), rows)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


# Loss and gradient norm of llama-tiny at seed 0 in fp32, eager: 8 steps of AdamW at 1e-2 on the same 8 rows.
PINNED = [
    (3.94178, 1.03176),
    (3.67629, 1.03014),
    (3.50361, 1.48583),
    (3.28082, 1.16315),
    (3.04591, 0.94030),
    (2.81732, 0.91396),
    (2.58526, 1.04459),
    (2.36634, 1.51030),
]


def test_pinned_trajectory() -> None:
    journal = fit(learner(), token_rows(8).repeat(8, 1))
    found = list(zip(journal.of("loss"), journal.of("grad_norm"), strict=True))
    assert found == [pytest.approx(pair, rel=2e-4) for pair in PINNED]


def test_overfits_a_batch_to_almost_nothing() -> None:
    rows = torch.randint(1, VOCABULARY, (2, 17), generator=torch.Generator().manual_seed(0))
    rows[:, 0] = torch.tensor([1, 2])  # two rows that begin differently can be told apart
    journal = fit(learner(total=150, batch=2, weight_decay=0.0), rows.repeat(150, 1))
    assert journal.of("loss")[0] > 3.5
    assert journal.of("loss")[-1] < 0.05


def test_trains_in_training_mode() -> None:
    module = learner(model=tiny().eval())  # as `from_pretrained` hands it over
    fit(module, token_rows(8))
    assert module.model.training


def test_counts_one_step_per_batch() -> None:
    module = learner(micro_batch=2)
    journal = fit(module, token_rows(24))
    assert module.step == len(journal.steps) == 3


class Ramp(Trains):
    def schedule(self, at: Progress) -> float:
        assert at.t == 1
        return (at.step + 1) / at.total


class Never(Trains):
    def schedule(self, at: Progress) -> None:
        return None


@pytest.mark.parametrize(
    ("methods", "factors"),
    [([], [1, 1, 1, 1]), ([Ramp()], [0.25, 0.5, 0.75, 1]), ([Never(), Ramp()], [0.25, 0.5, 0.75, 1])],
)
def test_learning_rates_as_scheduled(methods: list[Trains], factors: list[float]) -> None:
    module = learner(methods, total=4)
    module.configure_optimizers = lambda: optimizer  # type: ignore[method-assign]
    optimizer = build_optimizer(module.model, module.settings)
    optimizer.param_groups[1]["lr_factor"] = 0.5
    rates: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda o, *_: rates.append([group["lr"] for group in o.param_groups]))
    journal = fit(module, token_rows(32))
    assert journal.of("lr") == pytest.approx([1e-2 * f for f in factors])
    assert rates == [pytest.approx([1e-2 * f, 0.5e-2 * f]) for f in factors]


def test_a_learner_that_starts_later_is_further_in_its_schedule() -> None:
    module = Learner(tiny(), Train(lr=1.0, batch=8), [Ramp()], separator=SEPARATOR, total=4, start=2)
    assert fit(module, token_rows(16)).of("lr") == pytest.approx([0.75, 1.0])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_clips_with_the_fused_optimizer(precision: str) -> None:
    module = learner(clip=1e-2)
    journal = fit(module, token_rows(16), precision)
    optimizer = module.optimizers()
    assert not isinstance(optimizer, list)
    assert optimizer.param_groups[0]["fused"]
    assert all(p.dtype == torch.float32 for p in module.parameters())
    assert min(journal.of("grad_norm")) > 0.5  # reported as before clipping
    assert journal.clipped == pytest.approx([1e-2, 1e-2], rel=1e-3)


def test_bf16_stays_near_fp32() -> None:
    exact, rounded = (fit(learner(), token_rows(64), precision).of("loss") for precision in ("32-true", "bf16-mixed"))
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


def test_frozen_parameters_are_neither_optimized_nor_clipped() -> None:
    model = tiny()
    frozen = model.get_input_embeddings().weight.requires_grad_(False)
    before = frozen.clone()
    module = learner(model=model)
    fit(module, token_rows(16))
    assert torch.equal(frozen, before)
    groups = build_optimizer(model, module.settings).param_groups
    assert all(frozen is not parameter for group in groups for parameter in group["params"])


class Constant(Trains):
    """A term of a fixed value for each token."""

    def __init__(self, name: str, value: float) -> None:
        self.name, self.value = name, value

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        def fixed(log_q: torch.Tensor, q: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor]:
            return log_q.new_tensor(self.value * len(log_q)), torch.zeros_like(q)

        return {self.name: fixed}


class Norm(Trains):
    """weight times the sum of squares of the output matrix, whose gradient is 2 * weight * W."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        matrix: Any = at.model.get_output_embeddings().weight
        return {"norm": self.weight * (matrix**2).sum()}


@pytest.mark.parametrize("micro_batch", [2, 8])
def test_a_term_is_added_with_its_weight(micro_batch: int) -> None:
    rows = token_rows(8)
    _, plain = gradients(learner(), rows)
    module = learner([Norm(0.25)], micro_batch=micro_batch)
    loss, with_term = gradients(module, rows)
    expected = torch.cat([
        (0.5 * p.detach() if p is module.model.get_output_embeddings().weight else torch.zeros_like(p)).flatten()
        for p in module.parameters()
    ])  # fmt: skip
    torch.testing.assert_close(with_term - plain, expected, rtol=1e-4, atol=1e-6)
    assert float(loss) == pytest.approx(float(gradients(learner(), rows)[0]), rel=1e-6)  # the task loss alone


def test_terms_of_all_methods_are_reported_apart_from_the_loss() -> None:
    journal = fit(learner([Constant("one", 1.0), Norm(0.25), Constant("two", 2.0)]), token_rows(8))
    terms = journal.steps[0]["terms"]
    assert list(terms) == ["one", "two", "norm"]
    assert (float(terms["one"]), float(terms["two"])) == (1.0, 2.0)
    plain = fit(learner(), token_rows(8)).of("loss")
    assert journal.of("loss") == pytest.approx(plain, rel=1e-6)  # computed in one pass with the terms of tokens
    assert fit(learner([Norm(0.25)]), token_rows(8)).of("loss") == plain


def test_one_name_for_two_terms_is_an_error() -> None:
    with pytest.raises(UserError, match=r"Constant: term 'one' has the name of another"):
        fit(learner([Constant("one", 1.0), Constant("one", 2.0)]), token_rows(8))


class Spy(Trains):
    """Writes down which hook is called when."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def schedule(self, at: Progress) -> None:
        self.calls.append(f"{self.name} schedule {at.step}")

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        self.calls.append(f"{self.name} token_terms {len(batch.batch.ids)}")
        return {}

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        self.calls.append(f"{self.name} step_terms")
        return {}

    def after_backward(self, at: Step) -> None:
        assert all(p.grad is not None for p in at.model.parameters())
        self.calls.append(f"{self.name} after_backward")

    def after_step(self, at: Step) -> None:
        self.calls.append(f"{self.name} after_step {at.step}")


def test_hooks_are_called_in_order() -> None:
    calls: list[str] = []
    fit(learner([Spy("a", calls), Spy("b", calls)], micro_batch=4), token_rows(8))
    forward = ["a token_terms 4", "b token_terms 4"]
    once = ["step_terms", "after_backward", "after_step 0"]
    assert calls == [
        *("a schedule 0", "b schedule 0"),
        *forward,
        *forward,
        *(f"{name} {hook}" for hook in once for name in ("a", "b")),
    ]


class Halve(Trains):
    def after_backward(self, at: Step) -> None:
        for parameter in at.model.parameters():
            assert parameter.grad is not None
            parameter.grad *= 0.5


def test_gradients_are_changed_before_they_are_clipped() -> None:
    plain, halved = (fit(learner(methods, clip=100.0), token_rows(8)) for methods in ([], [Halve()]))
    assert halved.of("grad_norm") == pytest.approx([0.5 * norm for norm in plain.of("grad_norm")])
    assert halved.clipped == pytest.approx([0.5 * norm for norm in plain.clipped])


class Updated(Trains):
    """Compares parameters behind the update with those before it, and changes them."""

    def __init__(self) -> None:
        self.before: list[torch.Tensor] = []
        self.norms: list[float] = []

    def after_backward(self, at: Step) -> None:
        self.before = [p.detach().clone() for p in at.model.parameters()]

    def after_step(self, at: Step) -> None:
        assert not torch.is_grad_enabled()
        moved = [float((p - old).norm()) for p, old in zip(at.model.parameters(), self.before, strict=True)]
        assert all(distance > 0 for distance in moved)
        for parameter in at.model.parameters():
            parameter.zero_()
        self.norms.append(max(moved))


def test_a_method_may_change_parameters_behind_the_update() -> None:
    updated = Updated()
    module = learner([updated])
    fit(module, token_rows(8))
    assert len(updated.norms) == 1
    assert not any(p.any() for p in module.parameters())


class Asks(Trains):
    """Lets the model answer between two steps."""

    def __init__(self, questions: Sequence[torch.Tensor]) -> None:
        self.questions = questions
        self.answers: list[list[list[int]]] = []

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        training = at.model.training
        self.answers.append(at.rollouts(self.questions, 5, SEPARATOR))
        assert at.model.training == training
        return {}


def greedy(model: Any, question: torch.Tensor, limit: int) -> list[int]:
    """The likeliest tokens behind a question, one by one, up to the separator."""
    ids = question.tolist()
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == SEPARATOR:
            break
        ids.append(token)
    return ids[len(question) :]


def test_rollouts_are_the_likeliest_tokens_and_leave_no_trace() -> None:
    questions = [torch.tensor([3, 7, 9]), torch.tensor([11, 4])]
    asks = Asks(questions)
    module = learner([asks])
    expected = [greedy(module.model, question, 5) for question in questions]
    journal = fit(module, token_rows(16))
    assert asks.answers[0] == expected
    assert len(asks.answers) == 2
    assert journal.of("loss") == fit(learner(), token_rows(16)).of("loss")


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_a_method_may_replace_the_loss(micro_batch: int | None) -> None:
    half = Half()
    module = learner([Names(half)], micro_batch=micro_batch)
    module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    task, terms = module._accumulate(Batch(token_rows(8), None))
    weight: Any = module.model.get_output_embeddings().weight
    assert task is None  # the cross-entropy is not what is learned
    assert float(terms["half"]) == pytest.approx(0.5 * float(weight.detach().square().sum()), rel=1e-6)
    torch.testing.assert_close(weight.grad, weight.detach(), rtol=1e-5, atol=1e-7)
    assert half.sizes == {None: [8], 1: [2] * 4, 2: [4, 4]}[micro_batch]  # rows that belong together stay so


def test_an_anchor_holds_the_model_near_its_start() -> None:
    rows, start = token_rows(64), state(learner())

    def distance(weight: float) -> float:
        module, _, _ = anchored(weight, rows)
        return sum(float(((value - start[name]) ** 2).sum()) for name, value in state(module).items())

    assert distance(10.0) < 0.2 * distance(0.0)


def test_state_of_a_method_goes_through_its_state_dict() -> None:
    _, method, _ = anchored(1.0, token_rows(16))
    other = Anchor(1.0)
    other.load_state_dict(method.state_dict())
    assert other.state_dict().keys() == dict(tiny().named_parameters()).keys()
    assert all(torch.equal(value, method.importance[name]) for name, value in other.state_dict().items())
    assert max(float(value.max()) for value in other.state_dict().values()) > 0


def with_origin(rows: torch.Tensor, replayed: list[bool]) -> Batch:
    return Batch(rows, None, torch.tensor([[int(old), row] for row, old in enumerate(replayed)]))


class Taker(TakesRows):
    """Takes the replayed rows and adds their mean loss to that of the others."""

    def row_mask(self, batch: Batch, readings: Sequence[Reading]) -> torch.Tensor | None:
        assert batch.origin is not None
        return torch.tensor([reading.replay for reading in readings])[batch.origin[:, 0]]

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        return {} if at.taken is None else {"old": at.loss(at.taken) / at.taken.learned()}


def one_step(batch: Batch, methods: Sequence[Trains] = (), **settings: Any) -> Learner:
    readings = [Reading("new"), Reading("old", replay=True)]
    module = Learner(
        tiny(), Train(lr=1e-2, batch=4, **settings), methods, separator=SEPARATOR, total=8, readings=readings
    )
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch], batch_size=None))
    return module


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_rows_that_a_method_takes_are_not_in_the_task_loss(micro_batch: int | None) -> None:
    rows = token_rows(4)
    taking = one_step(with_origin(rows, [False, True, False, True]), [Taker()], micro_batch=micro_batch)
    plain = one_step(with_origin(rows[[0, 2]], [False, False]))
    assert float(taking.last["loss"]) == pytest.approx(float(plain.last["loss"]), rel=1e-6)
    taken = one_step(with_origin(rows[[1, 3]], [False, False]))
    assert float(taking.last["terms"]["old"]) == pytest.approx(float(taken.last["loss"]), rel=1e-6)


def test_a_step_may_leave_nothing_to_the_task_loss() -> None:
    module = one_step(with_origin(token_rows(4), [True] * 4), [Taker()])
    assert module.last["loss"] is None
    assert list(module.last["terms"]) == ["old"]


def test_only_one_method_may_take_rows() -> None:
    with pytest.raises(UserError, match="Taker and Taker take rows out of the task loss, only one may"):
        one_step(with_origin(token_rows(4), [True] * 4), [Taker(), Taker()])


class Look(Trains):
    """Compares what it is shown of the model with the model itself."""

    def __init__(self) -> None:
        self.seen = 0

    def prepare(self, model: Any, t: int) -> Any:
        self.start = {name: value.detach().clone() for name, value in model.named_parameters()}
        return model

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        self.seen += 1
        before = batch.under(self.start)
        assert not before.values.requires_grad
        assert torch.equal(before.values, batch.outputs.values) == (batch.step == 0)
        with torch.no_grad():
            logits = batch.model(batch.batch.ids[:, :-1]).logits.flatten(0, 1)
        torch.testing.assert_close(batch.outputs.logits(), logits, rtol=1e-4, atol=1e-5)
        return {}


def test_a_term_sees_the_outputs_of_the_task_loss_and_those_of_an_earlier_model() -> None:
    rows = token_rows(16)
    rows[rows == SEPARATOR] = 1  # one document, so that the plain call needs no mask
    look = Look()
    module = learner([look], micro_batch=4)
    look.prepare(module.model, 1)
    plain, shown = fit(learner(micro_batch=4), rows), fit(module, rows)
    assert look.seen == 4
    assert plain.of("loss") == shown.of("loss")


class Product(Trains):
    """A penalty made of a matrix product, which autocast would round."""

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        weight = at.model.get_output_embeddings().weight
        product = weight @ weight.T
        assert product.dtype == torch.float32
        kinds: list[torch.dtype] = []
        layer = at.model.get_decoder().layers[0].self_attn.q_proj
        with layer.register_forward_hook(lambda module, args, out: kinds.append(out.dtype)):
            at.loss(Batch(token_rows(2), None))
        assert kinds == [torch.bfloat16]
        return {"product": product.square().mean()}


def test_penalties_are_in_fp32_and_forward_passes_as_precision_has_it() -> None:
    fit(learner([Product()]), token_rows(8), precision="bf16-mixed")
