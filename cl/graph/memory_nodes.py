"""Plan what stands before a row of R with a memory: retrieve nodes and their vectors, or the nodes of a bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.measurement_specs import AmortiseSpec, EmbedSpec, ModulateSpec, RetrieveSpec
from cl.graph.node import Node
from cl.graph.roles import NETWORK, QUERIES, STATE, TOKENIZER, Role, data
from cl.graph.side_nodes import SideNodes
from cl.graph.specs import row_length
from cl.methods.modulates import Modulates
from cl.methods.retrieves import Retrieves
from cl.methods.strategy import Part
from cl.models import model_folder
from cl.registry import unknown

READ = ("reading",)
"""Kinds of tasks before whose questions a bank puts a prefix."""


def beside(side: SideNodes, order: Sequence[str]) -> Part | None:
    """The method of a strategy that keeps a memory beside the weights. None: there is none.

    Args:
        side: nodes of the run.
        order: names of the run's tasks.

    Raises:
        UserError: for two such methods, where no task has questions, and for a bank that cannot be trained.
    """
    found = [part for part in side.strategy.parts if isinstance(part.method, Retrieves | Modulates)]
    where = f"strategies.{side.strategy.label}"
    if len(found) > 1:
        raise UserError(f"{where}: {found[0].name} and {found[1].name} both keep a memory beside the weights; keep one")
    if found and side.shared.experiment.evaluation.prompting:
        raise UserError(f"evaluation: choice_orders and repeat_context do not fit {found[0].name}; leave one out")
    if found and isinstance(found[0].method, Modulates) and side.shared.experiment.evaluation.engine != "transformers":
        raise UserError(f"evaluation.engine: vllm reads no embeddings of {found[0].name}; use transformers")
    for part in found:
        kinds = part.method.kinds if isinstance(part.method, Retrieves) else READ
        if not _of_kind(side, order, kinds):
            raise UserError(
                f"{where}: {part.name} has no effect: no task is of kind {' or '.join(kinds)}; leave it out"
            )
        if isinstance(part.method, Modulates):
            _check_bank(side, part.method, f"{where}: {part.name}")
        return part
    return None


def _check_bank(side: SideNodes, method: Modulates, where: str) -> None:
    """Raises UserError for a set that cannot train the network, and beside adapters."""
    scenario = side.shared.scenario
    if method.of not in scenario.general:
        raise UserError(unknown(f"{where}.of: general set of {scenario.name}", method.of, scenario.general))
    if (kind := scenario.task(method.of).kind) not in READ:
        raise UserError(f"{where}.of: {method.of} is a set of kind {kind}; name one of kind {' or '.join(READ)}")
    if side.adapted:
        raise UserError(f"{where}: reads whole models; leave the method that adds adapters out")


def modulated(
    side: SideNodes, part: Part, state: Node, learned: Sequence[str], sets: Sequence[str]
) -> dict[Role, Node]:
    """Modulate nodes that replace the data nodes of reading tasks in a row of R.

    Args:
        side: nodes of the run.
        part: the method with the bank.
        state: the state of the row, which is the frozen language model.
        learned: names of the tasks that the run has learned before the row.
        sets: names of the sets of the row.
    """
    method, evaluation = part.method, side.shared.experiment.evaluation
    assert isinstance(method, Modulates)
    tasks = _of_kind(side, learned, READ)
    if not tasks:
        return {}
    made = [key for key in part.settings if key not in method.reading_settings]
    spec = AmortiseSpec(method.of, side.seed, part.of_settings(made), side.shared.packing, side.shared.evaluation)
    known = {STATE: state, TOKENIZER: side.shared.tokenizer}
    code, local = (entry_of(type(method)),), side.shared.local
    cost = method.steps * method.batch * side.shared.packing.sequence
    parents = known | {data(method.of): side.set(method.of)}
    network = Node(f"{part.name} on {method.of}", spec, parents, code, cost=cost, local=local)

    def node(name: str) -> Node:
        """Modulate node of one set."""
        packing, compute = side.shared.packing, side.shared.evaluation
        sizes = (evaluation.tokens, evaluation.items)
        own = ModulateSpec(name, part.named(), *sizes, packing, compute, evaluation.split)
        stored = {Role("memory", place, task): side.set(task) for place, task in enumerate(tasks)}
        title = f"{part.name} of {' + '.join(tasks)} for {name}"
        return Node(title, own, {**known, NETWORK: network, data(name): side.set(name), **stored}, code, local=local)

    return {data(name): node(name) for name in _of_kind(side, sets, READ)}


def retrieved(side: SideNodes, part: Part, learned: Sequence[str], sets: Sequence[str]) -> dict[Role, Node]:
    """Retrieve nodes that replace the data nodes of sets with questions in a row of R.

    Args:
        side: nodes of the run.
        part: the method that shows stored examples.
        learned: names of the tasks that the run has learned before the row.
        sets: names of the sets of the row.
    """
    method = part.method
    assert isinstance(method, Retrieves)
    found: dict[Role, Node] = {}
    for kind in method.kinds:
        tasks = _of_kind(side, learned, (kind,))[: 1 if method.index == "frozen" else None]
        names = _of_kind(side, sets, (kind,)) if tasks else []
        found |= {data(name): _retrieve(side, part, method, tasks, name) for name in names}
    return found


def _of_kind(side: SideNodes, names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The sets of some kinds."""
    return [name for name in names if side.shared.scenario.task(name).kind in kinds]


def _retrieve(side: SideNodes, part: Part, method: Retrieves, tasks: Sequence[str], name: str) -> Node:
    """Retrieve node of one set: its questions with examples of `tasks` before them."""
    experiment, packing = side.shared.experiment, side.shared.packing
    evaluation, model = experiment.evaluation, experiment.model
    spec = RetrieveSpec(
        name,
        part.of_settings(key for key in part.settings if key not in method.encoding_settings),
        evaluation.tokens,
        evaluation.items,
        packing,
        method.context or row_length(packing, name),
        side.seed if method.draws else None,
        evaluation.split,
        model.system,
        model.template,
    )
    parents = {data(name): side.set(name), TOKENIZER: side.shared.tokenizer}
    parents |= {Role("memory", place, task): side.set(task) for place, task in enumerate(tasks)}
    if method.encodes:
        vectors = [_embed(side, method, task, "train") for task in tasks]
        parents |= {Role("vectors", place, task): vectors[place] for place, task in enumerate(tasks)}
        parents[QUERIES] = _embed(side, method, name, evaluation.split)
    title = f"{part.name} of {' + '.join(tasks)} for {name}"
    return Node(title, spec, parents, (entry_of(type(method)),), local=side.shared.local)


def _embed(side: SideNodes, method: Retrieves, name: str, split: str) -> Node:
    """Embed node of a set: vectors of what is stored of its training split, or of another split's questions."""
    shared, folder = side.shared, method.encoder()
    spec = EmbedSpec(
        name,
        split,
        shared.experiment.evaluation.batch,
        shared.evaluation,
        method.budget if split == "train" else None,
        None if folder is None else model_folder.content(str(Path(folder).resolve())),
    )
    parents = {data(name): side.set(name)}
    local = shared.local
    if folder is None:
        parents |= {STATE: side.base, TOKENIZER: shared.tokenizer}
    else:
        local = replace(local, model=replace(local.model, name=folder, tokenizer=None))
    return Node(f"{name} ({split})", spec, parents, local=local)
