"""Answer-style diversification: ask some of each task's questions in other forms, and always say which form is meant.

Chen et al. 2025 (SEFE), arXiv 2505.02486, section on ASD, read in digests and in the prompts of the data set CoIN-ASD.
A share X of a task's training examples is converted, in equal parts, to the other answer types; the converted ones
replace their originals; every question ends with the format prompt of its type, in training and in the test.

    X = 20 %, 100 questions that ask for a number:   10 become yes/no questions, 10 multiple choice, 80 stay
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import replace

from cl.errors import UserError
from cl.examples import Example
from cl.method import Method
from cl.scoring import FORMAT_PROMPTS, plain

CHOICES = 4


def to_yes_no(example: Example, wrong: Sequence[str], turn: int) -> Example | None:
    """Ask whether the answer is the right one (even turns: Yes) or a wrong one (odd turns: No)."""
    candidate = wrong[0] if turn % 2 else _text(example)
    question = f"{example.question}\nIs the answer {candidate!r}?"
    return Example(question, "No" if turn % 2 else "Yes", "yes_no")


def to_choice(example: Example, wrong: Sequence[str], turn: int) -> Example | None:
    """Offer the answer among up to three wrong ones; the right letter goes round with the turns."""
    options = list(wrong[: CHOICES - 1])
    place = turn % (len(options) + 1)
    options.insert(place, _text(example))
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    question = "\n".join([example.question, *lines])
    return Example(question, string.ascii_uppercase[place], "choice", tuple(options))


def to_phrase(example: Example, wrong: Sequence[str], turn: int) -> Example | None:
    """Ask for the right option's text in place of its letter; a question without options has no short form."""
    return Example(example.question, _text(example), "phrase") if example.style == "choice" else None


CONVERT: dict[str, Callable[[Example, Sequence[str], int], Example | None]] = {
    "yes_no": to_yes_no,
    "choice": to_choice,
    "phrase": to_phrase,
}


class AnswerStyles(Method):
    """Diversify the answer styles of instruction tasks, by rule.

    share: of a task's training examples that are converted (the paper's X; 0.2 was best there), in exactly equal parts;
    prompts: end every question with the format prompt of its style, the test's and the unconverted ones too; seed: of
    the choice of examples and of wrong answers, the same in every run.
    Wrong answers are the other options, or else other examples' answers of the same task. An example keeps its style
    if it has no wrong answer to offer; the number converted is exact all the same, for another takes its place.
    Deviations: brief and detailed explanations (two of the paper's five types) need a model to write them and are not
    made; the paper's wrong answers are written by a multimodal model; the rules for the sentences are ours.
    """

    def __init__(self, share: float = 0.2, prompts: bool = True, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise UserError(f"share: {share} is not a share; give a number from 0 to 1")
        self.share, self.prompts, self.seed = share, prompts, seed

    def warnings(self) -> list[str]:
        """Settings under which less changes than the name says."""
        if self.share:
            return []
        return ["share 0 only adds format prompts" if self.prompts else "share 0 without prompts changes nothing"]

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Convert `share` of the training examples; add format prompts everywhere."""
        found = self._diversified(examples, task) if split == "train" else examples
        if not self.prompts:
            return found
        return [replace(e, question=f"{e.question}\n{FORMAT_PROMPTS[e.style]}") for e in found]

    def _diversified(self, examples: list[Example], task: str) -> list[Example]:
        chance = random.Random(f"{self.seed} {task}")
        order = chance.sample(range(len(examples)), len(examples))
        types = [name for name in CONVERT if any(_other(example, name) for example in examples)]
        if not types:
            return examples
        each = int(self.share * len(examples) / len(types) + 1e-9)
        found = list(examples)
        for name in types:
            turn = 0
            for index in list(order):
                if turn == each:
                    break
                wrong = _wrong(examples[index], examples, chance)
                made = CONVERT[name](examples[index], wrong, turn) if wrong and _other(examples[index], name) else None
                if made is not None:
                    found[index] = made
                    order.remove(index)
                    turn += 1
            if turn < each:
                raise UserError(f"answer_styles: share: {self.share} of {task} cannot become {name}; lower the share")
        return found


def _other(example: Example, name: str) -> bool:
    """Whether the type is another than the example's own; numbers, labels, phrases and JSON are all short answers."""
    if name == "phrase":
        return example.style == "choice"
    return example.style != name


def _text(example: Example) -> str:
    """The answer in words: for a letter the option's text."""
    return (
        example.options[string.ascii_uppercase.index(example.answer)] if example.style == "choice" else example.answer
    )


def _wrong(example: Example, examples: Sequence[Example], chance: random.Random) -> list[str]:
    """Up to three answers that are not right: other options, or other examples' answers."""
    right = {plain(text) for text in (_text(example), *example.accepted)}
    pool = example.options or [_text(chance.choice(examples)) for _ in range(8 * CHOICES)]
    others = list({plain(text): text for text in pool if plain(text) not in right}.values())
    return chance.sample(others, min(CHOICES - 1, len(others)))
