"""Bytes at rest: packs, the log, durable writes, the strict safetensors header. Knows nothing of models."""
