"""Broken inputs of `cl plan`, drawn from a seed: files and settings as people and programs get them wrong."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cl.config import loading
from strategies import METHODS
from tests.support.odd_values import BYTES, NAMES, ODD, SOURCES, WORDS, Case, Inputs
from tests.support.training import TEXTS


def a_setting(inputs: Inputs) -> None:
    """An odd value of a setting of the experiment."""
    for _ in range(inputs.chance.choice((1, 1, 1, 2))):
        key = inputs.chance.choice([each.key for each in loading.settings()])
        inputs.put("toyexp.yaml", key, inputs.odd())


def a_setting_on_the_command_line(inputs: Inputs) -> None:
    """An odd value, or an odd key, on the command line."""
    chance, keys = inputs.chance, [each.key for each in loading.settings()]
    key = chance.choice([*keys, *keys, "strategy.replay.share", f"model.{chance.choice(WORDS)}", chance.choice(WORDS)])
    value = chance.choice(
        [*ODD, "\udcff", "a\nb", "1\r\n", "\x00", "1e999", "1e-999", "1e5000000", "-1E+22", "=", "--x=1"]
    )
    inputs.settings.append(f"--{key}={value}")
    inputs.about.append(f"--{key}={value}"[:90])


def a_method(inputs: Inputs) -> None:
    """An odd value of a method's setting."""
    from cl import construction, registry

    name = inputs.chance.choice(list(METHODS))
    hints = construction.hints_of(registry.find("methods", name, "tests"))
    given = {"shares": {"english": 0.5}} if "shares" in hints else {"of": "english"} if "of" in hints else {}
    inputs.files["strategies/mine.yaml"] = {"summary": "mine", "methods": [{name: dict(given)}]}
    setting = inputs.chance.choice([*hints, inputs.chance.choice(WORDS[:4])])
    place = inputs.chance.choice(
        ("strategies.mine", "strategy", "by_task.german.strategy", "by_task.german.strategies.mine")
    )
    inputs.put("toyexp.yaml", "strategies.mine", None)
    inputs.put("toyexp.yaml", f"{place}.{name}.{setting}", inputs.odd())


def a_strategy(inputs: Inputs) -> None:
    """An odd strategy's file, or an odd entry of one."""
    file = {"summary": "mine", "paper": "p", "keeps": "k", "methods": [{"replay": {"share": 0.25}}, "constant"]}
    inputs.files["strategies/mine.yaml"] = file
    inputs.files["toyexp.yaml"]["strategies"] = {"mine": None}
    where = inputs.chance.choice(("summary", "paper", "methods", "method", "settings", "label", "entry", "from"))
    if where in file:
        file[where] = inputs.odd()
    elif where == "method":
        file["methods"] = [inputs.odd()]
    elif where == "settings":
        file["methods"] = [{"replay": inputs.odd()}]
    elif where == "label":
        inputs.files["toyexp.yaml"]["strategies"] = {inputs.chance.choice((inputs.odd(), *WORDS[:-1])): None}
    elif where == "from":
        inputs.files["toyexp.yaml"]["strategies"] = {"own": {"from": inputs.odd()}}
    else:
        inputs.files["toyexp.yaml"]["strategies"] = {"mine": {inputs.chance.choice(("replay", "no")): inputs.odd()}}
    inputs.about.append(where)


def a_scenario(inputs: Inputs) -> None:
    """An odd value in the scenario."""
    keys = ["summary", "version", "tasks", "split", "orders", "retain", "general", "more", "orders.other", "general.g"]
    keys += ["tasks.english", "tasks.english.limit", "tasks.english.kind", "tasks.english.sources", "retain.more"]
    keys += ["split.validation", "split.test", "split.seed", "retain.more.sources"]
    keys += [f"tasks.{'n' * 300}", "tasks.a b"]
    inputs.put("toy.yaml", inputs.chance.choice(keys), inputs.odd())


def a_source(inputs: Inputs) -> None:
    """An odd value of a source's setting."""
    name = inputs.chance.choice(list(SOURCES))
    settings = {"source": name, **copy.deepcopy(SOURCES[name])}
    settings[inputs.chance.choice([*settings, "path", "folder", "limit", "more"])] = inputs.odd()
    kind = "text" if name in ("files", "hub", "packaged") else "preference" if name == "preferences" else "instruction"
    group = "general" if kind == "preference" else inputs.chance.choice(("tasks", "retain", "general"))
    inputs.put("toy.yaml", f"{group}.extra", {"kind": kind, "sources": [settings]})
    inputs.about.append(name)
    if group == "tasks":
        inputs.put(
            "toyexp.yaml",
            "examples" if kind == "instruction" else "tokens.extra",
            64 if kind == "instruction" else 4096,
        )
        inputs.files["toyexp.yaml"]["tokens"] = {"english": 3072, "german": 3072} | (
            {} if kind == "instruction" else {"extra": 3072}
        )


