"""Training, evaluation and selection: data in, data out, without a repository and without printing."""
