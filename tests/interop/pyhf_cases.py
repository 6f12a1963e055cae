"""Models of pyhf and numbers of ROOT for them, and one shape that all small models share."""

import functools

import pyhf
from random_workspaces import SHAPE, random_workspace

from jaxlik.interop import pyhf_model
from jaxlik.statmodels.packing import Shape, pack_workspace, shape_of

NORM = {"name": "mu", "type": "normfactor", "data": None}


TINY = Shape(
    bins=8, cells=16, parameters=8, pulls=8, normsys=8, entries=8, factors=2, normalisations=8
)


def share_shape(monkeypatch):
    """Small models compile one program or two; larger ones keep a bucket of their own."""

    @functools.wraps(pack_workspace)
    def pack(record, **codes):
        need = (
            len(record.observed),
            len(record.nominal),
            len(record.parameters),
            record.up.shape[1],
            int(record.entry_parameter.max(initial=-1)) + 1,
            len(record.entry_block),
            record.factors.shape[1],
            len(record.normalisations),
        )
        for shape in (TINY, SHAPE, shape_of(record)):
            if all(a <= b for a, b in zip(need, shape, strict=True)):
                break
        return pack_workspace(record, shape, **codes)

    monkeypatch.setattr(pyhf_model, "pack_workspace", pack)


def sound_workspace(seed):
    """A random workspace in which every bin expects events, whatever mu is."""
    document = random_workspace(seed)
    for channel in document["channels"]:
        size = len(channel["samples"][0]["data"])
        channel["samples"].append({"name": "floor", "data": [4.0] * size, "modifiers": []})
    return document


def simple_model():
    """The model of pyhf's own documentation, and its data."""
    model = pyhf.simplemodels.uncorrelated_background(
        signal=[12.0, 11.0], bkg=[50.0, 52.0], bkg_uncertainty=[3.0, 7.0]
    )
    return model, [51, 48, *model.config.auxdata]


def two_channels():
    """Two channels, a free background, two systematic and two statistical uncertainties."""
    size = {"name": "size", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}}
    tilt = {
        "name": "tilt",
        "type": "histosys",
        "data": {"hi_data": [44.0, 27.0], "lo_data": [37.0, 33.0]},
    }
    free = {"name": "free", "type": "normfactor", "data": None}
    stat = {"name": "stat", "type": "staterror", "data": [2.0, 1.5]}
    signal = {"name": "signal", "data": [5.0, 12.0], "modifiers": [NORM, size]}
    background = {"name": "background", "data": [40.0, 30.0], "modifiers": [tilt, free, stat]}
    control = {"name": "background", "data": [100.0], "modifiers": [free, size]}
    channels = [
        {"name": "signal", "samples": [signal, background]},
        {"name": "control", "samples": [control]},
    ]
    model = pyhf.Model({"channels": channels})
    return model, [104.0, 47.0, 45.0, *model.config.auxdata]


def _sample(name, data, *modifiers):
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def _modifier(kind, name, data):
    return {"name": name, "type": kind, "data": data}


def _histosys(name, low, high):
    return _modifier("histosys", name, {"lo_data": low, "hi_data": high})


def _normsys(name, low, high):
    return _modifier("normsys", name, {"lo": low, "hi": high})


def _channel(name, *samples):
    return {"name": name, "samples": list(samples)}


_LUMI = {
    "name": "lumi",
    "auxdata": [1.0],
    "sigmas": [0.1],
    "inits": [1.0],
    "bounds": [[0.0, 10.0]],
}

