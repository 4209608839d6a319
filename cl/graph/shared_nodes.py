"""What all runs of an experiment stand on: the tokenizer, the data, the base model, and the settings as resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.graph.budget import Budget
from cl.graph.node import Node
from cl.methods.strategy import Part
from cl.models import precision, pretrained
from cl.registry import unknown
from cl.tasks.scenario import Scenario

DEFAULT_VOCABULARY = 4096
TOGETHER = ("devices", "distributed")
"""Settings of training that change rounding alone, as threads do."""


class Ground:
    """Shared nodes and settings of one experiment; equal nodes are found by their keys, so none is remembered here.

    train: training settings without those that `resolved` holds as this machine settles them: device, precision,
    compile, and without TOGETHER; local: what a node needs to find its definitions, and no key holds.
    """

    def __init__(self, experiment: Experiment, defined: Scenario) -> None:
        self.experiment, self.scenario = experiment, defined
        self.budget = Budget(experiment, defined)
        packed = all(task.kind == "text" for task in (*defined.tasks.values(), *defined.general.values()))
        self.resolved = precision.resolve(experiment.train, pretrained.stated_parameters(experiment.model), packed)
        self.train = {
            k: v for k, v in dataclasses.asdict(experiment.train).items() if k not in (*self.resolved, *TOGETHER)
        }
        self.local: dict[str, Any] = {
            "scenario": experiment.scenario,
            "model": dataclasses.asdict(experiment.model),
        }
        self.tokenizer = self._tokenizer()

    def _tokenizer(self) -> Node:
        model = self.experiment.model
        trained = pretrained.origin(model.name) == "fresh" and model.tokenizer is None
        if model.vocabulary and not trained:
            raise UserError(
                f"model.vocabulary: {model.vocabulary} has no effect: the tokenizer is not trained; remove it"
            )
        content = {name: self.scenario.fingerprint(name) for name in sorted(self.scenario.tasks)} if trained else {}
        named = pretrained.tokenizer_model(model)
        spec = {
            "train_on": content,
            "vocabulary": (model.vocabulary or DEFAULT_VOCABULARY) if trained else None,
            "source": None if trained else pretrained.fingerprint(named),
        }
        name = f"tokenizer trained on {' + '.join(content)}" if trained else f"tokenizer of {named.name}"
        extra = tuple(m for task in self.scenario.tasks.values() for m in task.modules()) if trained else ()
        return Node("tokenizer", name, spec, extra_sources=extra, local=self.local)

    def data(self, parts: Sequence[Part] = ()) -> dict[str, Node]:
        """The data node of each set that has a column of R, as the transforming methods of a strategy make them."""
        return {name: self.set(name, parts) for name in (*self.scenario.tasks, *self.scenario.measured)}

    def set(self, name: str, parts: Sequence[Part] = ()) -> Node:
        """The data node of a task, retain or general set, or of a view of one: `plain:NAME` or `both:NAME`."""
        view, _, of = name.rpartition(":")
        if view and of not in self.scenario.general:
            raise UserError(unknown(f"scenario {self.scenario.name}: general set", of, self.scenario.general))
        task = self.scenario.task(of)
        parts = parts if task.kind == "instruction" and not view else ()
        content, transforms = self.scenario.fingerprint(of), [part.data_spec() for part in parts]
        spec: dict[str, Any] = {"task": of, "content": content, "transforms": transforms}
        if view:
            spec["view"] = view
        elif task.kind != "text" and self.experiment.model.system is not None:
            spec["system"] = self.experiment.model.system
        modules = (*task.modules(), *(type(part.method).__module__ for part in parts))
        local = self.local | {"transforms": [part.spec() for part in parts]}
        return Node("data", name, spec, {"tokenizer": self.tokenizer}, modules, local=local)

    def base(self, seed: int) -> Node:
        """The model before any training; only a fresh one depends on the seed."""
        fresh = pretrained.origin(self.experiment.model.name) == "fresh"
        spec = {
            "source": pretrained.fingerprint(self.experiment.model),
            "seed": seed if fresh else None,
            "sequence": self.experiment.train.sequence,
        }
        return Node("base", self.experiment.model.name, spec, {"tokenizer": self.tokenizer}, local=self.local)
