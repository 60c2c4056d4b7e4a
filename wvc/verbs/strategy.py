"""Strategies by name, and their options as text: checked against the function's signature before any work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wvc import plugins
from wvc.errors import UsageError
from wvc.strategies import Models
from wvc.weights import Weights

DOOR = "wvc.strategies"

# A fraction or a decimal, and no exponent: one could make a number that fills the memory.
NUMBER = re.compile(r"-?([0-9]{1,30}/[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})")
INTEGER = re.compile(r"-?[0-9]{1,15}")
REAL = re.compile(r"[-+]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})(e[-+]?[0-9]{1,3})?")
FRACTIONS = "fractions or decimals of up to 30 digits, without an exponent"
KINDS: Mapping[Any, str] = {
    int: "an integer of up to 15 digits",
    float: "a number of up to 30 digits",
    bool: "true or false",
    Fraction: "a fraction or a decimal of up to 30 digits, without an exponent",
}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Option:
    """One keyword of a strategy. help: the first line that its docstring says of it."""

    name: str
    type: Any
    default: Any
    help: str

    def read(self, text: str) -> Any:
        """The value that `text` stands for. Raises UsageError."""
        value = _typed(self.type, text)
        if value is None:
            raise UsageError(f"option {self.name}={short(text)} is not {self.kind}", f"by default it is {self.default}")
        return value

    @property
    def kind(self) -> str:
        """What its values are."""
        if get_origin(self.type) is Literal:
            return "one of " + ", ".join(map(str, get_args(self.type)))
        return KINDS[self.type]


@dataclass(frozen=True)
class Strategy:
    """A way to blend. options: every keyword of its function with a value."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _function(self) -> Any:
        return plugins.load(DOOR, self.name).merge

    @property
    def needs_base(self) -> bool:
        """True if it works on what the models changed of a common base."""
        return "base" in inspect.signature(self._function).parameters

    def blend(self, models: Models, base: Weights | None = None) -> Weights:
        """The blended model. Raises MergeProblem."""
        found: Weights = (
            self._function(models, base, **self.options) if self.needs_base else self._function(models, **self.options)
        )
        return found

    def json(self) -> dict[str, Any]:
        """As `how` has it: reals as text."""
        return {name: value if isinstance(value, bool | int) else str(value) for name, value in self.options.items()}


def named(name: str, given: Mapping[str, str] | None = None) -> Strategy:
    """The strategy `name` with the options `given`, all others by default. Raises UsageError."""
    known = plugins.names(DOOR)
    if name not in known:
        raise UsageError(f"unknown strategy {name!r}", f"there are {', '.join(known)}")
    options = {option.name: option for option in options_of(name)}
    for key in given or {}:
        if key not in options:
            there = f"it has {', '.join(options)}" if options else "it has none"
            raise UsageError(f"strategy {name} has no option {short(key)}", there)
    texts = given or {}
    return Strategy(name, {key: o.read(texts[key]) if key in texts else o.default for key, o in options.items()})


def options_of(name: str) -> list[Option]:
    """The options of a strategy that is there, in the order of its signature."""
    function = plugins.load(DOOR, name).merge
    hints, document = get_type_hints(function), inspect.getdoc(function) or ""
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return [Option(p.name, hints[p.name], p.default, _help(document, p.name)) for p in keywords]


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` as a dictionary. Raises UsageError."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not equals or not key.strip():
            raise UsageError(f"-o {short(text)} is not KEY=VALUE", "as in -o density=0.2")
    if len({key.strip() for key, _, _ in pairs}) < len(pairs):
        raise UsageError("-o names an option twice", "give each one value")
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


def short(text: str) -> str:
    """`text` as an error quotes it, cut if it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def number(text: str) -> Fraction | None:
    """The exact number that `text` is, a fraction or a decimal; None for anything else."""
    if not NUMBER.fullmatch(text) or re.search(r"/0+$", text):
        return None
    return Fraction(text)


def _typed(wanted: Any, text: str) -> Any:
    """None where `text` is no `wanted`."""
    if get_origin(wanted) is Literal:
        return text if text in get_args(wanted) else None
    if wanted is bool:
        return TRUTHS.get(text.lower())
    if wanted is int:
        return int(text) if INTEGER.fullmatch(text) else None
    if wanted is Fraction:
        return number(text)
    return float(text) if REAL.fullmatch(text.lower()) else None


def _help(document: str, name: str) -> str:
    found = re.search(rf"^\s*{re.escape(name)}: (.*)$", document, re.MULTILINE)
    return re.sub(r"\$\\?(.*?)\$", r"\1", found[1].strip()) if found else ""
