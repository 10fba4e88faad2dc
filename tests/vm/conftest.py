"""What the tests on real machines share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks.image.baked import images_dir


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have all images, and templates that no other test starts from: what is done to them is theirs alone."""
    cache = tmp_path_factory.mktemp("cache")
    images_dir().mkdir(parents=True, exist_ok=True)
    (cache / "images").symlink_to(images_dir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMTASKS_CACHE", str(cache))
        yield
    shutil.rmtree(cache)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a directory for definitions of a test's own; what is baked of them goes with the test."""
    directory = tmp_path / "images"
    directory.mkdir()
    monkeypatch.setenv("VMTASKS_IMAGES", str(directory))
    yield directory
    for definition in directory.glob("*.toml"):
        for baked in (*images_dir().glob(f"{definition.stem}-*"), *images_dir().glob(f"{definition.stem}.*")):
            shutil.rmtree(baked) if baked.is_dir() else baked.unlink()
