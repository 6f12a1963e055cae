"""How the small likelihood of the tests is learned."""

from surrogates.likelihood_recipe import LikelihoodRecipe

RECIPE = LikelihoodRecipe(
    labels=208,
    held_out=0.25,
    acquisition="committee",
    rounds=2,
    members=3,
    width=24,
    steps=900,
    batch=64,
    rate=8e-3,
)
