"""Walkers: programs that search model space with jaxlik's score.

The walk of `walkers.run.search` optimises: it finds models with a high score and
claims no detailed balance, so its visits are not a posterior.
"""
