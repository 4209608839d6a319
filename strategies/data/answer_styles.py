"""Answer-style diversification: ask some of each task's questions in other forms, and always name the expected form.

Chen et al. 2025 (SEFE), arXiv 2505.02486, section on ASD, read in digests and in the prompts of the data set CoIN-ASD.
A share X of a task's training examples is converted, in equal parts, to the other answer types. The converted examples
replace their originals. Every question ends with the format prompt of its type, in training and in the test.

    X = 20 %, 100 questions that ask for a number:   10 become yes/no questions, 10 multiple choice, 80 stay
    with a writer:                                    5 of each, 5 brief and 5 detailed explanations, 80 stay
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cl.errors import UserError
from cl.methods.method import Method, TransformsData
from cl.models.text_cache import FOLDER, Texts
from cl.tasks.answer_scoring import FORMAT_PROMPTS, plain
from cl.tasks.example import Example
from strategies.data.answer_writing import EXPLAINED, PROMPT_VERSION, Scribe, explanation, truth

CHOICES = 4


def to_yes_no(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Ask whether a given answer is right: the right one on even turns (Yes), a wrong one on odd turns (No)."""
    candidate = wrong[0] if turn % 2 else truth(example)
    question = f"{example.question}\nIs the answer {candidate!r}?"
    return Example(question, "No" if turn % 2 else "Yes", "yes_no")


