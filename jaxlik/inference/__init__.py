"""Fits, test statistics and limits, as pure functions of a likelihood in mu."""
