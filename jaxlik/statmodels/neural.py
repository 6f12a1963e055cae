"""Learned likelihoods: a neural network instead of a fit of the nuisances.

The network knows -ln L, profiled, as a function of the total yields for four data sets:
what was observed, what was expected, and the background-only Asimov data of either. For
mu it answers

    -2 ln L(mu) = 2 [-ln L(0) + change(mu s + b)] ,

with -ln L(0) as published beside the network, constants included. SModelS 3.2 names the
four ``nll_obs_1``, ``nll_exp_1``, ``nllA_obs_1`` and ``nllA_exp_1``, and takes -ln L(0)
itself (``nll_obs_0``, ...) at mu = 0. Here mu = 0 is no exception, so that the function
has no step; the step is `NeuralLikelihood.mismatch`.

What it cannot do: other data. Networks are trained for these four, hence no
pseudo-experiments, no Asimov data at mu > 0, and no pulls. Outside of the yields of the
training (`domain_distance`) it extrapolates, and its small waves may make the best mu one
of several. For a-priori results SModelS compares expected data with the Asimov data of
the observed ones; here they are compared with their own.
"""

import equinox as eqx
import jax.numpy as jnp

from jaxlik.database.records import LEARNED_OUTPUTS, LearnedOutput, Operation
from jaxlik.errors import DatabaseError
from jaxlik.precision import require_x64
from jaxlik.statmodels.base import AbstractFixedDataModel, ProfileFit, as_float64, unprofiled
from jaxlik.statmodels.network import evaluate
from jaxlik.typing import Array, Float, Scalar


class NeuralLikelihood(AbstractFixedDataModel):
    """A learned likelihood of one of the data sets; axis ``region`` is the network's inputs.

    Attributes:
        observed: Data; undefined where they are Asimov data, which no file states.
        background: Events at mu = 0: observed in control regions, else expected.
        nll_background: -ln L without signal of every data set.
        domain: Smallest and largest events in training.
        weights: Constants of the network.
        operations: Its steps.
        output: Which data set.
        region_ids: Signal region behind each input, or the input's own name.
    """

    observed: Float[Array, " region"] = eqx.field(converter=as_float64)
    background: Float[Array, " region"] = eqx.field(converter=as_float64)
    nll_background: Float[Array, " output"] = eqx.field(converter=as_float64)
    domain: Float[Array, "2 region"] = eqx.field(converter=as_float64)
    weights: dict[str, Array]
    operations: tuple[Operation, ...] = eqx.field(static=True)
    output: LearnedOutput = eqx.field(static=True, default="nLL_obs")
    region_ids: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        require_x64()

    @property
    def num_nuisances(self) -> int:
        """None: the network was trained on profiled likelihoods."""
        return 0

    @property
    def nominal(self) -> Float[Array, " region"]:
        """The background."""
        return self.background

    def expected(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Float[Array, " region"]:
        """Signal and background, what the network is asked for."""
        return mu * signal + self.background

    def twice_nll(
        self, mu: Scalar, signal: Float[Array, " region"], nuisances: Float[Array, " nuisance"]
    ) -> Scalar:
        """-2 ln L with the constants of the published one."""
        changes = evaluate(self.operations, self.weights, self.expected(mu, signal, nuisances))
        index = LEARNED_OUTPUTS.index(self.output)
        return 2 * (self.nll_background[index] + changes[index])

    def with_observed(self, observed: Float[Array, " region"]) -> "NeuralLikelihood":
        """Not possible.

        Raises:
            DatabaseError: always.
        """
        raise DatabaseError(
            f"a learned likelihood of regions {self.region_ids} knows its own data only, other "
            "data were asked for: use `background_asimov`, or the full statistical model"
        )

    def background_asimov(self, *, fitted: bool = True) -> "NeuralLikelihood":
        """The learned likelihood of Asimov data of the fitted, or of expected, background."""
        if not fitted:
            return self._with_output("nLL_exp")
        return self._with_output("nLLA_obs" if self.output.endswith("obs") else "nLLA_exp")

    def profile(self, mu: Scalar, signal: Float[Array, " region"]) -> ProfileFit:
        """There is nothing left to profile."""
        return unprofiled(self.profiled_twice_nll(mu, signal))

    def profiled_twice_nll(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """Equal to `twice_nll`."""
        return self.twice_nll(mu, signal, jnp.zeros(0))

    def mismatch(self) -> Float[Array, " output"]:
        """Change of every -ln L at mu = 0, zero for a perfect network."""
        return evaluate(self.operations, self.weights, self.background)

    def domain_distance(self, mu: Scalar, signal: Float[Array, " region"]) -> Scalar:
        """How far the worst input lies outside of the training, in widths of its range."""
        yields = self.expected(mu, signal, jnp.zeros(0))
        low, high = self.domain
        outside = jnp.maximum(jnp.maximum(low - yields, yields - high), 0.0)
        return jnp.max(outside / jnp.where(high > low, high - low, 1.0))

    def _with_output(self, output: LearnedOutput) -> "NeuralLikelihood":
        unknown = jnp.full_like(self.background, jnp.nan)
        return NeuralLikelihood(
            self.background if output == "nLL_exp" else unknown,
            self.background,
            self.nll_background,
            self.domain,
            self.weights,
            self.operations,
            output,
            self.region_ids,
        )
