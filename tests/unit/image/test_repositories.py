"""More sources of packages: what a definition may say, and the files that apt reads of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import Definition, File, find
from vmtasks.image.repositories import files_of

ARCHIVE = "http://mirror.example/debian/"
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxjM\n-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "base.toml").write_text('suite = "bookworm"\n')
    (tmp_path / "example.asc").write_text(KEY)
    (tmp_path / "example.gpg").write_bytes(b"\x98\x33\x04")
    return tmp_path


def define(images: Path, text: str, name: str = "layer") -> Definition:
    (images / f"{name}.toml").write_text(text)
    return find(name)


def layer(images: Path, repository: str, name: str = "layer") -> Definition:
    return define(images, f'from = "base"\n[[repositories]]\n{repository}\n', name)


def contents(files: tuple[File, ...]) -> dict[str, str | None]:
    return {file.path: file.content for file in files}


def test_backports_are_where_the_image_has_its_release_from(images: Path) -> None:
    assert contents(files_of(layer(images, 'suite = "bookworm-backports"'), ARCHIVE)) == {
        "/etc/apt/sources.list.d/vmtasks-layer-1.sources": (
            f"Types: deb\nURIs: {ARCHIVE}\nSuites: bookworm-backports\nComponents: main\n"
        )
    }


def test_where_that_is_not_known_a_sentence_says_so(images: Path) -> None:
    with pytest.raises(HostError, match="cannot tell where layer has bookworm-backports from") as failure:
        files_of(layer(images, 'suite = "bookworm-backports"'), "")
    assert "'uri'" in failure.value.hint


@pytest.mark.parametrize(("key", "kind"), [("example.asc", "asc"), ("example.gpg", "gpg")])
def test_a_repository_of_somebody_elses_is_believed_by_its_own_key_alone(images: Path, key: str, kind: str) -> None:
    text = f'uri = "https://packages.example/apt"\nsuite = "stable"\ncomponents = ["main", "extra"]\nkey = "{key}"'
    made = files_of(layer(images, text), ARCHIVE)
    keyring = f"/etc/apt/keyrings/vmtasks-layer-1.{kind}"
    assert contents(made) == {
        keyring: None,
        "/etc/apt/sources.list.d/vmtasks-layer-1.sources": (
            "Types: deb\nURIs: https://packages.example/apt\nSuites: stable\nComponents: main extra\n"
            f"Signed-By: {keyring}\n"
        ),
    }
    assert made[0].source == key


def test_a_flat_repository_has_no_components(images: Path) -> None:
    text = 'uri = "https://packages.example/"\nsuite = "./"\nkey = "example.asc"'
    (_, sources) = files_of(layer(images, text), ARCHIVE)
    assert "Suites: ./\nSigned-By:" in (sources.content or "")


def test_a_priority_is_for_the_packages_of_that_repository(images: Path) -> None:
    (_, pins) = files_of(layer(images, 'suite = "experimental"\npin = 500'), ARCHIVE)
    assert pins.path == "/etc/apt/preferences.d/vmtasks-layer-1"
    assert pins.content == (
        "Package: *\nPin: release o=Debian*, n=experimental\nPin-Priority: 500\n\n"
        "Package: *\nPin: release o=Debian*, a=experimental\nPin-Priority: 500\n"
    )
    text = 'uri = "https://packages.example:8443/apt"\nsuite = "stable"\nkey = "example.asc"\npin = -1'
    (*_, pins) = files_of(layer(images, text), ARCHIVE)
    assert pins.content == 'Package: *\nPin: origin "packages.example"\nPin-Priority: -1\n'


def test_apt_reads_the_files_of_every_layer(images: Path) -> None:
    """It passes over names with other characters, and of two files of one name there is one."""
    below = layer(images, 'suite = "bookworm-backports"', name="c+1")
    above = define(
        images,
        'from = "c+1"\n[[repositories]]\nsuite = "one"\n[[repositories]]\nsuite = "two"\n',
        name="c.1",
    )
    paths = [file.path for image in (below, above) for file in files_of(image, ARCHIVE)]
    assert len(set(paths)) == 3
    assert all(set(Path(path).stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for path in paths)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('suite = "a b"', "that is no name of a suite"),
        ('suite = "stable\\nTrusted: yes"', "that is no name of a suite"),
        ('suite = "stable"\nuri = "file:/srv/repository"\nkey = "example.asc"', "uri must begin with http:// or https://"),
        ('suite = "stable"\nuri = "https://packages.example/ x"\nkey = "example.asc"', "uri must begin with"),
        ('suite = "stable"\nuri = "https://packages.example/"', "'uri' needs 'key'"),
        ('suite = "stable"\nkey = "example.asc"', "'key' needs 'uri'"),
        ('suite = "stable"\nuri = "https://packages.example/"\nkey = "lost.asc"', "lost.asc is not there"),
        ('suite = "stable"\npin = 0', "pin must be a priority"),
        ('suite = "stable"\npin = 40000', "pin must be a priority"),
        ('suite = "stable"\ncomponents = []', "must be names of components"),
        ('suite = "stable"\ncomponents = ["main contrib"]', "must be names of components"),
        ("pin = 100", "suite"),
        ('suite = "stable"\nsuites = "x"', "suites"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_sentence(images: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as failure:
        layer(images, text)
    assert says in str(failure.value)


def test_components_are_the_suites(images: Path) -> None:
    assert define(images, 'suite = "bookworm"\ncomponents = ["main", "contrib"]\n').components == ("main", "contrib")
    with pytest.raises(UsageError, match="a layer takes more of Debian's archive with"):
        define(images, 'from = "base"\ncomponents = ["main", "contrib"]\n')
    with pytest.raises(UsageError, match="must be names of components"):
        define(images, 'suite = "bookworm"\ncomponents = ["main\\ndeb http"]\n')


def test_a_layer_has_its_parents_repositories_in_its_parents_files(images: Path) -> None:
    layer(images, 'suite = "bookworm-backports"')
    assert files_of(define(images, 'from = "layer"\n', name="above"), ARCHIVE) == ()


def test_repositories_and_their_keys_are_part_of_the_key(images: Path) -> None:
    text = 'suite = "stable"\nuri = "https://packages.example/"\nkey = "example.asc"'
    keys = [
        key_of(define(images, 'from = "base"\n')),
        key_of(layer(images, text)),
        key_of(layer(images, f"{text}\npin = 1")),
    ]
    (images / "example.asc").write_text(KEY + KEY)
    keys.append(key_of(find("layer")))
    keys.append(key_of(define(images, 'suite = "bookworm"\ncomponents = ["main", "contrib"]\n')))
    keys.append(key_of(find("base")))
    assert len(set(keys)) == len(keys)
