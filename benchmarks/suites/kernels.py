"""Likelihood kernels: values, slopes, best mu, limits and fits over batch sizes.

Single regions, simplified likelihoods (linear and skewed) and HistFactory workspaces. Batches
are evaluated by one compiled program; peers answer one call at a time unless their name says
that they are batched, and each call takes the next element of the batch. Rounds read the same
input again, so that no buffer can be donated; on several devices batches are cut into equal
parts, and nothing calls back to the host while the clock runs.
"""

from collections.abc import Iterator

from benchmarks.harness import Options, Row
from benchmarks.kernel import sweep
from benchmarks.suites import kernels_histfactory, kernels_simplified, kernels_single


def measure(options: Options) -> Iterator[Row]:
    """All kernels."""
    for kernel in kernels_single.kernels(options):
        yield from sweep("kernels", kernel, options)
    for kernel in kernels_simplified.kernels(options):
        yield from sweep("kernels", kernel, options)
    yield from kernels_histfactory.measure(options)
