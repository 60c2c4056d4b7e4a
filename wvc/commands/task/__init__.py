"""Describe datasets, so that models can be trained and scored on them."""
