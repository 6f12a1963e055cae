"""Objectives of HistFactory workspaces, with gradient and Hessian written by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlik.database.hs3 import from_hs3, is_hs3
from jaxlik.database.records import HistFactoryRecord
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import apply_patch, read_json
from jaxlik.errors import WorkspaceError
from jaxlik.interop.objective_base import Objective
from jaxlik.interop.objective_nll import AbstractNll
from jaxlik.statmodels.base import LN_TWO_PI, poisson_nll_constant
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.typing import Array, Float, Int, Scalar


class WorkspaceNll(AbstractNll):
    """Some or all parameters of a packed workspace; the others are where its fits start.

    Attributes:
        model: The packed workspace.
        data: Events and auxiliary data.
        positions: Of each entry of the vector on the axis ``parameter`` of the model.
    """

    model: HistFactory
    data: Data
    positions: Int[Array, " entry"]

    def _all(self, x: Float[Array, " entry"]) -> Float[Array, " parameter"]:
        return self.model.init.at[self.positions].set(x)

    def nll(self, x: Float[Array, " entry"]) -> Scalar:
        """Half of `HistFactory.twice_nll`."""
        return 0.5 * self.model.twice_nll(self._all(x), self.data)

    def value_and_gradient(
        self, x: Float[Array, " entry"]
    ) -> tuple[Scalar, Float[Array, " entry"]]:
        """From `HistFactory.expand`; the compiler drops the Hessian, which nobody asks for."""
        found = self.model.expand(self._all(x), self.data)
        return found.value, found.gradient[self.positions]

    def hessian(self, x: Float[Array, " entry"]) -> Float[Array, "entry entry"]:
        """From `HistFactory.expand`."""
        found = self.model.expand(self._all(x), self.data).hessian
        return found[self.positions[:, None], self.positions[None, :]]

    def constant(self) -> Scalar:
        """-ln L of the saturated model: the constants of all Poisson and Gaussian terms."""
        model, data = self.model, self.data
        bins = jnp.where(model.real_bins, poisson_nll_constant(data.observed), 0.0)
        counts = poisson_nll_constant(jnp.where(model.poisson, data.centre, 0.0))
        normal = jnp.log(model.width) + 0.5 * LN_TWO_PI
        own = jnp.where(model.normal, normal, jnp.where(model.poisson, counts, 0.0))
        return jnp.sum(bins) + jnp.sum(own)


def objective_of_workspace(
    source: str | Path | Mapping[str, Any] | HistFactoryRecord,
    *,
    measurement: str | int = 0,
    patches: Sequence[Any] = (),
    patch_name: str | None = None,
    data: Data | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Objective:
    """-ln L of all parameters of a workspace, by their pyhf names.

    Deviance form; with `Objective.constant` it is pyhf's ``-logpdf``. Starting values, bounds and
    fixed parameters are those of the measurement. The parameter of interest has no special role.

    Args:
        source: pyhf JSON or HS3: a path, JSON text, the dictionary (a `pyhf.Workspace` is one), or
            a flattened record.
        measurement: Name or position of the measurement, or name of the HS3 analysis.
        patches: JSON patches or patch sets, or paths of such, applied in order.
        patch_name: Which patch of a set.
        data: Events and auxiliary data on the padded axes, as `asimov_data` gives them; those of
            the workspace by default.
        fixed: Further parameters to fix, and where.

    Raises:
        WorkspaceError: an invalid workspace or patch, with its place.
        ConfigError: an unknown parameter.
    """
    record = _record(source, measurement, patches, patch_name)
    model = pack_workspace(record)
    size = len(record.parameters)
    normal = np.array(record.kinds) == "normal"
    whole = Objective(
        WorkspaceNll(model, model.data if data is None else data, jnp.arange(size)),
        record.parameters,
        record.init,
        record.lower,
        record.upper,
        record.fixed,
        np.where(normal, record.centre, 0.0),
        np.where(normal, record.width, np.inf),
    )
    return whole.with_fixed(fixed) if fixed else whole


def _record(
    source: str | Path | Mapping[str, Any] | HistFactoryRecord,
    measurement: str | int,
    patches: Sequence[Any],
    patch_name: str | None,
) -> HistFactoryRecord:
    if isinstance(source, HistFactoryRecord):
        if patches:
            raise WorkspaceError(
                f"{source.name} is a flattened record and {len(patches)} patches were given; "
                "wanted the JSON document to patch"
            )
        return source
    name, document = _document(source)
    for patch in patches:
        which = patch if isinstance(patch, (str, Path)) else "patch"
        content = read_json(Path(which)) if which is patch else patch
        document = apply_patch(document, content, name=str(which), member=patch_name)
    if is_hs3(document):
        analysis = measurement if isinstance(measurement, str) else None
        return flatten_workspace(from_hs3(document, analysis=analysis, name=name), name=name)
    return flatten_workspace(document, measurement=measurement, name=name)


def _document(source: str | Path | Mapping[str, Any]) -> tuple[str, dict]:
    """Name and content of a workspace that is no record."""
    if isinstance(source, Mapping):
        return "workspace", dict(source)
    if isinstance(source, str) and source.lstrip().startswith("{"):
        try:
            return "workspace", json.loads(source)
        except json.JSONDecodeError as error:
            raise WorkspaceError(
                f"workspace: not JSON ({error}); wanted a pyhf or HS3 document"
            ) from error
    return str(source), read_json(Path(source))