def a_damaged_file(inputs: Inputs) -> None:
    """Bytes that were lost, doubled, or put into a file."""
    file = inputs.chance.choice(("toyexp.yaml", "toy.yaml"))
    raw = yaml.safe_dump(inputs.files[file], sort_keys=False)
    text = raw.encode()
    for _ in range(inputs.chance.randint(1, 3)):
        at = inputs.chance.randrange(len(text))
        more = inputs.chance.choice((*BYTES, text[: inputs.chance.randrange(80)]))
        text = text[:at] + more + text[at + inputs.chance.choice((0, 0, 1, 5, 40)) :]
    if inputs.chance.random() < 0.1:
        text = inputs.chance.choice(
            (text.decode("utf-8", "replace").encode("utf-16"), b"", b"#", b"---", text * 300, b"a: 1\n" * 9)
        )
    inputs.files[file] = text.decode("utf-8", "surrogateescape")
    inputs.about.append(f"{file}")


def a_tuned_file(inputs: Inputs) -> None:
    """An odd tuned.yaml."""
    content: dict[str, Any] = {"protocol": "first_k", "about": "x", "skip": 1,
               "made_for": {"scenario": "toy", "model": "llama-tiny", "tokens": 3072, "examples": {}},
               "values": {"finetune": {"*": {"train.lr": 0.001}}}}  # fmt: skip
    inputs.files["tuned.yaml"] = content
    inputs.put("toyexp.yaml", "tuned", "tuned.yaml")
    keys = ["protocol", "about", "skip", "made_for", "made_for.tokens", "made_for.more", "values", "more"]
    keys += ["values.finetune", "values.other", "values.finetune.x"]
    chosen = inputs.chance.choice([*keys, "deep", "deeper", "order"])
    if chosen in keys:
        inputs.put("tuned.yaml", chosen, inputs.odd())
    elif chosen == "deep":
        key = inputs.chance.choice(
            ("train.lr", "by_task", "seeds", "store", "train", "tuned", "strategies.finetune.x", "a..b")
        )
        content["values"]["finetune"] = {"*": {key: inputs.odd()}}
    elif chosen == "deeper":
        content["values"]["finetune"] = {"*": {"by_task": {"german": {"train.lr": inputs.odd()}}}}
    else:
        content["values"]["finetune"] = {"english > german": inputs.odd()}
    inputs.about.append(chosen)


def an_open_mapping(inputs: Inputs) -> None:
    """An odd entry of a mapping whose keys are free."""
    groups = (
        "probes probes.linear model.template cluster.slurm by_task by_task.german by_task.german.train strategies "
        "strategy strategies.finetune tokens examples orders tune"
    )
    group = inputs.chance.choice(groups.split())
    if group == "examples":
        inputs.files["toyexp.yaml"].setdefault("examples", {})
    key = inputs.chance.choice(
        (inputs.odd(), "linear", "items", "german", "lr", "betas", "replay", "finetune", *WORDS[:-1])
    )
    inputs.put("toyexp.yaml", group, {key: inputs.odd()})


def a_name(inputs: Inputs) -> None:
    """An odd name or path."""
    keys = (
        "name store output question scenario tracking.uri tuned model.name model.tokenizer tune.storage launcher "
        "model.revision model.system"
    )
    key = inputs.chance.choice(keys.split())
    value = inputs.chance.choice(NAMES)
    inputs.settings.append(f"--{key}={value}")
    inputs.about.append(f"--{key}={value}"[:90])


def arguments(inputs: Inputs) -> None:
    """An odd name of the experiment."""
    inputs.about.append("experiment")


KINDS: tuple[Callable[[Inputs], None], ...] = (
    a_setting, a_setting, a_setting_on_the_command_line, a_method, a_method, a_strategy, a_scenario, a_source,
    a_damaged_file, a_tuned_file, an_open_mapping, a_name, arguments,
)  # fmt: skip


def write(folder: Path, number: int) -> Case:
    """Write the broken input of a number into a folder; returns it."""
    chance = random.Random(number)
    inputs = Inputs(chance)
    make = KINDS[number % len(KINDS)]
    make(inputs)
    for name in ("english", "german"):
        (folder / f"{name}.txt").write_bytes((TEXTS / f"{name}.txt").read_bytes())
    inputs.write(folder)
    name = "toyexp.yaml"
    if make is arguments:
        odd = (
            *WORDS,
            "x" * 5000,
            ".yaml",
            "a/" * 3000 + ".yaml",
            "\0.yaml",
            "[/].yaml",
            "*",
            "**.yaml",
            "english.txt",
            "-x",
            "",
        )
        name = chance.choice(odd)
    return Case(make.__name__, number, ["plan", name, *inputs.settings], "; ".join(inputs.about))
