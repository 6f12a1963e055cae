"""Yields of a model point in every signal region."""
