import os
import shutil
import tarfile
import time

import numpy as np
import pytest

from jaxlik.database import compile as compiler
from jaxlik.errors import DatabaseError


@pytest.fixture
def counted(monkeypatch, squark_space):
    """`compile_database` for a small model space, counting its calls."""
    calls = []
    original = compiler.compile_database

    def compile_database(root, target, **options):
        calls.append(root)
        return original(root, target, **{**options, "space": squark_space, "processes": 0})

    monkeypatch.setattr(compiler, "compile_database", compile_database)
    return calls


@pytest.fixture
def archive(tiny_root, tmp_path):
    path = tmp_path / "tiny.tar.xz"
    with tarfile.open(path, "w:xz") as stream:
        stream.add(tiny_root, arcname="smodels-database-tiny")
    return path


def load(path, tmp_path):
    return compiler.load_database(path, quiet=True, cache=tmp_path / "cache")


def test_folder_and_archive_compile_to_the_same_arrays(counted, tiny_root, archive, tmp_path):
    one, other = load(tiny_root, tmp_path), load(archive, tmp_path)
    assert len(counted) == 2
    assert one.version == other.version == "0.0.1"
    assert one.sha256 == other.sha256
    assert one.manifest["arrays"] == other.manifest["arrays"]


def test_a_database_is_compiled_once(counted, archive, tmp_path):
    first, second = load(archive, tmp_path), load(archive, tmp_path)
    assert len(counted) == 1
    assert first.path == second.path


def test_a_changed_database_is_compiled_again(counted, tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "copy")
    first = load(root, tmp_path)
    path = root / "13TeV/CMS/CMS-TINY-02-eff/SR1/dataInfo.txt"
    path.write_text(path.read_text().replace("observedN: 9", "observedN: 8"))
    os.utime(path, (time.time() + 5,) * 2)
    second = load(root, tmp_path)
    assert len(counted) == 2
    assert first.sha256 != second.sha256
    assert second.result("CMS-TINY-02-eff").counting.observed[0] == 8


def test_snapshots_open_directly(counted, tiny_snapshot, tmp_path):
    assert load(tiny_snapshot.path, tmp_path).sha256 == tiny_snapshot.sha256
    assert not counted


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLIK_CACHE", str(tmp_path / "mine"))
    assert compiler.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("JAXLIK_CACHE")
    assert compiler.cache_folder().name == "jaxlik"


def test_an_interrupted_compilation_leaves_nothing_behind(
    counted, tiny_root, tmp_path, monkeypatch
):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiler, "write_snapshot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(tiny_root, tmp_path)
    cache = tmp_path / "cache"
    assert not cache.exists() or not list(cache.iterdir())


def test_foreign_paths_are_refused(tmp_path):
    with pytest.raises(DatabaseError, match="no such file or folder; give a database"):
        load(tmp_path / "absent", tmp_path)
    (tmp_path / "file.tar.xz").write_text("hello")
    with pytest.raises(DatabaseError, match="neither a snapshot nor a tar archive"):
        load(tmp_path / "file.tar.xz", tmp_path)
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(DatabaseError, match="no SModelS database"):
        load(tmp_path / "empty.tar", tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseError, match="no file 'version'"):
        load(tmp_path / "folder", tmp_path)


def test_archives_cannot_write_outside_their_folder(tmp_path):
    path = tmp_path / "evil.tar"
    outside = tmp_path / "outside.txt"
    (tmp_path / "payload").write_text("x")
    with tarfile.open(path, "w") as stream:
        stream.add(tmp_path / "payload", arcname=f"../../../../../../../..{outside}")
    with pytest.raises(DatabaseError, match="neither a snapshot nor a tar archive"):
        load(path, tmp_path)
    assert not outside.exists()


def test_the_embedded_snapshot_is_sound():
    found = compiler.load_database("embedded")
    found.verify()
    assert found.path.stat().st_size < 5e6
    sources = found.manifest["embedded"]["sources"]
    for result in found.results:
        assert result.provenance.arxiv or result.provenance.doi
        assert sources[result.provenance.folder]
    assert found.workspaces == ()
    tags = [r.provenance for r in found.results]
    assert {(p.experiment, p.sqrts) for p in tags} == {
        (experiment, energy) for experiment in ("ATLAS", "CMS") for energy in (8.0, 13.0)
    }
    kinds = [r.kind for r in found.results]
    assert kinds.count("efficiency_map") >= 50
    assert kinds.count("upper_limit") >= 100
    assert sum(r.covariance is not None for r in found.results) >= 4


def test_the_embedded_snapshot_opens_quickly():
    """Half a second on the reference machine; the limit leaves room for a busy one."""
    start = time.process_time()
    found = compiler.open_embedded()
    for name in found.manifest["arrays"]:
        found.array(name)
    assert found.results
    assert found.maps
    assert time.process_time() - start < 1.0


def test_the_embedded_snapshot_shows_excesses_where_it_has_maps():
    found = compiler.open_embedded()
    regions = {(h.folder, h.region) for h in found.maps}
    excesses = 0
    for result in found.results:
        counting = result.counting
        if counting is None:
            continue
        covered = np.array([(result.provenance.folder, r) in regions for r in counting.region_ids])
        error = np.sqrt(counting.background + counting.background_error**2)
        excesses += ((counting.observed - counting.background) / error > 1.5)[covered].any()
    assert excesses >= 6
