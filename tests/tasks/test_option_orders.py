"""Orders of options: which lists are recognised, and that the orders know nothing of the input's."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from cl.errors import UserError
from cl.tasks.example import Example
from cl.tasks.option_orders import in_orders, orders, places

NAMES = ("red", "blue", "dark red")
LISTED = [
    "Wine.\nWhich colour is this: red; blue; dark red?",  # as in the source `findings`
    "What is the colour? Choose one from the option.\nOption: dark red, red, blue\nA red wine.",  # as in CL_Benchmark
    "red / dark red / blue: which?",
    "Is it red, blue or dark red?",
]


def label(question: str, answer: str = "blue", options: tuple[str, ...] = NAMES) -> Example:
    return Example(question, answer, "label", options)


@pytest.mark.parametrize("question", LISTED)
def test_a_list_of_labels_is_reordered_and_nothing_else_changes(question: str) -> None:
    found = in_orders(label(question), 6)
    assert len({each.question for each in found}) == 6
    assert question in [each.question for each in found]
    for each in found:
        assert (each.answer, each.options) == ("blue", NAMES)
        assert sorted(each.question) == sorted(question)


def test_letters_keep_their_place_and_the_reference_follows_its_option() -> None:
    question = "Which is hot?\nA. ice\nB. fire\nC. snow"
    example = Example(question, "B", "choice", ("ice", "fire", "snow"), accepted=("AB",))
    for each in in_orders(example, 6):
        lines = each.question.splitlines()[1:]
        assert [line[:2] for line in lines] == ["A.", "B.", "C."]
        assert [line[3:] for line in lines] == list(each.options)
        place = each.options.index("fire")
        assert each.answer == "ABC"[place]
        assert each.accepted == ("".join(sorted("ABC"[place] + "ABC"[each.options.index("ice")])),)


def test_orders_are_the_same_for_every_order_of_the_input() -> None:
    expected = orders(NAMES, 4)
    assert len(set(expected)) == 4
    assert all(orders(each, 4) == expected for each in itertools.permutations(NAMES))
    written = [label(f"Which: {'; '.join(each)}?") for each in itertools.permutations(NAMES)]
    assert len({tuple(each.question for each in in_orders(one, 4)) for one in written}) == 1


def test_every_option_stands_equally_often_in_every_place() -> None:
    names = tuple("abcd")
    found = orders(names, 8)
    assert Counter(order[0] for order in found) == Counter(order[3] for order in found) == dict.fromkeys(names, 2)
    assert sorted(orders(names, 100)) == sorted(itertools.permutations(names))  # no more than there are


def test_one_order_is_the_question_s_own_and_what_lists_no_options_stays() -> None:
    example = label(LISTED[0])
    assert in_orders(example, 1) == [example]
    for other in (label("Which intent has the command?"), Example("1 + 1 = ?", "2", "number")):
        assert in_orders(other, 5) == [other]
        assert places(other) is None


@pytest.mark.parametrize(
    "example",
    [
        label("Is it red, which is the colour of wine, or dark red, or is it rather blue?"),
        Example("Which?\nA. ice\nB. fire", "B", "choice"),  # its options are unknown
        Example("Which?\nA. fire\nB. ice", "A", "choice", ("ice", "fire")),  # in another order than its letters
        Example("Which?", "A", "choice", ("ice", "fire")),
    ],
    ids=["prose", "unknown", "contradiction", "absent"],
)
def test_a_list_that_cannot_be_recognised_is_refused(example: Example) -> None:
    with pytest.raises(UserError, match=r"evaluation\.choice_orders: question '.*not one list in the order of their"):
        in_orders(example, 2)


def test_a_reference_that_is_no_letter_is_refused() -> None:
    with pytest.raises(UserError, match=r"answer 'fire': 'f' is no option's letter"):
        in_orders(Example("Which?\nA. ice\nB. fire", "fire", "choice", ("ice", "fire")), 2)
