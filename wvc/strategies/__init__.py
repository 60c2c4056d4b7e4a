"""Ways to blend weights. Behind this door, one file is one strategy: a pure function `merge`.

The contract: `merge(models, *, ...)` returns Weights with the names, shapes and dtypes of its inputs and leaves them
alone, is deterministic, and gives a model back when it is merged with itself. Tensors are made one at a time.
"""
