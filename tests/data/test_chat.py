"""Chat templates of the families that end turns in different ways, and templates that refuse, drop or break turns."""

from __future__ import annotations

from typing import Any

import pytest

from cl.data.chat import Chat
from cl.data.tokenization import SEPARATOR, chat_of, dialogue
from cl.errors import UserError
from cl.steps import tokenizer as tokenizer_
from cl.tasks.example import Example

THOUGHT = "<think>\n\n</think>\n\n"
SPECIAL = ["<bos>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|user|>", "</s>",
           "<|assistant|>", "<|eot_id|>"]  # fmt: skip
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHATML


def made(template: Any) -> Any:
    """A tokenizer of bytes with the special tokens of several families and a chat template."""
    tokenizer = tokenizer_._train_bpe(iter(["a few words"]), 300)
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": "</s>", "additional_special_tokens": SPECIAL})
    tokenizer.chat_template = template
    return tokenizer


def rendered(template: Any, system: str | None = None, **arguments: Any) -> tuple[str, str]:
    """Question and answer as text."""
    tokenizer = made(template)
    chat = chat_of(tokenizer, system, arguments)
    ids = dialogue(Example("Is it?", "Yes", "phrase"), tokenizer, tokenizer.get_vocab()[SEPARATOR], chat)
    question, answer = (tokenizer.decode(each) for each in ids)
    return question, answer


@pytest.mark.parametrize(
    ("template", "question", "answer"),
    [
        (CHATML, "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n", "Yes<|im_end|>"),
        (GEMMA, "<bos><start_of_turn>user\nIs it?<end_of_turn>\n<start_of_turn>model\n", "Yes<end_of_turn>"),
        (PHI3, "<|user|>\nIs it?<|end|>\n<|assistant|>\n", "Yes<|end|>"),
        (LLAMA2, "<bos>[INST] Is it? [/INST]", " Yes </s>"),
        (THINKING, f"<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n{THOUGHT}", "Yes<|im_end|>"),
        ({"default": CHATML, "tool_use": GEMMA}, "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n",
         "Yes<|im_end|>"),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "Is it?\n", "Yes</s>"),  # ends no turn: eos
    ],
)  # fmt: skip
def test_the_end_of_turn_is_that_of_the_rendered_turn(template: Any, question: str, answer: str) -> None:
    assert rendered(template) == (question, answer)


def test_a_system_turn_and_arguments_are_rendered() -> None:
    assert rendered(CHATML, "Be brief.")[0].startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert rendered(THINKING, enable_thinking=False) == rendered(THINKING)


def test_a_template_that_reads_the_clock_gets_a_fixed_date() -> None:
    assert rendered(DATED)[0].startswith("Today is 26 Jul 2024.")


@pytest.mark.parametrize(
    ("template", "system", "arguments", "words"),
    [
        (GEMMA, "Be brief.", {}, "refuses turns system, user, .*System role not supported; remove model.system"),
        (LLAMA2, "Be brief.", {}, r"model\.system: the chat template leaves the system turn out; remove model\.system"),
        ("{% for m in messages %}{{ m.content }", None, {}, "chat template refuses turns user"),
        ("{{ messages[7].content }}", None, {}, "chat template refuses turns user|leaves out the assistant's answer"),
        ("{{ messages[0].content }}", None, {}, "leaves out the assistant's answer"),
        ({"rag": CHATML, "tool_use": CHATML}, None, {}, r"its chat templates \(rag, tool_use\) have no default"),
        (THINKING, None, {"enable_thinkin": 1}, "enable_thinkin: the chat template has no such argument; it has"),
        (CHATML, None, {"enable_thinking": 1}, "enable_thinking: the chat template has no such argument; it has none"),
        (None, "Be brief.", {}, r"model\.system: the tokenizer has no chat template"),
        (None, None, {"date": "x"}, r"model\.template: date: the tokenizer has no chat template"),
    ],
)  # fmt: skip
def test_what_a_template_cannot_do_is_one_line(template: Any, system: Any, arguments: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        rendered(template, system, **arguments)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_ends_no_turn_is_refused() -> None:
    tokenizer = made("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="neither its chat template nor an eos token ends a turn"):
        _ = Chat(tokenizer).ending
