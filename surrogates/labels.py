"""Labels of learned likelihoods: certified fits of the exact engine, one for each data set.

A label is the change of the profiled -2 ln L with a signal, and its slope in every region. The
slope costs no further fit (envelope theorem) and says as much as one label per region.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.records import WorkspaceRecord
from jaxlik.database.workspace_signal import flatten_with_signal, region_per_bin
from jaxlik.errors import ConvergenceError, WorkspaceError
from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_model import workspace_likelihood
from jaxlik.inference.workspace_profile import CERTIFIED, asimov_data, fit_from, fit_parameters
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, with_signal
from jaxlik.typing import Array, Bool, Float

CHUNK = 16
"""Labels made in one call of the compiled program."""

SENSITIVITY = 3.0
"""Standard deviations of the signals that regions are scaled by."""

_ROUNDS, _CLOSE = 20, 1e-3


class Labels(NamedTuple):
    """What the exact engine says; axis ``set`` are the data and their Asimov data.

    Attributes:
        signal: Events over the scale of each region.
        change: -2 ln L(s) + 2 ln L(0); not a number where a fit is not certified.
        slope: Of it in the scaled signal.
    """

    signal: Float[np.ndarray, "point region"]
    change: Float[np.ndarray, "point set"]
    slope: Float[np.ndarray, "point set region"]

    def usable(self) -> "Labels":
        """Labels of certified fits only."""
        good = np.isfinite(self.change).all(axis=1) & np.isfinite(self.slope).all(axis=(1, 2))
        return Labels(*(part[good] for part in self))


class _Question(NamedTuple):
    """All that a label depends on but the signal; data with a leading axis ``set``."""

    model: HistFactory
    where: SignalInput
    data: Data
    held: Bool[Array, " parameter"]
    starts: Float[Array, "start parameter"]
    thorough: Bool[Array, ""]


class Oracle:
    """The exact engine, asked about one workspace.

    Attributes:
        name: Of the workspace.
        sha256: Of its file.
        likelihood: Of the data, behind the interface of all models.
        twice_nll_background: -2 ln L without signal, axis ``set``.
        fitted: Background fitted at mu = 0, by region [events].
        asked: Labels made so far.
    """

    def __init__(self, record: WorkspaceRecord, sha256: str):
        self.name, self.sha256, self.asked = record.name, sha256, 0
        self.likelihood = likelihood = workspace_likelihood(*flatten_with_signal(record))
        nothing = jnp.zeros(self.num_regions)
        model = with_signal(likelihood.model, likelihood.where, nothing)
        held = model.fixed.at[likelihood.poi].set(True)
        start = model.init.at[likelihood.poi].set(0.0)
        null = certified(fit_parameters(model, None, held, start, thorough=True), "at mu = 0")
        asimov = asimov_data(model, null.parameters)
        self.fitted = np.asarray(likelihood.background_asimov().observed)
        starts = jnp.stack([null.parameters, model.init]).at[:, likelihood.poi].set(1.0)
        self._question = _Question(
            model,
            likelihood.where,
            jax.tree.map(lambda a, b: jnp.stack([a, b]), model.data, asimov),
            held,
            starts,
            jnp.isfinite(null.next_lowest),
        )
        self.twice_nll_background = np.array([float(null.twice_nll), 0.0])

    @classmethod
    def of_file(cls, path: Path, prefix: str = "SR") -> "Oracle":
        """The oracle of a workspace file: one signal region in each bin of some channels.

        Args:
            path: Workspace (pyhf JSON), without signal.
            prefix: Channels whose names begin with it carry signal.

        Raises:
            WorkspaceError: the file cannot be read, is no workspace, or has no such channel.
        """
        try:
            content = path.read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WorkspaceError(
                f"{path} cannot be read ({error}); wanted a workspace (pyhf JSON)"
            ) from None
        record = region_per_bin(text, name=path.name, prefix=prefix)
        if not record.regions:
            raise WorkspaceError(
                f"{path}: no channel begins with {prefix!r}, wanted those that carry signal; name "
                "the beginning of theirs with --prefix"
            )
        return cls(record, hashlib.sha256(content).hexdigest())

    @property
    def region_ids(self) -> tuple[str, ...]:
        """Signal regions."""
        return self.likelihood.region_ids

    @property
    def num_regions(self) -> int:
        """How many of them there are."""
        return len(self.likelihood.region_ids)

    def label(
        self,
        signals: Float[np.ndarray, "point region"],
        scale: Float[np.ndarray, " region"],
        on_chunk: Callable[[int, Labels], None] | None = None,
    ) -> Labels:
        """Labels of signals.

        Args:
            signals: Events over the scale of each region.
            scale: Events.
            on_chunk: Told the first point and the labels of every finished chunk.
        """
        found = []
        for first in range(0, len(signals), CHUNK):
            some = signals[first : first + CHUNK]
            padded = np.resize(some, (CHUNK, some.shape[1])) * scale
            value, slope = _label(self._question, jnp.asarray(padded))
            change = np.asarray(value)[: len(some)] - self.twice_nll_background
            labels = Labels(some, change, np.asarray(slope)[: len(some)] * scale)
            found.append(labels)
            self.asked += len(some)
            if on_chunk is not None:
                on_chunk(first, labels)
        empty = np.zeros((0, 2, self.num_regions))
        found = found or [Labels(empty[:, 0], empty[:, :, 0], empty)]
        return Labels(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def scale(self) -> Float[np.ndarray, " region"]:
        """A third of the signal, in one region alone, that Asimov data reject by 3 sigma [events].

        Newton's method in the root of -2 ln L; a few labels per region.

        Raises:
            ConvergenceError: a region does not constrain its signal.
        """
        size = SENSITIVITY * np.sqrt(self.fitted + 1.0)
        one = np.ones(self.num_regions)
        for _ in range(_ROUNDS):
            labels = self.label(np.diag(size), one)
            root = np.sqrt(np.maximum(labels.change[:, 1], 1e-12))
            off = SENSITIVITY - root
            if np.all(np.abs(off) < _CLOSE):
                return size / SENSITIVITY
            slope = np.diagonal(labels.slope[:, 1]) / (2 * root)
            move = np.where(slope > 0, off / np.where(slope > 0, slope, 1.0), size)
            size = size + np.clip(move, -0.8 * size, 4 * size)
        worst = int(np.argmax(np.where(np.isfinite(off), np.abs(off), np.inf)))
        raise ConvergenceError(
            f"{self.name}: {size[worst]:.3g} events in region {self.region_ids[worst]} are "
            f"{root[worst]:.3g} standard deviations, wanted {SENSITIVITY:g}; leave regions "
            "without sensitivity out of the signal"
        )


@jax.jit
def _label(
    question: _Question, signals: Float[Array, "point region"]
) -> tuple[Float[Array, "point set"], Float[Array, "point set region"]]:
    # One fit after the other: side by side, all would wait for the slowest.
    return jax.lax.map(partial(_one_label, question), signals)


def _one_label(
    question: _Question, signal: Float[Array, " region"]
) -> tuple[Float[Array, " set"], Float[Array, "set region"]]:
    model = with_signal(question.model, question.where, signal)

    def on(data: Data) -> tuple[Array, Array]:
        fit = fit_from(model, data, question.held, question.starts, question.thorough)

        def twice_nll(events: Float[Array, " region"]) -> Array:
            changed = with_signal(question.model, question.where, events)
            return changed.twice_nll(fit.parameters, data)

        value, slope = jax.value_and_grad(twice_nll)(signal)
        bad = jnp.where(fit.certificate <= CERTIFIED, 0.0, jnp.nan)
        return value + bad, slope + bad

    return jax.lax.map(on, question.data)
