"""Draw random sentences from Home Assistant's templates.

Notation of the package hassil: (a|b) alternatives, (a;b) in any order, [a] optional, <rule> another template, {list} or
{list:slot} a value, which is recorded under its slot.
"""

from __future__ import annotations

import random
import re
from typing import Any

TOKENS = re.compile(r"[()\[\]|;]|<[^>]+>|\{[^}]+\}|[^()\[\]|;<{]+")
# Values of lists that each home defines for itself, and values of lists without fixed values.
HOME = {
    "area": ["kitchen", "bedroom", "living room", "garage", "office", "bathroom", "hallway", "garden"],
    "floor": ["ground floor", "first floor", "basement", "attic"],
    "name": ["lamp", "heater", "ceiling fan", "coffee machine", "front door", "radio", "curtains", "printer"],
}
ANYTHING = ["milk and eggs", "dinner is ready", "the blue album", "call the plumber", "jazz", "new batteries"]


class Templates:
    """Draws sentences of intents.

    Args:
        content: content of a language file of the package.
        chance: random number generator.
    """

    def __init__(self, content: dict[str, Any], chance: random.Random) -> None:
        self.content, self.chance = content, chance
        self.slots: dict[str, Any] = {}

    def sentence(self, intent: str) -> tuple[str, dict[str, Any]]:
        """Draw a sentence of an intent; returns the sentence and its values by slot."""
        block = self.chance.choice(self.content["intents"][intent]["data"])
        self.lists = {**self.content["lists"], **block.get("lists", {})}
        self.rules = {**self.content["expansion_rules"], **block.get("expansion_rules", {})}
        self.slots = {}
        text = self._expand(self.chance.choice(block["sentences"]))
        return re.sub(r"\s+([,?'])", r"\1", " ".join(text.split())), self.slots

    def _expand(self, template: str) -> str:
        tokens = TOKENS.findall(template)
        parts, rest = self._sequence(tokens, 0)
        assert rest == len(tokens), f"template {template!r} is not understood"
        return parts

    def _sequence(self, tokens: list[str], at: int) -> tuple[str, int]:
        """Choose one of the alternatives from `at` to the closing bracket; returns its text and the end's index."""
        alternatives: list[list[Any]] = [[]]
        joint = "|"
        while at < len(tokens) and tokens[at] not in ")]":
            token = tokens[at]
            if token in "([":
                start, depth = at + 1, 1
                while depth:
                    at += 1
                    depth += (tokens[at] in "([") - (tokens[at] in ")]")
                alternatives[-1].append((token, tokens[start:at]))
            elif token in "|;":
                joint = token
                alternatives.append([])
            else:
                alternatives[-1].append(token)
            at += 1
        if joint == ";":
            self.chance.shuffle(alternatives)
            return " ".join("".join(map(self._piece, chosen)) for chosen in alternatives), at
        return "".join(map(self._piece, self.chance.choice(alternatives))), at

    def _piece(self, piece: Any) -> str:
        if isinstance(piece, tuple):
            bracket, inner = piece
            if bracket == "[" and self.chance.random() < 0.5:
                return ""
            return self._sequence(inner, 0)[0]
        if piece[0] == "<":
            return self._expand(self.rules[piece[1:-1]])
        return self._value(*piece[1:-1].partition(":")[::2]) if piece[0] == "{" else str(piece)

    def _value(self, name: str, slot: str) -> str:
        entry = self.lists.get(name, {})
        if "range" in entry:
            low, high, step = (entry["range"].get(key, 1) for key in ("from", "to", "step"))
            spoken: Any = self.chance.randrange(low, high + 1, step)
            value = spoken
        elif entry.get("values"):
            chosen = self.chance.choice(entry["values"])
            spoken, value = (chosen["in"], chosen["out"]) if isinstance(chosen, dict) else (chosen, chosen)
            spoken = self._expand(str(spoken))
        else:
            spoken = value = self.chance.choice(HOME.get(name, ANYTHING))
        self.slots[slot or name] = value
        return str(spoken)
