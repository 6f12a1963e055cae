"""The most sensitive combination, and whether it excludes a model.

Chosen before looking at the data, it may exclude: the combination that describes the
data best was chosen for its excesses and would never.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxlik.combination.cliques import CliqueTable, choose, restrict
from jaxlik.combination.joint import hermite, maximise_hermite
from jaxlik.inference.asymptotics import asymptotic_cls
from jaxlik.typing import Array, Bool, Float, Scalar

EXCLUDED_CLS = 0.05
"""CLs below which a model is excluded at 95 % CL."""


class CombinedTest(NamedTuple):
    """CLs test of a model by its most sensitive combination.

    Attributes:
        members: Candidates in the combination; none if nothing is sensitive.
        cls: CLs of the model at its signal strength; 1 without members.
    """

    members: Bool[Array, " candidate"]
    cls: Scalar

    @property
    def excluded(self) -> Bool[Array, ""]:
        """Whether the model is excluded at 95 % CL."""
        return self.cls < EXCLUDED_CLS


def most_sensitive_test(
    table: CliqueTable,
    live: Bool[Array, " candidate"],
    sensitivity: Float[Array, " candidate"],
    nodes: Float[Array, " node"],
    values: Float[Array, "node candidate"],
    slopes: Float[Array, "node candidate"],
    asimov: Float[Array, " candidate"],
    mu: Scalar,
) -> CombinedTest:
    r"""Test a signal strength with the combination of the largest expected sensitivity.

    $$ \tilde q_\mu = \max_{0 \le m \le \mu} \sum_{i \in S} l_i(m) - \sum_{i \in S} l_i(\mu) $$

    and CLs from it and from its value on background-only Asimov data, asymptotically.

    Args:
        table: From `make_clique_table`.
        live: Candidates in the graph.
        sensitivity: Expected 2 ln(L_i(1)/L_i(0)); not negative.
        nodes: Ascending values of mu, the first one 0.
        values: l_i = 2 ln(L_i(mu)/L_i(0)) on the data at the nodes.
        slopes: Their derivatives with respect to mu.
        asimov: -l_i(mu) on background-only Asimov data.
        mu: Signal strength to test, within the nodes.

    References:
        arXiv:1007.1727, eqs. 16 and 64-66; protomodels, likelihood critic of 2024.
    """
    fixed = [lax.stop_gradient(a) for a in (sensitivity, values, slopes, asimov, nodes, mu)]
    sensitivity, values, slopes, asimov, nodes, mu = fixed
    cliques = restrict(table, live, min_members=1)
    members = choose(table, cliques, sensitivity[None]).members[0]
    total = jnp.sum(jnp.where(members[None], values, 0.0), axis=1)
    slope = jnp.sum(jnp.where(members[None], slopes, 0.0), axis=1)
    best = maximise_hermite(nodes, total, slope, mu).value
    here = hermite(nodes, total[:, None], slope[:, None], mu[None])[0, 0]
    statistic = jnp.maximum(best - here, 0.0)
    expected = jnp.sum(jnp.where(members, asimov, 0.0))
    tested = jnp.any(members) & (mu > 0) & (expected > 0)
    cls = asymptotic_cls(statistic, jnp.where(tested, expected, 1.0)).cls
    return CombinedTest(members, jnp.where(tested, cls, 1.0))
