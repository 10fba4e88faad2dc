"""The repositories of a definition as files of an image: apt's sources, keys and preferences."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from vmtasks.errors import HostError, UsageError
from vmtasks.image.definition import Definition, File, Repository

_ARMOUR = b"-----BEGIN PGP"


def files_of(definition: Definition, archive: str) -> tuple[File, ...]:
    """Return what has apt know the repositories of a definition; its parent's are files of the parent.

    :param archive: where the image has Debian's archive from; empty where that is not known.
    :raise HostError: that would have to be known.
    :raise UsageError: a key cannot be read.
    """
    made: list[File] = []
    for number, repository in enumerate(definition.repositories, 1):
        # apt passes over a file whose name has a plus in it, and one of preferences.d with a point: apt_preferences(5).
        name = f"vmtasks-{definition.name.replace('+', '_p').replace('.', '_d')}-{number}"
        uri = repository.uri or archive
        if not uri:
            raise HostError(
                f"cannot tell where {definition.name} has {repository.suite} from: it is not known which archive of "
                "Debian's the image has",
                hint="give it a 'uri' and a 'key', or name a mirror with VMTASKS_MIRROR",
            )
        made += _files(definition, repository, name, uri)
    return tuple(made)


def _files(definition: Definition, repository: Repository, name: str, uri: str) -> Iterator[File]:
    stanza = [("Types", "deb"), ("URIs", uri), ("Suites", repository.suite)]
    if not repository.suite.endswith("/"):
        stanza.append(("Components", " ".join(repository.components)))
    if repository.key is not None:
        key = f"/etc/apt/keyrings/{name}.{_kind_of_key(definition, repository.key)}"
        stanza.append(("Signed-By", key))
        yield File(path=key, source=repository.key)
    yield File(path=f"/etc/apt/sources.list.d/{name}.sources", content=_text(stanza))
    if repository.pin is not None:
        pins = [
            _text([("Package", "*"), ("Pin", pin), ("Pin-Priority", str(repository.pin))]) for pin in _pins(repository)
        ]
        yield File(path=f"/etc/apt/preferences.d/{name}", content="\n".join(pins))


def _pins(repository: Repository) -> tuple[str, ...]:
    """Return what picks out its packages: a suite of Debian's by either name, another's by where it is."""
    if not repository.uri:
        return (f"release o=Debian*, n={repository.suite}", f"release o=Debian*, a={repository.suite}")
    return (f'origin "{urlsplit(repository.uri).hostname or ""}"',)


def _kind_of_key(definition: Definition, key: str) -> str:
    """Return how a key's name must end, so that apt knows whether it is text or binary."""
    try:
        with (definition.home.parent / key).open("rb") as file:
            return "asc" if file.read(4096).lstrip().startswith(_ARMOUR) else "gpg"
    except OSError as problem:
        raise UsageError(f"{definition.home}: cannot read the key {key}: {problem.strerror}") from problem


def _text(fields: list[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in fields)
