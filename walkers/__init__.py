"""Walkers: programs that search and sample model space with jaxlik's score."""
