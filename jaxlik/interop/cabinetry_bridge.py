"""cabinetry's fits, rankings, scans, limits and significances on jaxlik's fits.

    with jaxlik_fits():
        results = cabinetry.fit.fit(model, data)

cabinetry makes an optimizer of its own for every call, `pyhf.optimize.minuit_optimizer`; inside
the context that name stands for `jaxlik.interop.pyhf_optimizer.jaxlik_optimizer`. Results are
cabinetry's own. MINOS runs in iminuit, from the certified minimum and with exact gradients. With
`custom_fit=True` cabinetry calls iminuit itself: that is not reached.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pyhf

from jaxlik.interop.optional import require
from jaxlik.interop.pyhf_optimizer import jaxlik_optimizer


@contextlib.contextmanager
def jaxlik_fits(*, thorough: bool = True) -> Iterator[None]:
    """Let `pyhf.optimize.minuit_optimizer` be jaxlik's, for cabinetry, while the context lasts.

    For the whole process, not for one thread. Afterwards, and after an error, the name is
    Minuit's again, and pyhf has the optimizer it had.

    Args:
        thorough: See `jaxlik_optimizer`.

    Raises:
        MissingPackageError: cabinetry, or iminuit, is not installed.
    """
    require("cabinetry", extra="fitters")
    retriever: Any = pyhf.optimize
    minuit, (backend, before) = retriever.minuit_optimizer, pyhf.get_backend()
    made: list[jaxlik_optimizer] = []

    def make(**options: Any) -> jaxlik_optimizer:
        made.append(jaxlik_optimizer(thorough=thorough, **options))
        return made[-1]

    retriever.minuit_optimizer = make
    try:
        yield
    finally:
        retriever.minuit_optimizer = minuit
        # cabinetry leaves its optimizer behind where a fit raises.
        backend, now = pyhf.get_backend()
        if any(now is one for one in made):
            pyhf.set_backend(backend, before)
