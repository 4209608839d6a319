"""Instructions with verifiable answers, procedurally generated or out of published packages."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.tasks.example import Example, Style
from scenarios.sources.templates import Templates

PINNED = {
    "reasoning-gym": "0.1.25",
    "german-nouns": "1.2.5",
    "home-assistant-intents": "2026.10.27",
    "bfcl-eval": "2026.3.23",
}
ARTICLES = {"m": "der", "f": "die", "n": "das"}


def _count(items: Any) -> int:
    if not isinstance(items, int) or isinstance(items, bool) or items < 1:
        raise UserError(f"items: {items!r} is not a whole number of at least 1")
    return items


def _package(name: str) -> importlib.metadata.Distribution:
    """The installed package; raises UserError with the command that installs the pinned version."""
    remedy = f"run: pip install {'' if name == 'reasoning-gym' else '--no-deps '}{name}=={PINNED[name]}"
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"package {name} is not installed; {remedy}") from error
    if found.version != PINNED[name]:
        raise UserError(f"{name} {found.version} is installed, but {PINNED[name]} is known here; {remedy}")
    return found


class _Generated:
    """What the sources here share: a pinned package and settings, which together are the fingerprint."""

    package: str
    licence: str
    about: str

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def fingerprint(self) -> str:
        """Version of the package and all settings."""
        return f"{self.package} {_package(self.package).version} {json.dumps(self.settings, sort_keys=True)}"

    def file(self, path: str) -> Path:
        """A file of the package."""
        return Path(str(_package(self.package).locate_file(path)))


class ReasoningGym(_Generated):
    """Problems of a data set of reasoning-gym (arXiv 2505.24760), which generates and solves them.

    dataset: its name; items, seed: how many and which; style: of the answers; options: labels, for style `label`;
    remove: regular expressions whose matches are cut out of the question, such as notes about the form of the
    answer; balance: keep as many problems of each answer as the rarest has (68 % of the syllogisms are Yes), so fewer
    than `items` in all; config: further settings of the data set.
    Short questions with short answers have, of 106: chain_sum, products, gcd, lcm, letter_counting, number_sequence
    (number), syllogism (yes_no), family_relationships, spell_backward (phrase); calendar_arithmetic mixes styles.
    Raises UserError for a number of items below 1, an expression that is none, and, when read, for a data set or
    a setting that reasoning-gym lacks, and one that only checks answers and gives none.
    """

    package, licence = "reasoning-gym", "Apache-2.0"

    def __init__(
        self,
        dataset: str,
        items: int,
        style: Style,
        seed: int = 0,
        options: list[str] | None = None,
        remove: list[str] | None = None,
        balance: bool = False,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            dataset=dataset,
            items=_count(items),
            style=style,
            seed=seed,
            options=options,
            remove=remove,
            balance=balance,
            config=config,
        )
        self.patterns = [_expression(pattern) for pattern in remove or []]
        self.about = f"reasoning-gym {dataset}, {items} generated problems"

    def documents(self) -> Iterator[Example]:
        """Yield the problems."""
        problems = list(self._problems())
        frequency = Counter(example.answer for example in problems)
        room = dict.fromkeys(frequency, min(frequency.values()) if self.settings["balance"] else len(problems))
        for example in problems:
            room[example.answer] -= 1
            if room[example.answer] >= 0:
                yield example

    def _problems(self) -> Iterator[Example]:
        _package(self.package)
        import reasoning_gym

        s = self.settings
        try:
            problems = reasoning_gym.create_dataset(s["dataset"], size=s["items"], seed=s["seed"], **s["config"] or {})
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"dataset: {s['dataset']}: {error}") from error
        for problem in problems:
            if problem["answer"] is None:
                raise UserError(f"dataset: {s['dataset']} has problems without a reference answer; take another")
            question = str(problem["question"])
            for pattern in self.patterns:
                question = pattern.sub("", question)
            question = "\n".join(" ".join(line.split()) for line in question.split("\n") if line.strip())
            yield Example(question, str(problem["answer"]), s["style"], tuple(s["options"] or ()))


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"remove: {pattern!r} is no regular expression: {error}") from error


class GermanNouns(_Generated):
    """German nouns (from Wiktionary): asked for article and plural, as in "das Haus, die Häuser".

    items, seed: how many nouns and which; only nouns with one gender and one plural, of at most 12 letters.
    Raises UserError for more items than there are such nouns.
    """

    package, licence, about = "german-nouns", "CC-BY-SA-4.0", "German nouns with gender and plural"

    def __init__(self, items: int, seed: int = 0) -> None:
        super().__init__(items=_count(items), seed=seed)

    def documents(self) -> Iterator[Example]:
        """Yield the questions."""
        with self.file("german_nouns/nouns.csv").open(encoding="utf-8", newline="") as lines:
            nouns = sorted({noun for row in csv.DictReader(lines) if (noun := self._noun(row))})
        if self.settings["items"] > len(nouns):
            raise UserError(f"items: {self.settings['items']} nouns are asked for, there are {len(nouns)}")
        chosen = random.Random(self.settings["seed"]).sample(nouns, self.settings["items"])
        for lemma, article, plural in chosen:
            question = f'German noun "{lemma}": give it with its article, and its plural.'
            yield Example(question, f"{article} {lemma}, die {plural}", "phrase")

    @staticmethod
    def _noun(row: dict[str, str]) -> tuple[str, str, str] | None:
        lemma, genus, plural = row["lemma"], row["genus"], row["nominativ plural"]
        several = row["genus 1"] or row["nominativ plural 1"] or row["nominativ plural*"]
        plain = re.fullmatch(r"[A-ZÄÖÜ][a-zäöüß]{2,11}", lemma) and re.fullmatch(r"[A-ZÄÖÜ][a-zäöüß]+", plural)
        if several or not plain or row["pos"] != "Substantiv" or genus not in ARTICLES:
            return None
        return lemma, ARTICLES[genus], plural


class HomeIntents(_Generated):
    """Commands to a smart home, from the sentence templates of Home Assistant: which intent is meant?

    intents: their names without "Hass"; items: sentences of each; seed: which; language: en, de, …; form: `label`
    asks for the name alone, among `labels` (all intents of a class-incremental stream; by default those of this
    task); `json` for {"intent": name, slot: value, …}.
    A template is chosen evenly, then each of its alternatives; sentences that come out twice are kept once, so an
    intent whose templates make few sentences has fewer than `items`: GetCurrentTime 11, GetCurrentDate 20, Broadcast
    48. Intents that share sentences ("start the radio") are not told apart: VacuumStart, VacuumReturnToBase and
    LawnMower*.
    Raises UserError for items below 1, another form, labels that lack an intent, and, when read, for an intent or a
    language that the package does not have.
    """

    package, licence = "home-assistant-intents", "Apache-2.0"

    def __init__(
        self,
        intents: list[str],
        items: int,
        seed: int = 0,
        language: str = "en",
        form: Style = "label",
        labels: list[str] | None = None,
    ) -> None:
        if form not in ("label", "json"):
            raise UserError(f"form: {form!r} is neither label nor json")
        if labels and (missing := [intent for intent in intents if intent not in labels]):
            raise UserError(f"labels: {missing[0]!r} is missing, which is an intent of this task; add it")
        super().__init__(intents=intents, items=_count(items), seed=seed, language=language, form=form, labels=labels)
        self.about = f"Home Assistant commands ({language}), up to {items} each of {len(intents)} intents"

    def documents(self) -> Iterator[Example]:
        """Yield the commands."""
        path = self.file(f"home_assistant_intents/data/{self.settings['language']}.json")
        if not path.is_file():
            raise UserError(f"language: {self.settings['language']!r} is none of Home Assistant's")
        content = json.loads(path.read_text(encoding="utf-8"))
        chance = random.Random(self.settings["seed"])
        for intent in self.settings["intents"]:
            if f"Hass{intent}" not in content["intents"]:
                known = ", ".join(sorted(name.removeprefix("Hass") for name in content["intents"]))
                raise UserError(f"intents: {intent!r} is unknown (known: {known})")
            yield from self._commands(intent, Templates(content, chance))

    def _commands(self, intent: str, templates: Templates) -> Iterator[Example]:
        found: dict[str, dict[str, Any]] = {}
        for _ in range(50 * self.settings["items"]):
            sentence, slots = templates.sentence(f"Hass{intent}")
            found.setdefault(sentence, slots)
            if len(found) == self.settings["items"]:
                break
        labels = tuple(self.settings["labels"] or self.settings["intents"])
        for sentence, slots in found.items():
            if self.settings["form"] == "label":
                yield Example(f'Which intent has the command "{sentence}"?', intent, "label", labels)
            else:
                answer = json.dumps({"intent": intent, **slots}, ensure_ascii=False)
                yield Example(f'Write the command "{sentence}" as JSON.', answer, "json")


class FunctionCalls(_Generated):
    """Calls of one function from a request, the simple Python set of the Berkeley Function Calling Leaderboard.

    The answer is {"name": …, "arguments": {…}} with the required arguments, each with the first value that counts as
    right; longest: characters of a question at most (the descriptions of some functions are long).
    """

    package, licence, about = "bfcl-eval", "Apache-2.0", "requests with one function to call (BFCL v4, simple)"

    def __init__(self, longest: int = 600) -> None:
        super().__init__(longest=longest)

    def documents(self) -> Iterator[Example]:
        """Yield the requests in the package's order."""
        asked, answered = (
            self.file(f"bfcl_eval/data/{folder}BFCL_v4_simple_python.json").read_text(encoding="utf-8").splitlines()
            for folder in ("", "possible_answer/")
        )
        for item, solution in zip(map(json.loads, asked), map(json.loads, answered), strict=True):
            function = item["function"][0]
            ((name, values),) = solution["ground_truth"][0].items()
            required = function["parameters"].get("required", [])
            arguments = {key: value[0] for key, value in values.items() if key in required}
            kinds = {key: entry["type"] for key, entry in function["parameters"]["properties"].items()}
            signature = ", ".join(f"{key}: {kinds[key]}" for key in required)
            question = f"{item['question'][0][0]['content']}\nCall {name}({signature}) as JSON."
            if len(question) <= self.settings["longest"]:
                yield Example(question, json.dumps({"name": name, "arguments": arguments}), "json")
