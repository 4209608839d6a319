"""Compute a cut node: the training text of a task, cut into the rows that a method says, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from cl.data import token_files
from cl.data.rows import PIECE_LENGTHS, PIECES
from cl.errors import UserError
from cl.graph.roles import TOKENIZER, data
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.cuts_rows import CutsRows, Text

if TYPE_CHECKING:
    from cl.graph.roles import Inputs
    from cl.graph.specs import CutSpec
    from cl.steps.context import Context

MUCH = 0.1  # share of dropped tokens from which on it is told


def run(spec: CutSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the training text of a set with the pieces of its rows.

    Returns:
        Result of the data node, with the number of rows, the share of tokens that no row learns, and sentences about
        it under `cut`.

    Raises:
        UserError: if the text fills no row.
    """
    method = strategy.build_method(spec.method, f"rows of {spec.set}")
    assert isinstance(method, CutsRows)
    folder = inputs[data(spec.set)]
    tokens = token_files.mapped(folder)["train"]
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    starts = np.flatnonzero(tokens == separator).astype(np.int64)
    found = method.cut(Text(starts, spec.sequence, spec.batch))
    if not len(found.lengths):
        step = f"{spec.batch} x {spec.sequence} tokens"
        raise UserError(f"{spec.method.name}: {spec.set} has too few long documents for one step of {step}; see docs")
    arrays = {"train": tokens, f"train.{PIECES}": found.starts, f"train.{PIECE_LENGTHS}": found.lengths}
    save_file(arrays, context.out / "tokens.safetensors")
    dropped = 1 - len(found.lengths) * spec.sequence / max(1, tokens.size - 1)
    told = [f"{spec.set}: {spec.method.name} drops {dropped:.0%} of its tokens"] if dropped > MUCH else []
    return result_of(folder) | {"cut": {"rows": len(found.lengths), "dropped": dropped, "told": told}}
