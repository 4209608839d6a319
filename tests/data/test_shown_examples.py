"""Questions behind examples: as turns, as text, and as many as fit."""

from __future__ import annotations

from collections.abc import Sequence

from cl.data.shown_examples import Tokens, behind, fitted
from cl.data.tokenization import SEPARATOR, chat_of, dialogue
from cl.tasks.example import Example
from tests.data.test_chat import CHATML, GEMMA, made

ONE, TWO = Example("1 + 1?", "2", "number"), Example("2 + 2?", "4", "number")
ASKED = Example("3 + 3?", "6", "number", history=(("system", "Count."), ("user", "Hi."), ("assistant", "Hello.")))


def test_without_a_template_examples_are_text_before_the_question() -> None:
    plain = Example("3 + 3?", "6", "number")
    assert behind(plain, [ONE, TWO], chat=False).question == "1 + 1?\n2\n\n2 + 2?\n4\n\n3 + 3?"
    assert behind(plain, [], chat=False) is plain


def test_with_a_template_examples_are_turns_between_the_system_and_the_dialogue() -> None:
    earlier = Example("And 2?", "4", "number", history=(("system", "Other."), ("user", "1?"), ("assistant", "2")))
    assert behind(ASKED, [ONE, earlier], chat=True).history == (
        ("system", "Count."),
        ("user", "1 + 1?"),
        ("assistant", "2"),
        ("user", "1?"),
        ("assistant", "2"),
        ("user", "And 2?"),
        ("assistant", "4"),
        ("user", "Hi."),
        ("assistant", "Hello."),
    )


def test_templates_render_the_examples_as_earlier_turns() -> None:
    for template, between in ((CHATML, "<|im_end|>\n"), (GEMMA, "<end_of_turn>\n")):
        tokenizer = made(template)
        whole = behind(Example("3 + 3?", "6", "number"), [ONE], chat=True)
        question, _ = dialogue(whole, tokenizer, tokenizer.get_vocab()[SEPARATOR], chat_of(tokenizer, None, {}))
        text = tokenizer.decode(question)
        assert text.index("1 + 1?") < text.index(f"2{between}") < text.index("3 + 3?")


def test_the_lowest_rank_is_dropped_first() -> None:
    def encode(asked: Example, best: Sequence[Example]) -> Tokens:
        return [0] * (10 + sum(len(each.answer) for each in best)), [1]

    best = [Example("q", "a" * length, "phrase") for length in (3, 2, 9)]
    assert [fitted(ASKED, best, encode, most)[1] for most in (24, 23, 15, 14, 13, 12, 5)] == [3, 2, 2, 1, 1, 0, 0]
    assert fitted(ASKED, best, encode, 15)[0] == ([0] * 15, [1])
    assert len(fitted(ASKED, best, encode, 5)[0][0]) == 10  # the question alone is asked in any case
