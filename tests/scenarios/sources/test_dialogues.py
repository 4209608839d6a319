"""Dialogues in the forms of OpenAI, ShareGPT and Alpaca: which turns are answers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.data.chat import Chat
from cl.data.tokenization import SEPARATOR, arrays_of, dialogue
from cl.errors import UserError
from cl.tasks.example import Example
from cl.tasks.splitting import Shares, split_texts
from scenarios.sources.dialogues import Dialogues
from tests.data.test_chat import CHATML, GEMMA, made

TURNS = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?"), ("assistant", "Me")]
OPENAI = {"messages": [{"role": role, "content": text} for role, text in TURNS]}
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
SHAREGPT = {"conversations": [{"from": NAMES[role], "value": text} for role, text in TURNS]}
FIRST = Example("Hi", "Hello", "phrase", history=(("system", "Be brief."),))
SECOND = Example("Who?", "Me", "phrase", history=tuple(TURNS[:3]))


def read(folder: Path, row: dict[str, Any], **settings: Any) -> list[Example]:
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    return list(Dialogues("a.jsonl", folder=str(folder), **settings).documents())


@pytest.mark.parametrize(("form", "row"), [("openai", OPENAI), ("sharegpt", SHAREGPT)])
def test_every_assistant_turn_or_the_last_is_an_answer(form: Any, row: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, row, form=form) == [FIRST, SECOND]
    assert read(tmp_path, row, form=form, learn="last") == [SECOND]


def test_alpaca_is_one_turn(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "2 3", "output": "5"}
    assert read(tmp_path, row, form="alpaca") == [Example("Add.\n\n2 3", "5", "phrase")]
    assert read(tmp_path, row | {"input": ""}, form="alpaca") == [Example("Add.", "5", "phrase")]
    del row["input"]
    assert read(tmp_path, row, form="alpaca") == [Example("Add.", "5", "phrase")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": OPENAI["messages"][:-1]}, "line 1: turns must alternate .*, not system, user, assistant, user"),
        ({"messages": OPENAI["messages"][2:]}, "turns must alternate from user to assistant and end there"),
        ({"messages": []}, "turns must alternate .*, not none"),
        ({"messages": "Hi"}, "field 'messages' holds 'Hi', which is no list of turns"),
        ({"turns": []}, "field 'messages' holds 'None', which is no list of turns"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "turns must alternate .*, not tool"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "a turn has the role 'robot', which is none of system, user",
        ),
        ({**OPENAI, "tools": "{"}, "field 'tools' is no JSON: .*; write a list of functions"),
        ({**OPENAI, "tools": {"name": "x"}}, "field 'tools' holds .*, which is no list of functions"),
        (
            {"messages": [OPENAI["messages"][1], {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]},
            "field 'tool_calls' holds .*, which are no calls; write name and arguments",
        ),
        ({"messages": [{"role": "user", "content": None}]}, "column 'content' holds None, which is not text"),
        ({"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]}, "is empty"),
    ],
)
def test_another_shape_is_one_line_with_its_place(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, row)
    assert "\n" not in str(caught.value)


def test_earlier_turns_are_rendered_and_only_the_answer_is_learned() -> None:
    tokenizer = made(CHATML)
    question, answer = dialogue(SECOND, tokenizer, tokenizer.get_vocab()[SEPARATOR], Chat(tokenizer))
    whole = Chat(tokenizer).render([{"role": role, "content": text} for role, text in TURNS])
    assert tokenizer.decode([*question, *answer]) + "\n" == whole
    assert tokenizer.decode(answer) == "Me<|im_end|>"


def test_what_a_tokenizer_cannot_render_is_refused() -> None:
    bare, gemma, chatml = made(None), made(GEMMA), made(CHATML)
    with pytest.raises(UserError, match="has no chat template, and so no turns of a dialogue"):
        dialogue(SECOND, bare, 0)
    with pytest.raises(UserError, match=r"refuses turns system, user, assistant, user, assistant: .*System role not"):
        dialogue(SECOND, gemma, 0, Chat(gemma))
    with pytest.raises(UserError, match=r"model\.system: the dialogues have a system turn of their own"):
        dialogue(SECOND, chatml, 0, Chat(chatml, "Be kind."))
    last_only = made("{{ messages[-2].content }}{{ messages[-1].content }}")
    with pytest.raises(UserError, match="its chat template leaves out an earlier system turn"):
        dialogue(SECOND, last_only, 0, Chat(last_only))
    with pytest.raises(UserError, match="holds the special token"):
        dialogue(Example("Who?", "Me", "phrase", history=(("user", "a</s>"), ("assistant", "b"))), chatml, 0)


def test_all_rows_of_a_dialogue_are_in_one_split() -> None:
    def rows(number: int) -> list[Example]:
        start, reply = ("user", f"opening {number}"), ("assistant", "yes")
        return [
            Example(start[1], "yes", "phrase"),
            Example("and then", f"end {number}", "phrase", history=(start, reply)),
        ]

    splits = split_texts(
        [([row for number in range(60) for row in rows(number)], None)], Shares(0.2, 0.3, 0), None, False
    )
    for part in (splits.train, splits.validation, splits.test):
        starts = [row.start for row in part if isinstance(row, Example)]
        assert part
        assert all(starts.count(start) == 2 for start in starts)
    assert splits.report.duplicates == 0


def test_rows_come_back_from_what_is_stored() -> None:
    from dataclasses import asdict

    assert Example.parse(json.loads(json.dumps(asdict(SECOND)))) == SECOND
    tokenizer = made(CHATML)
    arrays = arrays_of("train", [FIRST, SECOND], tokenizer, 0, Chat(tokenizer))
    assert len(arrays["train.answers"]) == 2


TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}]
CALL = '{"name": "clock", "arguments": {"zone": "CET"}}'
CALLED = [("user", "When?"), ("assistant", CALL), ("tool", '{"time": "9:00"}'), ("assistant", "At nine.")]
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)


def calling() -> dict[str, Any]:
    """A row in the form of OpenAI, with a function, a call and its result."""
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "CET"}'}}
    turns: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in CALLED]
    turns[1] = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"messages": turns, "tools": TOOLS}


def test_calls_of_functions_and_their_results_are_turns(tmp_path: Path) -> None:
    tools = ("tools", json.dumps(TOOLS))
    expected = [
        Example("When?", CALL, "phrase", history=(tools,)),
        Example('{"time": "9:00"}', "At nine.", "phrase", history=(tools, *CALLED[:2]), asked="tool"),
    ]
    assert read(tmp_path, calling()) == expected
    assert read(tmp_path, calling(), learn="last") == expected[1:]
    names = {"user": "human", "assistant": "function_call", "tool": "observation"}
    turns = [{"from": names[role], "value": text} for role, text in CALLED[:3]] + [{"from": "gpt", "value": "At nine."}]
    assert read(tmp_path, {"conversations": turns, "tools": json.dumps(TOOLS)}, form="sharegpt") == expected
    assert [each.start for each in expected] == ["When?", "When?"]  # one split


def test_a_call_beside_text_follows_it(tmp_path: Path) -> None:
    row = calling()
    row["messages"][1]["content"] = "Let me see."
    assert read(tmp_path, row)[0].answer == f"Let me see.\n{CALL}"


def test_tools_are_rendered_by_the_template(tmp_path: Path) -> None:
    tokenizer = made(WITH_TOOLS)
    _, answered = read(tmp_path, calling())
    question, answer = dialogue(answered, tokenizer, 0, Chat(tokenizer))
    text = tokenizer.decode(question)
    assert text.startswith("<|im_start|>system\n[{")
    assert '"name": "clock"' in text
    assert text.endswith('<|im_start|>tool\n{"time": "9:00"}<|im_end|>\n<|im_start|>assistant\n')
    assert tokenizer.decode(answer) == "At nine.<|im_end|>"


def test_a_template_that_drops_tools_is_refused(tmp_path: Path) -> None:
    tokenizer = made(CHATML)
    with pytest.raises(UserError, match="its chat template leaves out the tools of a dialogue; use another one"):
        dialogue(read(tmp_path, calling())[0], tokenizer, 0, Chat(tokenizer))


def test_a_result_of_a_tool_may_be_rendered_as_json(tmp_path: Path) -> None:
    tokenizer = made(
        WITH_TOOLS.replace("{{ m.content }}", "{{ m.content | tojson if m.role == 'tool' else m.content }}")
    )
    question, _ = dialogue(read(tmp_path, calling())[1], tokenizer, 0, Chat(tokenizer))
    assert '\\"time\\"' in tokenizer.decode(question)
