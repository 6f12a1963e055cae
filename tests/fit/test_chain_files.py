"""Chains on disk: read back to the bit, opened by xarray, refused when damaged."""

import numpy as np
import pytest
from synthetic_draws import LBP, SPACE, STOP, independent_draws, two_decays

from jaxlik.errors import CheckpointError
from jaxlik.fit import chain_files
from jaxlik.fit.chain_files import (
    append_chain,
    chain_path,
    read_chain,
    read_chains,
    write_chain,
)
from jaxlik.fit.posterior_draws import (
    PosteriorDraws,
    concatenate_draws,
    contents_of,
    equal_draws,
    stack_chains,
)


@pytest.fixture(scope="module")
def draws():
    return two_decays(independent_draws({(): 0.4, (STOP,): 0.6}, shape=(2, 50)))


def test_what_is_read_is_what_was_written(tmp_path, draws):
    for number in range(2):
        write_chain(chain_path(tmp_path, number), draws.chain(number), number)
    assert equal_draws(read_chains(tmp_path), draws)
    assert equal_draws(read_chain(tmp_path / "chain-1.nc"), draws.chain(1))


def test_appended_blocks_make_the_same_chain(tmp_path, draws):
    path, whole = tmp_path / "chain-0.nc", draws.chain(0)
    for block in (whole.head(20), whole.tail(30)):
        append_chain(path, block, 0)
    assert equal_draws(read_chain(path), whole)
    with pytest.raises(CheckpointError, match="holds chain 0, wanted 3"):
        append_chain(path, whole, 3)
    other = PosteriorDraws(**{**vars(whole), "productions": SPACE.productions[::-1]})
    with pytest.raises(CheckpointError, match="another model space"):
        append_chain(path, other, 0)


def test_chains_are_cut_to_the_shortest(tmp_path, draws):
    write_chain(tmp_path / "chain-0.nc", draws.chain(0), 0)
    write_chain(tmp_path / "chain-1.nc", draws.chain(1).head(7), 1)
    assert equal_draws(read_chains(tmp_path), draws.head(7))


def test_xarray_opens_every_group(tmp_path, draws):
    xarray = pytest.importorskip("xarray")
    path = tmp_path / "chain-1.nc"
    write_chain(path, draws.chain(1), 1, {"seed": 7})
    with xarray.open_dataset(path, engine="h5netcdf") as root:
        assert root.attrs["seed"] == 7
        assert root.attrs["schema"] == "jaxlik/chain/1"
    with xarray.open_dataset(path, group="posterior", engine="h5netcdf") as posterior:
        assert posterior.masses.dims == ("chain", "draw", "particle")
        assert posterior.masses.attrs["units"] == "GeV"
        assert posterior.active.dtype == bool
        assert posterior.chain.values.tolist() == [1]
        stop = posterior.masses.sel(particle="X_t^1", chain=1)
        np.testing.assert_array_equal(stop, draws.masses[1, :, SPACE.particle_index(STOP)])
        ratio = posterior.branching_ratios.sel(channel="X_t^1 -> t X_Z^1")
        assert ratio.dims == ("chain", "draw")
        assert posterior.signal_strengths.sel(production="X_t^1 X_t^1~").shape == (1, 50)
    with xarray.open_dataset(path, group="sample_stats", engine="h5netcdf") as stats:
        np.testing.assert_array_equal(stats.lp, draws.log_posterior[1:])
    with xarray.open_dataset(path, group="constant_data", engine="h5netcdf") as constant:
        assert tuple(constant.pdg_id.values) == SPACE.pdg_ids
        assert constant.channel_sm.values[0] == "1"


def test_arviz_opens_it(tmp_path, draws):
    arviz = pytest.importorskip("arviz")
    path = tmp_path / "chain-0.nc"
    write_chain(path, draws.chain(0), 0)
    assert arviz.from_netcdf(str(path))["posterior"]["masses"].shape == (1, 50, 20)


def test_damage_anywhere_is_refused(tmp_path, draws):
    path = tmp_path / "chain-0.nc"
    write_chain(path, draws.chain(0), 0)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        for content in (bytes(flipped), whole[:place]):
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match=r"chain-0\.nc: "):
                read_chain(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(CheckpointError, match="seal"):
        read_chain(path)


def test_missing_and_foreign_files_are_named(tmp_path, draws):
    with pytest.raises(CheckpointError, match="no such chain"):
        read_chain(tmp_path / "chain-0.nc")
    with pytest.raises(CheckpointError, match=r"has no chain-<i>\.nc"):
        read_chains(tmp_path)
    (tmp_path / "chain-0.nc").write_text("not NetCDF")
    with pytest.raises(CheckpointError, match="wanted a NetCDF-4 file"):
        read_chain(tmp_path / "chain-0.nc")
    (tmp_path / "chain-0.nc").unlink()
    write_chain(tmp_path / "chain-1.nc", draws.chain(1), 1)
    with pytest.raises(CheckpointError, match=r"chain-0\.nc is missing"):
        read_chains(tmp_path)
    (tmp_path / "chain-1.nc").rename(tmp_path / "chain-0.nc")
    with pytest.raises(CheckpointError, match="holds chain 1, wanted 0"):
        read_chains(tmp_path)


def test_a_failed_write_leaves_the_old_chain(tmp_path, draws, monkeypatch):
    path = tmp_path / "chain-0.nc"
    write_chain(path, draws.chain(0).head(5), 0)

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(chain_files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_chain(path, draws.chain(0), 0)
    assert equal_draws(read_chain(path), draws.chain(0).head(5))
    assert [entry.name for entry in tmp_path.iterdir()] == ["chain-0.nc"]


def test_only_one_chain_goes_into_a_file(tmp_path, draws):
    with pytest.raises(ValueError, match="holds one chain, but 2"):
        write_chain(tmp_path / "chain-0.nc", draws, 0)
    with pytest.raises(ValueError, match="axis draw"):
        write_chain(tmp_path / "chain-0.nc", draws.chain(0).head(0), 0)


def test_draws_split_and_join(draws):
    assert equal_draws(concatenate_draws([draws.head(20), draws.tail(30)]), draws)
    assert equal_draws(stack_chains([draws.chain(0), draws.chain(1)]), draws)
    assert not equal_draws(draws.chain(0), draws.chain(1))
    with pytest.raises(ValueError, match="wanted equal numbers"):
        stack_chains([draws.chain(0), draws.chain(1).head(3)])


def test_arrays_have_to_fit(draws):
    with pytest.raises(ValueError, match=r"masses has shape \(2, 50, 3\)"):
        PosteriorDraws(**{**vars(draws), "masses": draws.masses[..., :3]})
    off = np.zeros_like(draws.active)
    with pytest.raises(ValueError, match="always exists"):
        PosteriorDraws(**{**vars(draws), "active": off})


def test_contents_are_counted(draws):
    contents = contents_of(draws)
    stop = draws.active[..., SPACE.particle_index(STOP)]
    assert contents.count.tolist() == sorted([stop.sum(), (~stop).sum()], reverse=True)
    assert contents.chains.tolist() == [2, 2]
    np.testing.assert_array_equal(contents.active[contents.index], draws.active)
    assert contents.active[:, SPACE.particle_index(LBP)].all()
