"""The server: who may read and push over HTTP, and what is checked before it counts."""
