"""Nodes that all runs of an experiment share, and the experiment's settings as resolved on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.graph.budget import Budget
from cl.graph.code_version import entries_of
from cl.graph.node import Node
from cl.graph.roles import TOKENIZER
from cl.graph.specs import BaseSpec, Compute, DataSpec, Local, Packing, TokenizerSpec
from cl.methods.method import TransformsData
from cl.methods.strategy import Part
from cl.models import precision, pretrained, vocabulary
from cl.registry import Named, unknown
from cl.tasks.scenario import Scenario
from cl.tasks.task import ANSWERED

DEFAULT_VOCABULARY = 4096


class SharedNodes:
    """Nodes and settings that all runs of one experiment share. Each node is built once.

    Args:
        experiment: the experiment.
        defined: its scenario.

    Attributes:
        budget: training rows of each task.
        train: training settings that enter keys.
        compute: device, precision, compilation and attention as resolved on this machine.
        packing: how tokens become rows.
        local: settings that are needed at run time and are in no key.
    """

    def __init__(self, experiment: Experiment, defined: Scenario) -> None:
        self.experiment, self.scenario = experiment, defined
        self.budget = Budget(experiment, defined)
        packed = all(task.kind == "text" for task in (*defined.tasks.values(), *defined.general.values()))
        parameters = pretrained.stated_parameters(experiment.model)
        device, number, compiled = precision.resolve(experiment.train, parameters, packed)
        kernel = precision.attention(experiment.train, device, number, pretrained.Outline(experiment.model))
        self.compute = Compute(device, number, compiled, kernel)
        self.train = experiment.train.optimization
        self.packing = Packing(self.train.sequence, self.train.boundaries, self.budget.lengths)
        self.local = Local(experiment.scenario, experiment.model)
        self._sets: dict[tuple[str, str], Node] = {}
        self._bases: dict[int | None, Node] = {}
        self._fingerprints: dict[str, str] = {}

    def changed(self, experiment: Experiment) -> SharedNodes:
        """The shared nodes of an experiment with other settings; nodes that cannot differ are reused."""
        other = SharedNodes(experiment, self.scenario)
        other._fingerprints = self._fingerprints
        before = self.experiment
        if (experiment.model, experiment.scenario) == (before.model, before.scenario):
            other.tokenizer, other._sets = self.tokenizer, self._sets
            if experiment.train.sequence == before.train.sequence:
                other._bases = self._bases
        return other

    @property
    def evaluation(self) -> Compute:
        """Device and precision of nodes that do not train; they are never compiled."""
        return replace(self.compute, compile=False)

    @cached_property
    def tokenizer(self) -> Node:
        """The tokenizer node. Raises UserError for a vocabulary without effect."""
        model = self.experiment.model
        trained = pretrained.origin(model.name) == "fresh" and model.tokenizer is None
        if not trained:
            if model.vocabulary:
                raise UserError(
                    f"model.vocabulary: {model.vocabulary} has no effect: the tokenizer is not trained; remove it"
                )
            named = pretrained.tokenizer_model(model)
            spec = TokenizerSpec({}, source=pretrained.fingerprint(named), added=vocabulary.added(model))
            return Node(f"tokenizer of {named.name}", spec, local=self.local)
        if model.add_tokens is not None:
            raise UserError("model.add_tokens: has no effect: the tokenizer is trained on the stream; remove it")
        content = {name: self._fingerprint(name) for name in sorted(self.scenario.tasks)}
        code = tuple(entry for task in self.scenario.tasks.values() for entry in task.code())
        spec = TokenizerSpec(content, vocabulary=model.vocabulary or DEFAULT_VOCABULARY)
        return Node(f"tokenizer trained on {' + '.join(content)}", spec, code=code, local=self.local)

    def data(self, parts: Sequence[Part] = ()) -> dict[str, Node]:
        """Data node of each set with a column in R, transformed by the methods in `parts`."""
        return {name: self.set(name, parts) for name in (*self.scenario.tasks, *self.scenario.measured)}

    def set(self, name: str, parts: Sequence[Part] = ()) -> Node:
        """Data node of a task, retain or general set, or of a view of a set: `plain:NAME` or `both:NAME`.

        Args:
            name: name of the set or view.
            parts: methods that transform the examples of instruction tasks.

        Raises:
            UserError: for a view of an unknown general set.
        """
        view, _, of = name.rpartition(":")
        if view and of not in self.scenario.general:
            raise UserError(unknown(f"scenario {self.scenario.name}: general set", of, self.scenario.general))
        task = self.scenario.task(of)
        parts = () if view else [part for part in parts if task.kind in _transformed(part)]
        known = (name, repr([(part.name, part.settings) for part in parts]))
        if known not in self._sets:
            self._sets[known] = self._set(name, view, of, parts)
        return self._sets[known]

    def _set(self, name: str, view: str, of: str, parts: Sequence[Part]) -> Node:
        task, model = self.scenario.task(of), self.experiment.model
        rendered = task.kind in (*ANSWERED, "preference") and not view
        spec = DataSpec(
            of,
            self._fingerprint(of),
            tuple(Named(part.name, part.data_settings()) for part in parts),
            view or None,
            model.system if rendered else None,
            model.template if rendered else {},
        )
        code = (*task.code(), *entries_of(type(part.method) for part in parts))
        local = replace(self.local, transforms=tuple(part.named() for part in parts))
        return Node(name, spec, {TOKENIZER: self.tokenizer}, code, local=local)

    def _fingerprint(self, name: str) -> str:
        if name not in self._fingerprints:
            self._fingerprints[name] = self.scenario.fingerprint(name)
        return self._fingerprints[name]

    @property
    def weights(self) -> Literal["bf16", "8bit", "4bit"] | None:
        """The form of the linear modules; None: fp32."""
        return None if self.experiment.model.weights == "fp32" else self.experiment.model.weights

    def base(self, seed: int) -> Node:
        """Base node: the model before any training. Only a fresh model depends on the seed."""
        model = self.experiment.model
        own = seed if pretrained.origin(model.name) == "fresh" else None
        if own not in self._bases:
            lengths = [length for _, length in self.packing.lengths]
            longest = self.train.sequence if own is None else max([self.train.sequence, *lengths])
            new = None if model.new_embeddings == "pieces" else model.new_embeddings
            spec = BaseSpec(pretrained.fingerprint(model), own, longest, new, self.weights)
            self._bases[own] = Node(model.name, spec, {TOKENIZER: self.tokenizer}, local=self.local)
        return self._bases[own]


def _transformed(part: Part) -> tuple[str, ...]:
    """Kinds of tasks whose documents a method transforms."""
    return part.method.transforms if isinstance(part.method, TransformsData) else ()
