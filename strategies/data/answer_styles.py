"""Answer-style diversification: ask some of each task's questions in other forms, and always say which form is meant.

Chen et al. 2025 (SEFE), arXiv 2505.02486, section on ASD, read in digests and in the prompts of the data set CoIN-ASD.
A share X of a task's training examples is converted, in equal parts, to the other answer types; the converted ones
replace their originals; every question ends with the format prompt of its type, in training and in the test.

    X = 20 %, 100 questions that ask for a number:   10 become yes/no questions, 10 multiple choice, 80 stay
    with a writer:                                    5 of each, 5 brief and 5 detailed explanations, 80 stay
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cl.errors import UserError
from cl.methods.method import Method
from cl.models import chat_writers
from cl.models.text_cache import FOLDER, Texts
from cl.tasks.answer_scoring import FORMAT_PROMPTS, plain
from cl.tasks.example import Example
from strategies.data.answer_writing import EXPLAINED, PROMPT_VERSION, Scribe, explanation, truth

CHOICES = 4


def to_yes_no(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Ask whether the answer is the right one (even turns: Yes) or a wrong one (odd turns: No)."""
    candidate = wrong[0] if turn % 2 else truth(example)
    question = f"{example.question}\nIs the answer {candidate!r}?"
    return Example(question, "No" if turn % 2 else "Yes", "yes_no")


def to_choice(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Offer the answer among up to three wrong ones; the right letter goes round with the turns."""
    options = list(wrong[: CHOICES - 1])
    place = turn % (len(options) + 1)
    options.insert(place, truth(example))
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    question = "\n".join([example.question, *lines])
    return Example(question, string.ascii_uppercase[place], "choice", tuple(options))


def to_phrase(example: Example, wrong: Sequence[str], turn: int) -> Example:
    """Ask for the right option's text in place of its letter; a question without options has no short form."""
    return Example(example.question, truth(example), "phrase")


CONVERT: dict[str, Callable[[Example, Sequence[str], int], Example]] = {
    "yes_no": to_yes_no,
    "choice": to_choice,
    "phrase": to_phrase,
}


class AnswerStyles(Method):
    """Diversify the answer styles of instruction tasks, by rule or with the help of a chat model.

    share: of a task's training examples that are converted (the paper's X; 0.2 was best there), in exactly equal parts;
    prompts: end every question with the format prompt of its style, the test's and the unconverted ones too; seed: of
    the choice of examples and of wrong answers, the same in every run.
    Wrong answers are the other options, or else other examples' answers of the same task. An example keeps its style
    if it has no wrong answer to offer; the number converted is exact all the same, for another takes its place.

    writer: the chat model that writes brief and detailed explanations, two of the paper's five types: its name, or
    settings of a `LocalWriter` or `EndpointWriter` of `cl.models.chat_writers`; None: rules only, and three types.
    retries: of a text that cannot be used. distractors: by `rules`, or by the `writer` where a task has no options.
    cache: folder of what was written before, which is in no key. What the writer is given and what is refused:
    `strategies.data.answer_writing`.
    Deviations: the paper's writer is a multimodal model, and which one is not known; the rules for the sentences are
    ours; yes/no questions alternate between right and wrong, so a writer is asked for every other one only.
    Keeps between tasks: nothing.
    """

    def __init__(
        self,
        share: float = 0.2,
        prompts: bool = True,
        seed: int = 0,
        writer: str | dict[str, Any] | None = None,
        distractors: Literal["rules", "writer"] = "rules",
        retries: int = 3,
        cache: str = FOLDER,
    ) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise UserError(f"share: {share} is not a share; give a number from 0 to 1")
        if retries < 0:
            raise UserError(f"retries: {retries} must be at least 0")
        if distractors == "writer" and writer is None:
            raise UserError("distractors: 'writer' needs a chat model; name it under writer, or use rules")
        self.share, self.prompts, self.seed, self.distractors = share, prompts, seed, distractors
        self.scribe: Scribe | None = None
        if writer is not None:
            self.scribe = Scribe(Texts(chat_writers.build(writer), Path(cache).expanduser()), retries)

    def warnings(self) -> list[str]:
        """Settings under which less changes than the name says."""
        found = []
        if not self.share:
            found.append(f"share 0 {'only adds format prompts' if self.prompts else 'without prompts changes nothing'}")
        if self.scribe and self.scribe.retries and not self.scribe.texts.writer.identity["temperature"]:
            found.append("retries at temperature 0 write the same text again; raise the writer's, or set retries 0")
        return found

    def data_key(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that act, with the writer's identity and prompts in place of its name; not the cache's place."""
        if self.scribe is None or not self.share:
            return {key: settings[key] for key in ("share", "prompts", "seed")}
        kept = {key: value for key, value in settings.items() if key != "cache"}
        return kept | {"writer": self.scribe.texts.writer.identity, "prompt_version": PROMPT_VERSION}

    def notes(self) -> dict[str, Any]:
        """What the writer did, where there is one."""
        return self.scribe.notes() if self.scribe else {}

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Convert `share` of the training examples; add format prompts everywhere."""
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
        """The first `each` examples in `order` that can be made one of a type, by index; fewer where no more can."""
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
        """Whether the writer makes a type's wrong answers; where there are options they are others, as in the paper."""
        fixed = any(example.options or example.style == "yes_no" for example in examples)
        return self.distractors == "writer" and name != "phrase" and not fixed

    def _against_written(
        self, name: str, each: int, order: Sequence[int], examples: Sequence[Example]
    ) -> dict[int, Example]:
        """As `_converted`, with the writer's wrong answers; a question that is answered Yes needs none."""
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
        """Why a type falls short, and what helps."""
        if self.scribe is None or (name not in EXPLAINED and not self.scribe.refused):
            return f"share: {self.share} of {task} cannot become {name}; lower the share"
        counts = f"{made} of {each} examples of {task} could become {name} (refused: {self.scribe.reasons(name)})"
        return f"writer: {counts}; lower the share, raise retries or name a stronger writer"


def _other(example: Example, name: str) -> bool:
    """Whether the type is another than the example's own; numbers, labels, phrases and JSON are all short answers."""
    if name == "phrase":
        return example.style == "choice"
    return example.style != name and not (name in EXPLAINED and example.style in EXPLAINED)


def _wrong(example: Example, examples: Sequence[Example], chance: random.Random) -> list[str]:
    """Up to three answers that are not right: other options, or other examples' answers."""
    right = {plain(text) for text in (truth(example), *example.accepted)}
    pool = example.options or [truth(chance.choice(examples)) for _ in range(8 * CHOICES)]
    others = list({plain(text): text for text in pool if plain(text) not in right}.values())
    return chance.sample(others, min(CHOICES - 1, len(others)))
