"""jaxlik inside other people's fitters and samplers.

| for | module |
|---|---|
| plain callables, SciPy | `objective`, `scipy_minimize` |
| iminuit | `iminuit_bridge` |
| numpyro, blackjax | `numpyro_bridge`, `blackjax_bridge` |
| emcee, dynesty | `samplers` |
| anything in coordinates without bounds | `unbounded` |
| pyhf, cabinetry | `pyhf_drop_in`, `pyhf_optimizer` |
| spey | `spey_plugin`, found through its entry points |
| SModelS | `smodels_computer` |

Nothing is imported before it is used: of these packages only pyhf, SModelS, numpyro and SciPy
come with jaxlik.
"""
