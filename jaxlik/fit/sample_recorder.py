"""What happens between blocks of draws: progress bar, history, draws, checkpoint."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxlik.fit.chain_files import chain_path, read_chains, write_chain
from jaxlik.fit.config import SampleConfig
from jaxlik.fit.diagnostics import mean_ess, r_hat
from jaxlik.fit.posterior_draws import PosteriorDraws, concatenate_draws
from jaxlik.fit.progress import BAR_FORMAT
from jaxlik.fit.store import RunDirectory


class DrawsRecorder:
    """Callback of a sampler: keeps the run directory and the user up to date.

    Attributes:
        seconds: Time spent on blocks, that of earlier sessions included.
        acceptance: Accepted share of each move in the last block.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: SampleConfig,
        models_fn: Callable[[Any], PosteriorDraws],
        save_fn: Callable[[Path, Any], None],
        *,
        quiet: bool = False,
    ):
        self.run, self.config, self.quiet = run, config, quiet
        self.models_fn, self.save_fn = models_fn, save_fn
        self.started = perf_counter()
        self.seconds = 0.0
        self.acceptance: dict[str, float] = {}
        self._drawn: PosteriorDraws | None = None
        self._bar: tqdm | None = None

    def begin(self, state: Any) -> None:
        """Take up the draws that a checkpoint belongs to, and show the bar."""
        earlier = self.run.history()
        if earlier:
            self.seconds, self.acceptance = earlier[-1]["seconds"], earlier[-1]["acceptance"]
        drawn = max(state.blocks - self.config.warmup, 0) * self.config.block
        if drawn:
            self._drawn = read_chains(self.run.path).head(drawn)
        total = self.config.warmup * self.config.block + self.config.draws
        self._bar = tqdm(
            total=total,
            initial=min(state.blocks * self.config.block, total),
            desc="sampling",
            disable=self.quiet,
            bar_format=BAR_FORMAT,
        )

    def __call__(self, state: Any, block: Any) -> None:
        """Record a block.

        Args:
            state: State of the sampler after it.
            block: Its draws, acceptance and how many are done.
        """
        now = perf_counter()
        self.seconds += now - self.started
        self.started, self.acceptance = now, block.acceptance
        entry: dict[str, Any] = {"step": state.blocks, "seconds": self.seconds}
        entry["acceptance"] = block.acceptance
        text = "warming up"
        if block.done:
            judged, text = self._take(block.draws)
            entry |= {"draws": block.done, **judged}
        births = block.acceptance.get("birth or death", 0.0)
        text += f"; accepted: births {births:.1%}"
        text += f", prior {block.acceptance.get('draw from the prior', 0.0):.0%}"
        text += f", trajectories {block.acceptance['trajectory']:.0%}"
        # Draws before checkpoint: a resumed run drops what is newer than its checkpoint.
        self._write()
        self.run.append_history(entry)
        self.save_fn(self.run.state, state)
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(min(self.config.block, self._bar.total - self._bar.n))

    def _take(self, draws: Any) -> tuple[dict[str, float | None], str]:
        """Add draws; convergence of the number of particles so far, as entries and as text."""
        new = self.models_fn(draws)
        self._drawn = new if self._drawn is None else concatenate_draws([self._drawn, new])
        size = self._drawn.active.sum(axis=2).astype(float)
        # Chains that all stand still have no R-hat yet.
        moving = size.shape[1] > 3 and np.ptp(size) > 0
        factor, effective = (r_hat(size), mean_ess(size)) if moving else (np.nan, np.nan)
        entries = {"r_hat": _finite(factor), "ess": _finite(effective)}
        return entries, f"particles: R-hat {factor:.3f}, ESS {effective:.0f}"

    def _write(self) -> None:
        if self._drawn is None:
            return
        for number in range(self._drawn.num_chains):
            facts = {"seed": self.config.seed}
            write_chain(chain_path(self.run.path, number), self._drawn.chain(number), number, facts)

    @property
    def draws(self) -> PosteriorDraws | None:
        """What counts so far."""
        return None if self._drawn is None else self._drawn.head(self.config.draws)

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