# Inputs, and CLs of mu = 1 (observed, expected at -2 ... 2 sigma), of pyhf's
# tests/test_validation.py and validation/data (scikit-hep/pyhf at 00109dad), which compares them
# with ROOT's HistFactory. Data by channel, in alphabetical order. Interpolation is of codes 1
# (normsys) and 0 (histosys), the defaults of pyhf then.
ROOT_NUMBERS = {
    "shapesys": (
        [
            _channel(
                "singlechannel",
                _sample("signal", [10.0], NORM),
                _sample("background", [50.0], _modifier("shapesys", "uncorr", [7.0])),
            )
        ],
        [55.0],
        0.4541865416107029,
        [
            0.06371799398864626,
            0.15096503398048894,
            0.3279606950533305,
            0.6046087303039118,
            0.8662627605298466,
        ],
    ),
    "lumi": (
        [
            _channel(
                "channel1",
                _sample("signal", [20.0], NORM),
                _sample("background1", [100.0], _modifier("lumi", "lumi", None)),
                _sample("background2", [0.0], _modifier("lumi", "lumi", None)),
            )
        ],
        [55.0],
        0.01047275,
        [0.01060338, 0.04022273, 0.13614217, 0.37078321, 0.71104119],
    ),
    "normsys": (
        [
            _channel(
                "singlechannel",
                _sample("signal", [30.0, 95.0], NORM),
                _sample("background", [100.0, 150.0], _normsys("bkg_norm", 0.9, 1.1)),
            )
        ],
        [120.0, 180.0],
        0.0006735317023683173,
        [
            7.471684419037561e-10,
            5.7411551509088054e-08,
            3.6898088062731205e-06,
            0.00016965731538267896,
            0.004392708998555453,
        ],
    ),
    "histosys": (
        [
            _channel(
                "singlechannel",
                _sample("signal", [30.0, 95.0], NORM),
                _sample(
                    "background",
                    [100.0, 150.0],
                    _histosys("bkg_norm", [98.0, 100.0], [102.0, 190.0]),
                ),
            )
        ],
        [120.0, 180.0],
        0.1001463460725534,
        [
            7.134513306138892e-06,
            0.00012547100627138575,
            0.001880010666437615,
            0.02078964907605385,
            0.13692494523572218,
        ],
    ),
    "two channels": (
        [
            _channel(
                "signal",
                _sample("signal", [10.0, 35.0], NORM),
                _sample(
                    "background", [100.0, 150.0], _modifier("shapesys", "signal", [10.0, 10.0])
                ),
            ),
            _channel(
                "control",
                _sample(
                    "background", [200.0, 350.0], _modifier("shapesys", "control", [5.0, 10.0])
                ),
            ),
        ],
        [205.0, 345.0, 110.0, 155.0],
        0.056332621064982304,
        [
            0.00043491354821983556,
            0.0034223000502860606,
            0.02337423265831151,
            0.1218654225510158,
            0.40382074249477845,
        ],
    ),
    "coupled normsys": (
        [
            _channel(
                "signal",
                _sample("signal", [10.0, 35.0], NORM),
                _sample("bkg1", [100.0, 100.0], _normsys("coupled", 0.9, 1.1)),
                _sample("bkg2", [50.0, 100.0], _normsys("coupled", 0.5, 1.5)),
            ),
            _channel(
                "control", _sample("background", [100.0, 100.0], _normsys("coupled", 0.9, 1.1))
            ),
        ],
        [110.0, 105.0, 105.0, 220.0],
        0.5906228034705155,
        [
            0.055223914655538435,
            0.13613239925395315,
            0.3068720101493323,
            0.5839470093910164,
            0.8554725461337025,
        ],
    ),
    "coupled histosys": (
        [
            _channel(
                "signal",
                _sample("signal", [30.0, 35.0], NORM),
                _sample("bkg1", [100.0, 100.0], _histosys("coupled", [90.0, 90.0], [110.0, 110.0])),
                _sample("bkg2", [50.0, 120.0], _histosys("coupled", [45.0, 45.0], [55.0, 55.0])),
            ),
            _channel(
                "control",
                _sample(
                    "background", [105.0, 100.0], _histosys("coupled", [95.0, 90.0], [110.0, 115.0])
                ),
            ),
        ],
        [110.0, 105.0, 170.0, 220.0],
        0.07967400132261188,
        [
            1.7653746536962154e-05,
            0.00026265644807799805,
            0.00334003612780065,
            0.031522353024659715,
            0.17907742915143962,
        ],
    ),
    "coupled shapefactor": (
        [
            _channel(
                "signal",
                _sample("signal", [20.0, 20.0], NORM),
                _sample("bkg1", [100.0, 70.0], _modifier("shapefactor", "coupled", None)),
            ),
            _channel(
                "control",
                _sample("background", [100.0, 100.0], _modifier("shapefactor", "coupled", None)),
            ),
        ],
        [200.0, 300.0, 220.0, 230.0],
        0.5421679124909312,
        [
            0.013753299929451691,
            0.048887400056355966,
            0.15555296253957684,
            0.4007561343326305,
            0.7357169630955912,
        ],
    ),
}


def root_case(name):
    """Model, data, CLs observed and expected."""
    channels, observed, cls, expected = ROOT_NUMBERS[name]
    # pyhf wants settings for the luminosity, and none where there is no such parameter.
    kinds = {m["type"] for c in channels for s in c["samples"] for m in s["modifiers"]}
    spec = {"channels": channels, **({"parameters": [_LUMI]} if "lumi" in kinds else {})}
    codes = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    model = pyhf.Model(spec, modifier_settings=codes)
    return model, [*observed, *model.config.auxdata], cls, expected
