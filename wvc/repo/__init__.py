"""What the bytes mean: commits, manifests, refs, revisions, lineage. Knows nothing of torch."""
