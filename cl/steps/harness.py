"""Scores of a state on a task of lm-evaluation-harness, computed by the harness itself.

The harness makes the prompts, asks the model, and computes its metric; `cl` lends it the opened model. No chat template
is applied, as in the harness's defaults. The model's own generation settings are not applied.
"""

from __future__ import annotations

import importlib.metadata
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.graph.specs import Compute
from cl.models import adapters, decoding, pretrained
from cl.models.forward import TokenLoss, autocast
from cl.tasks.harness import PACKAGE, HarnessSpec, content_of

ABOUT = ("name", "alias", "sample_len", "sample_count")
"""Entries of the harness's results that are no metric."""


def cell(
    loss: TokenLoss, asked: HarnessSpec, tokenizer: Path, include: str | None, batch: int, compute: Compute
) -> dict[str, Any]:
    """The cell of R of a set of the harness.

    Args:
        loss: loss of the model.
        asked: the set.
        tokenizer: folder of the tokenizer node.
        include: folder of the user's own tasks.
        batch: rows per forward pass.
        compute: device and precision.

    Returns:
        `scores` by the harness's name of the metric, with the filter behind a slash where it is not `none`;
        `items`, the number of documents; `harness`, the versions.

    Raises:
        UserError: for another version of the harness or of the task's files, for a prompt of the model, and if the
            task's documents cannot be read.
    """
    _check(asked, include)
    if adapters.prompt(loss.model) is not None:
        raise UserError(f"{asked.name}: the harness cannot read the prompt of the model; leave the set out")
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # its progress bars
        manager = TaskManager(include_path=include, include_defaults=include is None)
        model = HFLM(pretrained=loss.model, tokenizer=pretrained.stored_tokenizer(tokenizer), batch_size=batch)
        try:
            with autocast(compute.device, compute.precision), decoding.unset(loss.model):
                found = lm_eval.simple_evaluate(
                    model=model, tasks=[asked.task], task_manager=manager, limit=asked.limit, bootstrap_iters=0,
                    log_samples=False, random_seed=None, numpy_random_seed=None, torch_random_seed=None,
                )  # fmt: skip
        except OSError as error:  # datasets and the hub raise kinds of it
            told = " ".join(str(error).split())
            raise UserError(
                f"{asked.name}: the documents of {asked.task} cannot be read: {told}; load them once with the network, "
                "on this machine"
            ) from error
    return {
        "scores": scores_of(found["results"][asked.task]),
        "items": int(found["n-samples"][asked.task]["effective"]),
        "harness": f"{PACKAGE} {asked.harness}, {asked.task} {asked.version}",
    }


def scores_of(results: dict[str, Any]) -> dict[str, float]:
    """The metrics of the harness's results, without their standard errors."""
    found = {}
    for key, value in results.items():
        metric, _, kept = key.partition(",")
        if key not in ABOUT and not metric.endswith("_stderr") and isinstance(value, int | float):
            found[metric if kept in ("", "none") else f"{metric}/{kept}"] = float(value)
    return found


def _check(asked: HarnessSpec, include: str | None) -> None:
    """Raises UserError if this machine's harness or task files are not those of the key."""
    try:
        installed = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != asked.harness:
        raise UserError(f"{asked.name}: {PACKAGE} is {installed} here; pip install {PACKAGE}=={asked.harness}")
    if asked.content is not None and (include is None or content_of(Path(include)) != asked.content):
        raise UserError(f"{asked.name}: the files in {include} have changed since planning; run again")
