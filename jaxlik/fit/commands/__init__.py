"""Commands of `python -m jaxlik.fit`."""
