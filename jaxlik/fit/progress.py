"""What happens between blocks of steps: progress bar, history, best models, checkpoint."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxlik.fit.report import r_max_text
from jaxlik.fit.store import RunDirectory
from jaxlik.fit.summary import finite, point_entries
from jaxlik.physics.model import ModelSpace

logger = logging.getLogger(__name__)

BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}] {postfix}"
"""No estimate of the end from tqdm: it would take the compilation of the start for steps."""


@contextmanager
def stage_bar(name: str, *, quiet: bool) -> Iterator[Callable[[int, float], None]]:
    """A progress bar for work whose length is not known: evaluations so far, best K.

    Args:
        name: What is going on.
        quiet: Show nothing.
    """
    layout = "{desc}: {n_fmt} evaluations [{elapsed}] {postfix}"
    with tqdm(desc=name, disable=quiet, bar_format=layout) as bar:

        def report(evaluations: int, best: float) -> None:
            bar.update(evaluations - bar.n)
            bar.set_postfix_str(f"best K = {best:.2f}" if math.isfinite(best) else "no model yet")

        yield report


class Recorder:
    """Callback of a search: keeps the run directory and the user up to date.

    Attributes:
        state: State after the last block, `None` before the first.
        seconds: Time spent on steps, that of earlier sessions included.
        rate: Steps per second without compilation; 0 where not known.
    """

    def __init__(
        self,
        run: RunDirectory,
        space: ModelSpace,
        save_fn: Callable[[Path, Any], None],
        *,
        steps: int,
        done: int = 0,
        quiet: bool = False,
    ):
        self.run, self.space, self.save_fn = run, space, save_fn
        self.state: Any = None
        earlier = run.history()
        self._before = earlier[-1]["seconds"] if earlier else 0.0
        self.seconds = self._before
        self._best: np.ndarray | None = None
        self.rate = earlier[-1]["steps_per_second"] if earlier else 0.0
        self._steps, self._done, self._quiet = steps, done, quiet

    @cached_property
    def bar(self) -> tqdm:
        """The progress bar; the first look shows it."""
        return tqdm(
            total=self._steps,
            initial=self._done,
            desc="searching",
            disable=self._quiet,
            bar_format=BAR_FORMAT,
        )

    def __call__(self, state: Any, progress: Any) -> None:
        """Record a block.

        Args:
            state: Search state after it.
            progress: Steps, seconds, best score, r_max and acceptance.
        """
        self.seconds = self._before + float(progress.seconds)
        best, r_max = float(progress.score), float(progress.r_max)
        entry = {
            "step": int(progress.step),
            "seconds": self.seconds,
            "steps_per_second": float(progress.steps_per_second),
            "best": best,
            "r_max": r_max,
            "mean": float(progress.mean_score),
            "overflow": float(progress.overflow),
            "acceptance": dict(progress.acceptance),
        }
        # History before checkpoint: a resumed run drops what is newer than its checkpoint.
        self.run.append_history(finite(entry))
        self._write_models(state.hiscores)
        self.save_fn(self.run.state, state)
        self.state = state
        self.bar.update(int(progress.step) - self.bar.n)
        self.rate = float(progress.steps_per_second) or self.rate
        self.bar.set_postfix_str(progress_text(best, r_max, self.rate))

    def start(self) -> None:
        """Show the progress bar."""
        self.bar.refresh()

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if "bar" in self.__dict__:
            self.bar.close()

    def _write_models(self, hiscores: Any) -> None:
        """Write the list of best models if it changed."""
        score = np.asarray(hiscores.score)
        if self._best is not None and np.array_equal(score, self._best):
            return
        previous, self._best = self._best, score
        self.run.write_models(provisional_models(self.space, hiscores))
        if np.isfinite(score[0]) and (previous is None or score[0] > previous[0]):
            logger.info("step %d: best K = %.4f", int(np.asarray(hiscores.step)[0]), score[0])


def progress_text(best: float, r_max: float, rate: float) -> str:
    """Best model and speed, for the progress bar."""
    speed = f", {rate:.3g} steps/s" if rate > 0 else ""
    if not math.isfinite(best):
        return f"no model yet{speed}"
    return f"K = {best:.2f}, {r_max_text(r_max)}{speed}"


def provisional_models(space: ModelSpace, hiscores: Any) -> list[dict[str, Any]]:
    """The best models as the search itself sees them, best first."""
    host = jax.tree.map(np.asarray, hiscores)
    models = []
    for place in np.flatnonzero(np.isfinite(host.score)):
        point = jax.tree.map(lambda leaf, place=place: leaf[place], host.points)
        mu = float(host.mu_hat[place])
        z_squared = float(host.z_squared[place])
        score = float(host.score[place])
        models.append(
            finite(
                {
                    "K": score,
                    "Z": math.sqrt(max(z_squared, 0.0)),
                    "log_prior": 0.5 * (score - z_squared),
                    "r_max": mu * float(host.r_max[place]),
                    "mu_hat": mu,
                    "step": int(host.step[place]),
                    "walker": int(host.walker[place]),
                    **point_entries(space, point, mu),
                }
            )
        )
    return models
