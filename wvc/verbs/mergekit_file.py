"""The settings in a file for mergekit, by the rules by which mergekit 0.1.5 finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wvc.errors import BadFile, MergeProblem
from wvc.verbs.yamlfile import Node, load, mapping, shown

NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]{0,29})(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,2})?")
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

# Parameters that a method reads: for the merge as a whole, and for each model. There may be others in a file.
READ = {
    "linear": ("normalize", "weight"),
    "task_arithmetic": ("normalize lambda", "weight"),
    "ties": ("normalize rescale lambda", "weight density"),
    "dare_linear": ("normalize rescale lambda", "weight density"),
    "dare_ties": ("normalize rescale lambda", "weight density"),
    "della": ("normalize rescale lambda", "weight density epsilon"),
    "della_linear": ("normalize rescale lambda", "weight density epsilon"),
    "breadcrumbs": ("normalize rescale lambda", "weight density gamma"),
    "breadcrumbs_ties": ("normalize rescale lambda", "weight density gamma"),
    "slerp": ("t", ""),
    "multislerp": ("normalize_weights", "weight"),
    "karcher": ("max_iter tol", ""),
    "model_stock": ("filter_wise", ""),
}
IGNORED = {
    "dtype": "sums are made in fp32 or fp64",
    "out_dtype": "the result keeps the dtypes of its models",
    "tokenizer": "the side files are the first model's",
    "tokenizer_source": "the side files are the first model's",
    "chat_template": "the side files are the first model's",
}


@dataclass(frozen=True)
class Model:
    name: str
    parameters: Mapping[str, Node]


class File:
    """One file: its method, its models, and its parameters by the rules by which mergekit finds them.

    entries: the items of `models`, as they are. base: the model of that name, listed or not; None where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.top = path, load(path)
        self.method = self._name(self.top.get("merge_method"), "merge_method")
        if self.method not in READ:
            hint = f"there are {', '.join(READ)}"
            raise MergeProblem(f"mergekit's {shown(self.method)} has no counterpart here", hint)
        self._check_whole()
        self.shared = mapping(path, self.top.get("parameters"), "parameters")
        entries = self.top.get("models")
        if not isinstance(entries, list) or not entries:
            raise BadFile(path, "models must be a list of models")
        self.entries = [mapping(path, entry, "an item of models") for entry in entries]
        self.models = tuple(self._models())
        origin = self.top.get("base_model")
        self.base = None if origin is None else self._base(self._name(origin, "base_model"))

    def _check_whole(self) -> None:
        """Raises MergeProblem for what takes models apart, or changes their vocabulary."""
        for name in ("slices", "modules"):
            if self.top.get(name) is not None:
                hint = "if the slices are whole models, list these under `models:`"
                raise MergeProblem(f"{name} of models cannot be merged here, only whole models", hint)
        source, tokenizer = self.top.get("tokenizer_source"), self.top.get("tokenizer")
        if tokenizer is not None:
            settings = mapping(self.path, tokenizer, "tokenizer")
            source = settings.get("source", "union") if set(settings) <= {"source"} else "tokens"
        if source not in (None, "base"):
            hint = "if all models have the same tokenizer, leave it out"
            raise MergeProblem(f"tokenizers cannot be merged here: {shown(source)}", hint)

    def _models(self) -> Iterator[Model]:
        names = set[str]()
        for entry in self.entries:
            name = self._name(entry.get("model"), "model")
            if name in names:
                raise BadFile(self.path, f"model {shown(name)} is there twice")
            names.add(name)
            yield Model(name, mapping(self.path, entry.get("parameters"), f"parameters of {shown(name)}"))

    def _base(self, name: str) -> Model:
        return next((model for model in self.models if model.name == name), Model(name, {}))

    def _name(self, node: Node, what: str) -> str:
        if not isinstance(node, str) or not node or len(node) > 1000 or not node.isprintable():
            raise BadFile(self.path, f"{what} must be a name, not {shown(node)}")
        if "+" in node and what != "merge_method":
            hint = "merge it into its model, then `wvc import` the result"
            raise MergeProblem(f"{shown(node)} asks for a LoRA adapter, which cannot be merged here", hint)
        return node

    @property
    def everybody(self) -> tuple[Model, ...]:
        """All models, the base too, which for methods that need none is one more: last, unless it is listed."""
        if self.base is None or self.base in self.models:
            return self.models
        return (*self.models, self.base)

    def origin(self) -> Model:
        """The base of a method that needs one. Raises BadFile."""
        if self.base is None:
            raise BadFile(self.path, f"{self.method} needs a base_model")
        return self.base

    def tuned(self, least: int = 1, most: int | None = None) -> tuple[Model, ...]:
        """All models but the base. Raises BadFile."""
        found = tuple(model for model in self.models if model != self.base)
        if len(found) < least or (most is not None and len(found) > most):
            wanted = f"exactly {least}" if least == most else f"at least {least}"
            raise BadFile(self.path, f"{self.method} needs {wanted} beside the base, not {len(found)} models")
        return found

    def number(self, name: str, default: str | None = None, model: Model | None = None) -> Fraction:
        """A parameter, for `model` or for the merge. Raises BadFile, MergeProblem."""
        own = None if model is None else _single(model.parameters.get(name), name)
        found = _single(self.shared.get(name), name) if own is None else own
        text = default if found is None else found
        if text is None:
            raise BadFile(self.path, f"{self.method} needs a {name}{f' for {shown(model.name)}' if model else ''}")
        if not NUMBER.fullmatch(text):
            raise BadFile(self.path, f"{name} must be a decimal number, not {shown(text)}")
        return Fraction(text)

    def whole(self, name: str, default: str) -> int:
        """A parameter that is an integer. Raises BadFile, MergeProblem."""
        found = self.number(name, default)
        if found.denominator != 1:
            raise BadFile(self.path, f"{name} must be an integer, not {float(found)}")
        return int(found)

    def weights(self, models: Sequence[Model]) -> tuple[Fraction, ...]:
        return tuple(self.number("weight", None, model) for model in models)

    def same(self, name: str, default: str) -> Fraction:
        """A parameter of the models that must be the same for all. Raises BadFile, MergeProblem."""
        values = {self.number(name, default, model) for model in self.tuned()}
        if len(values) > 1:
            raise MergeProblem(f"each model has a {name} of its own, which has no counterpart here", f"give one {name}")
        return values.pop()

    def flag(self, name: str, *, default: bool) -> bool:
        """A parameter of the merge that is true or false. Raises BadFile, MergeProblem."""
        text = _single(self.shared.get(name), name)
        if text is not None and text.lower() not in TRUE + FALSE:
            raise BadFile(self.path, f"{name} must be true or false, not {shown(text)}")
        return default if text is None else text.lower() in TRUE

    def refuse(self, name: str) -> None:
        """Raises MergeProblem if a flag is set that has no counterpart; mergekit does not set it by itself."""
        if self.flag(name, default=False):
            raise MergeProblem(f"{self.method} with {name}: true has no counterpart here", f"set {name}: false")

    def notes(self) -> tuple[str, ...]:
        """What else the file says."""
        merge, each = (names.split() for names in READ[self.method])
        stray = {name for name in self.shared if name not in merge + each}
        stray |= {name for model in self.models for name in model.parameters if name not in each}
        unknown = set(self.top) - {"merge_method", "models", "base_model", "parameters", "slices", "modules", *IGNORED}
        unknown |= {name for entry in self.entries for name in entry} - {"model", "parameters"}
        return (
            *(f"{name} is ignored: {why}" for name, why in IGNORED.items() if self.top.get(name) is not None),
            *(f"{shown(name)} is ignored: mergekit has no such setting" for name in sorted(unknown)),
            *(f"parameter {shown(name)} is not used by {self.method}" for name in sorted(stray)),
        )


def _single(node: Node, name: str) -> str | None:
    """The only value of a parameter, or None. Raises MergeProblem if it depends on the tensor or on the layer."""
    if isinstance(node, list) and len(node) == 1:
        node = node[0]
    if isinstance(node, dict) and set(node) <= {"value", "filter"} and node.get("filter") in (None, "*"):
        node = node.get("value")
    if isinstance(node, (list, dict)):
        raise MergeProblem(
            f"{name} is not one value for all tensors, which has no counterpart here", f"give one {name}"
        )
    return node
