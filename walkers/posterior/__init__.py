"""A sampler of posteriors over models whose number of parameters changes.

Unlike the walk of `walkers.run`, everything here leaves a stated density invariant:
`AbstractProductTarget`. It knows neither particles nor engines.
"""
