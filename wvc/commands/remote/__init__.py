"""Name the places where a repository is shared."""
