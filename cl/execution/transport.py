"""Nodes with their ancestors as a JSON message to another process.

The receiving process computes the keys again. So a machine with other code or other library versions refuses a node
instead of storing another result under its key.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cl import own_code
from cl.errors import UserError
from cl.graph.kinds import KINDS
from cl.graph.node import Node
from cl.graph.roles import Role
from cl.graph.spec_json import from_json, to_json
from cl.graph.specs import Local


def pack(nodes: Iterable[Node]) -> dict[str, Any]:
    """Pack nodes with their ancestors into JSON data.

    Returns:
        `rows` of all nodes, parents first; indices of the `wanted` nodes in them; the working `folder`; the `override`
        of the code version; the folders whose code is `allowed`.
    """
    rows: list[dict[str, Any]] = []
    places: dict[tuple[str, frozenset[str]], int] = {}

    def place(node: Node) -> int:
        known = (node.key, node.needs)
        if known not in places:
            parents = {str(role): place(parent) for role, parent in node.parents.items()}
            uses = {name: place(used) for name, used in node.uses.items()}
            rows.append(_row(node) | {"parents": parents, "uses": uses})
            places[known] = len(rows) - 1
        return places[known]

    wanted = [place(node) for node in nodes]
    surroundings = {"override": os.environ.get("CL_CODE_VERSION"), "allowed": os.environ.get(own_code.VARIABLE)}
    return {"rows": rows, "wanted": wanted, "folder": os.getcwd(), **surroundings}


def _row(node: Node) -> dict[str, Any]:
    """A node as JSON data, without its parents."""
    made_by = {name: node.identity[name] for name in ("libraries", "code")}
    own = {name: getattr(node, name) for name in ("key", "kind", "name", "cost")}
    local = None if node.local is None else to_json(node.local)
    plain = {"spec": to_json(node.spec), "local": local, "needs": sorted(node.needs)}
    return {**own, **plain, "code": list(node.code), "made_by": made_by}


def unpack(message: Mapping[str, Any]) -> list[Node]:
    """Return the wanted nodes, and change to the sender's working folder if this machine has it.

    Args:
        message: result of `pack`.

    Raises:
        UserError: if a node has another key on this machine.
    """
    if Path(message["folder"]).is_dir():
        os.chdir(message["folder"])  # paths of scenarios and models may be relative
    if message["override"]:
        os.environ["CL_CODE_VERSION"] = message["override"]
    own_code.hand_on(message["allowed"])
    nodes: list[Node] = []
    for row in message["rows"]:
        node = Node(
            row["name"],
            from_json(KINDS[row["kind"]].specification(), row["spec"]),
            {Role.parse(role): nodes[at] for role, at in row["parents"].items()},
            tuple(row["code"]),
            row["cost"],
            frozenset(row["needs"]),
            {name: nodes[at] for name, at in row["uses"].items()},
            None if row["local"] is None else from_json(Local, row["local"]),
        )
        if node.key != row["key"]:
            raise UserError(_explain(node, row["made_by"]))
        nodes.append(node)
    return [nodes[at] for at in message["wanted"]]


def _explain(node: Node, made_by: Mapping[str, Any]) -> str:
    """A sentence about libraries and code that differ from the sender's."""
    theirs = {**made_by["libraries"], "code": made_by["code"]}
    ours = {**node.identity["libraries"], "code": node.identity["code"]}
    other = [f"{name} {ours[name]} in place of {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    what = "; ".join(other) or "another specification"
    return f"{node.kind} {node.name}: {socket.gethostname()} has {what}; install the same there"