def to_choice(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Offer the answer among up to three wrong ones; the position of the right letter rotates with the turns."""
    options = list(wrong[: CHOICES - 1])
    place = turn % (len(options) + 1)
    options.insert(place, truth(example))
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    question = "\n".join([example.question, *lines])
    return Example(question, string.ascii_uppercase[place], "choice", tuple(options))


def to_phrase(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Ask for the right option's text instead of its letter; a question without options has no short form."""
    return Example(example.question, truth(example), "phrase")


CONVERT: dict[str, Callable[[Example, Sequence[str], int], Example]] = {
    "yes_no": to_yes_no,
    "choice": to_choice,
    "phrase": to_phrase,
}


@dataclass(eq=False)
class AnswerStyles(TransformsData):
    """Diversify the answer styles of instruction tasks, by rule or with the help of a chat model.

    Args:
        share: share of a task's training examples that is converted, the paper's X; 0.2 was best there.
        prompts: end every question with the format prompt of its style, also in the test and without conversion.
        seed: seed of the choice of examples and of wrong answers, the same in every run.
        writer: chat model that writes explanations: its name, or settings of a writer of `cl.models.chat_writers`.
            None: rules only, and three answer types.
        distractors: wrong answers come from `rules`, or from the `writer` where a task has no options.
        retries: further attempts at a text that cannot be used.
        cache: folder of the texts written before; it is in no key.

    The converted share is divided into exactly equal parts. Wrong answers are the other options, or else other
    examples' answers of the same task. An example keeps its style if there is no wrong answer for it; the number of
    converted examples is exact all the same, since another example takes its place.

    A writer writes brief and detailed explanations, two of the paper's five types. Its settings are those of
    `LocalWriter` or `EndpointWriter`. `strategies.data.answer_writing` says what the writer is given and which texts
    are refused.

    Deviations: the paper's writer is a multimodal model, and which one is not known; the rules for the sentences are
    ours; yes/no questions alternate between right and wrong answers, so a writer is asked for every second one only.

    Keeps between tasks: nothing.
    """

    share: float = 0.2
    prompts: bool = True
    seed: int = 0
    writer: str | dict[str, Any] | None = None
    distractors: Literal["rules", "writer"] = "rules"
    retries: int = 3
    cache: str = FOLDER

    scribe: Scribe | None = field(init=False, repr=False, default=None)
    """Asks the writer, if there is one."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"share: {self.share} is not a share; give a number from 0 to 1")
        if self.retries < 0:
            raise UserError(f"retries: {self.retries} must be at least 0")
        if self.distractors == "writer" and self.writer is None:
            raise UserError("distractors: 'writer' needs a chat model; name it under writer, or use rules")
        if self.writer is not None:
            from cl.models import chat_writers

            texts = Texts(chat_writers.build(self.writer), Path(self.cache).expanduser())
            self.scribe = Scribe(texts, self.retries)

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings under which less changes than the method's name promises."""
        found = []
        if not self.share:
            found.append(f"share 0 {'only adds format prompts' if self.prompts else 'without prompts changes nothing'}")
        if self.scribe and self.scribe.retries and not self.scribe.texts.writer.identity["temperature"]:
            found.append("retries at temperature 0 write the same text again; raise the writer's, or set retries 0")
        return found

    def data_key(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that act: the writer's identity and prompts instead of its name, and not the cache."""
        if self.scribe is None or not self.share:
            return {key: settings[key] for key in ("share", "prompts", "seed")}
        kept = {key: value for key, value in settings.items() if key != "cache"}
        return kept | {"writer": self.scribe.texts.writer.identity, "prompt_version": PROMPT_VERSION}

    def notes(self) -> dict[str, Any]:
        """Return the writer's identity and counts, if there is a writer."""
        return self.scribe.notes() if self.scribe else {}

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Convert `share` of the training examples, and add format prompts to all examples."""
        found = self._diversified(examples, task) if split == "train" else examples
        if not self.prompts:
            return found
        return [replace(e, question=f"{e.question}\n{FORMAT_PROMPTS[e.style]}") for e in found]

    def _diversified(self, examples: list[Example], task: str) -> list[Example]:
        chance = random.Random(f"{self.seed} {task}")
        order = chance.sample(range(len(examples)), len(examples))
        names = [*CONVERT, *(EXPLAINED if self.scribe else ())]
        types = [name for name in names if any(_other(example, name) for example in examples)]
        if not types:
            return examples
        each = int(self.share * len(examples) / len(types) + 1e-9)
        found = dict(enumerate(examples))
        for name in types:
            made = self._converted(name, each, order, examples, chance)
            if len(made) < each:
                raise UserError(f"answer_styles: {self._shortage(name, len(made), each, task)}")
            found |= made
            order = [index for index in order if index not in made]
        return list(found.values())

    def _converted(
        self, name: str, each: int, order: Sequence[int], examples: Sequence[Example], chance: random.Random
    ) -> dict[int, Example]:
        """Convert the first `each` examples in `order` that can become type `name`; fewer if no more can. By index."""
        if self.scribe and name in EXPLAINED:
            written = self.scribe.ask(name, each, [i for i in order if _other(examples[i], name)], examples)
            return {index: explanation(examples[index], texts[0], name) for index, texts in written.items()}
        if self._asks_for(name, examples):
            return self._against_written(name, each, [i for i in order if _other(examples[i], name)], examples)
        made: dict[int, Example] = {}
        for index in order:
            if len(made) == each:
                break
            wrong = _wrong(examples[index], examples, chance)
            if wrong and _other(examples[index], name):
                made[index] = CONVERT[name](examples[index], wrong, len(made))
        return made

    def _asks_for(self, name: str, examples: Sequence[Example]) -> bool:
        """Whether the writer makes a type's wrong answers; where there are options they are used, as in the paper."""
        fixed = any(example.options or example.style == "yes_no" for example in examples)
        return self.distractors == "writer" and name != "phrase" and not fixed

    def _against_written(
        self, name: str, each: int, order: Sequence[int], examples: Sequence[Example]
    ) -> dict[int, Example]:
        """As `_converted`, with the writer's wrong answers; a question with the answer Yes needs none."""
        assert self.scribe is not None
        wrong = self.scribe.ask(name, each // 2 if name == "yes_no" else each, order, examples)
        asked, others = iter(wrong), iter([index for index in order if index not in wrong])
        made: dict[int, Example] = {}
        for turn in range(each):
            index = next(others if name == "yes_no" and turn % 2 == 0 else asked, None)
            if index is None:
                break
            made[index] = CONVERT[name](examples[index], wrong.get(index, []), turn)
        return made

    def _shortage(self, name: str, made: int, each: int, task: str) -> str:
        """Message that says why a type has too few examples, and what helps."""
        if self.scribe is None or (name not in EXPLAINED and not self.scribe.refused):
            return f"share: {self.share} of {task} cannot become {name}; lower the share"
        counts = f"{made} of {each} examples of {task} could become {name} (refused: {self.scribe.reasons(name)})"
        return f"writer: {counts}; lower the share, raise retries or name a stronger writer"


def _other(example: Example, name: str) -> bool:
    """Whether the type differs from the example's own; numbers, labels, phrases and JSON are all short answers."""
    if name == "phrase":
        return example.style == "choice"
    return example.style != name and not (name in EXPLAINED and example.style in EXPLAINED)


def _wrong(example: Example, examples: Sequence[Example], chance: random.Random) -> list[str]:
    """Up to three wrong answers: other options, or other examples' answers."""
    right = {plain(text) for text in (truth(example), *example.accepted)}
    pool = example.options or [truth(chance.choice(examples)) for _ in range(8 * CHOICES)]
    others = list({plain(text): text for text in pool if plain(text) not in right}.values())
    return chance.sample(others, min(CHOICES - 1, len(others)))
