"""Ways to blend weights. A file behind this door is a strategy, its name the file's.

It has one pure function `merge(models: Models, base: Weights, *, option: type = default, ...) -> Weights`, without
`base` where it counts no changes from a common base. It checks its options at once, reads nothing before the result is
read, and holds pieces of tensors only: `blended` sees to that. Options are integers, floats, booleans, fractions or one
of several words (Literal); the docstring has a line `name: what it is` for each, which is its help.
"""

from wvc.strategies._blended import Blend, Rule, blended
from wvc.strategies._models import Chunk, Models, Stack

__all__ = ["Blend", "Chunk", "Models", "Rule", "Stack", "blended"]
