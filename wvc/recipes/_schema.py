"""Which keys a recipe may have, and what their values must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = 1

TOP = {"schema", "name", "summary", "text", "threads", "options", "axes", "task", "step", "table"}
KINDS = ("create", "probe", "train", "blend", "merge")
STEP = {"branch", "each", "from", "after", "pool", "reuse", *KINDS}
POOL = {"axis", "branches", "turn", "except"}
TASK = {"name", "kind", "path", "set"}
TABLE = {"task", "over", "columns", "each", "row"}
ROW = {"name", "each", "models", "choose", "probe", "ensemble", "test"}
DATA = {"task": str, "test_domains": list, "trial": int, "image_size": int, "limit": int, "device": str}
PROBE = {"probe": str, "probe_steps": int, "probe_lr": float, "probe_keep": str, "probe_shared": bool}
OPTIONS: Mapping[str, Mapping[str, type]] = {
    "create": {"arch": str, "weights": str, "seed": int, "image_size": int},
    "probe": {**DATA, **PROBE},
    "train": {
        **DATA, **PROBE,
        "steps": int, "lr": float, "batch_size": int, "weight_decay": float, "dropout": float, "hparams_seed": int,
        "space": str, "seed": int, "freeze_steps": int, "eval_every": int, "precision": str, "head": str,
        "optimizer": str, "schedule": str, "warmup": int, "clip": float, "accumulate": int, "label_smoothing": float,
        "augmentation": str, "ema": float, "swa": bool, "swa_every": int, "swa_from": float, "ma": str,
        "ma_start": int, "swad": str, "swad_converge": int, "swad_tolerate": int, "swad_tolerance": float,
        "keep": str, "val_augment": bool, "eval_all": bool,
    },
    "blend": {
        "models": list, "coefficients": list, "featurizer_only": bool, "fuse": int, "fuse_range": float,
        "buffers": str, "task": str, "test_domains": list, "trial": int,
    },
    "merge": {
        "models": list, "select": str, "task": str, "tie": str, "metric": str, "order": str, "buffers": str,
        "strategy": str, "options": list,
    },
}  # fmt: skip
NEEDED = {"create": ("arch",), "probe": ("task",), "train": ("task",), "blend": ("models",), "merge": ("models",)}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "select": ("all", "greedy", "greedy-replacement", "greedy-ensemble", "learned"),
    "order": ("val", "random", "given"), "tie": ("accept", "reject"), "metric": ("micro", "macro"),
    "buffers": ("average", "first"), "precision": ("fp32", "bf16"), "probe": ("fast", "sgd"),
    "head": ("fresh", "keep", "random"),
    "choose": ("mean", "best", "domainbed"), "ensemble": ("", "logit", "prob"), "test": ("all", "in"),
    "optimizer": ("adam", "adamw"), "schedule": ("constant", "linear", "cosine"), "keep": ("best", "last"),
    "probe_keep": ("best", "last"), "ma": ("code", "paper", "diwa"), "swad": ("code", "paper"),
}  # fmt: skip
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("steps", "eval_every", "accumulate", "probe_steps", "ma_start", "swa_every"), (1, 10**9)),
    **dict.fromkeys(("batch_size", "image_size"), (1, 2**20)), "limit": (5, 10**9),
    **dict.fromkeys(("trial", "hparams_seed"), (0, 2**31 - 1)), **dict.fromkeys(("freeze_steps", "warmup"), (0, 10**9)),
    **dict.fromkeys(("lr", "probe_lr", "weight_decay", "clip", "fuse_range"), (0, 1e9)),
    "dropout": (0, 0.99), "label_smoothing": (0, 1),
}  # fmt: skip
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def typed(wanted: type, value: Any) -> Any:
    """`value` as a `wanted`; None where it is none."""
    if wanted is bool:
        return value if isinstance(value, bool) else TRUTHS.get(str(value).lower())
    if isinstance(value, bool) or (wanted is list and not isinstance(value, list)):
        return None
    try:
        made = [str(item) for item in value] if wanted is list else wanted(value)
    except (TypeError, ValueError):
        return None
    return None if wanted is int and isinstance(value, float) and value != made else made


def setting(default: Any, text: str) -> Any:
    """What `--set NAME=text` means for an option with this default. Raises ValueError."""
    if isinstance(default, bool):
        return TRUTHS[text.lower()] if text.lower() in TRUTHS else _refuse()
    if isinstance(default, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(default, int | float | str):
        return type(default)(text)
    return _refuse()


def _refuse() -> Any:
    raise ValueError
