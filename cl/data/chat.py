"""Chat templates: questions rendered by a tokenizer's template, and the token that ends an answer.

The end of turn is read from a rendered turn, because templates of Gemma, Phi-3 or Qwen's base models end turns by
another token than the tokenizer's eos. A template that reads the clock gets a fixed date, so that rows do not depend on
the day they are made.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cl.errors import UserError

QUESTION, ANSWER = "CLQUESTION0", "CLANSWER0"  # marks in a rendered turn; letters and a digit, which templates keep
TODAY = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)
"""Date for templates that read the clock: the default of Llama 3's template."""
CLOCK = "".join(f" | replace('%{letter}', '{TODAY.strftime('%' + letter)}')" for letter in "aAbBdeHIjmMpSyY")
CLOCK = f"{{% macro strftime_now(format) %}}{{{{ format{CLOCK} }}}}{{% endmacro %}}"
"""Definition, in the template's language, of the clock that transformers gives to templates."""


@dataclass(frozen=True)
class Turn:
    """A rendered turn around an answer.

    Args:
        question: text up to the answer, or up to the whitespace before it.
        lead: whitespace that the template puts before an answer and that the model has to write.
        after: text after the answer.
    """

    question: str
    lead: str
    after: str


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template with its settings.

    Args:
        tokenizer: transformers tokenizer with a chat template.
        system: text of the system turn; None: the template decides about it.
        arguments: further arguments of the template, such as `enable_thinking`.

    Raises:
        UserError: for an argument that the template does not have.
    """

    tokenizer: Any
    system: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arguments:
            return
        known = _variables(self._template)
        if unknown := sorted(set(self.arguments) - known):
            some = ", ".join(sorted(known)) or "none"
            raise UserError(f"model.template: {unknown[0]}: the chat template has no such argument; it has {some}")

    @property
    def _template(self) -> str:
        """The default template. Raises UserError for named templates without a default."""
        found = self.tokenizer.chat_template
        if not isinstance(found, dict):
            return str(found)
        if "default" not in found:
            names = ", ".join(sorted(found))
            raise UserError(f"model.tokenizer: its chat templates ({names}) have no default; save one as chat_template")
        return str(found["default"])

    def render(self, turns: Sequence[Mapping[str, str]], prompt: bool = False, tools: list[Any] | None = None) -> str:
        """Render turns.

        Args:
            turns: role and content of each turn.
            prompt: also render the start of the assistant's next turn.
            tools: JSON schemas of the functions that the assistant may call.

        Raises:
            UserError: if the template refuses the turns or is broken.
        """
        import jinja2

        template = self._template
        template = CLOCK + template if "strftime_now" in template else template
        try:
            found = self.tokenizer.apply_chat_template(
                list(turns),
                tools=tools,
                chat_template=template,
                add_generation_prompt=prompt,
                tokenize=False,
                **self.arguments,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            roles = ", ".join(turn["role"] for turn in turns)
            remedy = "remove model.system" if turns[0]["role"] == "system" else "use a tokenizer with another template"
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"model.tokenizer: its chat template refuses turns {roles}: {reason}; {remedy}") from error
        return str(found)

    def turn(self, question: str, history: Sequence[tuple[str, str]] = (), asked: str = "user") -> Turn:
        """Render the turn of a question with a mark as its answer.

        Args:
            question: text of the turn before the answer.
            history: role and text of each earlier turn; the role `tools` is `cl.tasks.example.ROLES`'.
            asked: role of the question.

        Raises:
            UserError: if the template leaves out the system turn, the tools, an earlier turn or the answer, and for two
                system turns.
        """
        if self.system is not None and any(role == "system" for role, _ in history):
            raise UserError("model.system: the dialogues have a system turn of their own; remove model.system")
        tools = [tool for role, text in history if role == "tools" for tool in json.loads(text)]
        earlier = [_turn(role, text) for role, text in history if role != "tools"]
        turns = [*self._before, *earlier, _turn(asked, question), _turn("assistant", ANSWER)]
        text = self.render(turns, tools=tools or None)
        before, mark, after = text.rpartition(ANSWER)
        if not mark:
            raise UserError("model.tokenizer: its chat template leaves out the assistant's answer; use another one")
        if self.system and self.system.strip() not in before:
            raise UserError("model.system: the chat template leaves the system turn out; remove model.system")
        if lost := [turn["role"] for turn in earlier if not _within(turn["content"], before)]:
            raise UserError(f"model.tokenizer: its chat template leaves out an earlier {lost[0]} turn; use another one")
        if tools and before == self.render(turns).rpartition(ANSWER)[0]:
            raise UserError("model.tokenizer: its chat template leaves out the tools of a dialogue; use another one")
        lead = before[len(before.rstrip()) :] if self._whitespace else ""
        return Turn(before.removesuffix(lead), lead, after)

    @cached_property
    def _whitespace(self) -> bool:
        """Whether the model has to write whitespace before its answer: the prompt for an answer does not hold it."""
        turns = [*self._before, _turn("user", QUESTION)]
        full = self.render([*turns, _turn("assistant", ANSWER)]).rpartition(ANSWER)[0]
        extra = full.removeprefix(self.render(turns, prompt=True))
        return bool(extra) and extra != full and extra.isspace()

    @property
    def _before(self) -> list[dict[str, str]]:
        return [] if self.system is None else [_turn("system", self.system)]

    @cached_property
    def ending(self) -> list[int]:
        """Token ids from the end of an answer to its end of turn, which is the first special token after the answer.

        Where the template writes none, the tokenizer's eos.

        Raises:
            UserError: if there is no eos either.
        """
        ids: list[int] = self.tokenizer(self.turn(QUESTION).after, add_special_tokens=False)["input_ids"]
        special = _special(self.tokenizer)
        place = next((place for place, token in enumerate(ids) if token in special), None)
        if place is not None:
            return ids[: place + 1]
        if self.tokenizer.eos_token_id is None:
            raise UserError("model.tokenizer: neither its chat template nor an eos token ends a turn; set eos_token")
        return [int(self.tokenizer.eos_token_id)]


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _within(content: str, text: str) -> bool:
    """Whether the content of a turn stands in a text, as it is or as JSON, as some templates write results of tools."""
    return content.strip() in text or json.dumps(content, ensure_ascii=False) in text


def _special(tokenizer: Any) -> set[int]:
    """Ids of the tokens that no text is encoded to: special tokens and other added ones."""
    return {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", {})}


def _variables(template: str) -> set[str]:
    """Names that a template takes from outside, without those that transformers gives."""
    import jinja2
    from jinja2 import meta

    own = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"}
    tokens = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}
    try:
        parsed = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except jinja2.TemplateError as error:
        raise UserError(f"model.tokenizer: its chat template is broken: {error}; correct it") from error
    return meta.find_undeclared_variables(parsed) - own - tokens
