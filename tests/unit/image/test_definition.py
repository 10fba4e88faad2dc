"""Images as files: what they say, what they inherit, and the sentences for what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.image.definition import Definition, Ec2Image, find, names, read

SHIPPED = sorted((Path(__file__).resolve().parents[3] / "images").glob("*.toml"))
SUM = "0123456789abcdef" * 4

Say = Callable[[str, str], Path]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    images = tmp_path / "images"
    images.mkdir()
    return {"VMTASKS_IMAGES": str(images)}


@pytest.fixture
def say(environ: dict[str, str]) -> Say:
    """Write a definition."""

    def write(name: str, text: str) -> Path:
        path = Path(environ["VMTASKS_IMAGES"], f"{name}.toml")
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path, environ: dict[str, str]) -> str:
    with pytest.raises(UsageError) as caught:
        read(path, environ)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_we_ship_can_be_read(path: Path) -> None:
    definition = find(path.stem, {})
    assert definition.home == path
    assert definition.description
    assert definition.lineage[0].suite
    assert all(layer.architecture == definition.architecture for layer in definition.lineage)


def test_there_is_something_shipped() -> None:
    assert {"bookworm", "bookworm-build", "trixie", "trixie-build", "bookworm-i386", "bookworm-arm64"} <= set(names({}))


def test_an_unknown_image_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no image 'bookwrom'; did you mean 'bookworm'\?"):
        find("bookwrom", {})


def test_where_nothing_is_near_all_are_named() -> None:
    with pytest.raises(UsageError, match=r"there is no image '/etc/passwd'; known are bookworm, bookworm-arm64, "):
        find("/etc/passwd", {})


def test_own_images_come_before_ours(say: Say, environ: dict[str, str]) -> None:
    path = say("bookworm", 'suite = "bookworm"')
    assert find("bookworm", environ).home == path


@pytest.mark.parametrize("name", ["Upper", ".#bookworm", "with space"])
def test_a_file_whose_name_is_no_image_name_is_none(say: Say, environ: dict[str, str], name: str) -> None:
    say(name, 'suite = "bookworm"')
    assert name not in names(environ)
    with pytest.raises(UsageError, match="there is no image"):
        find(name, environ)


def test_a_layer_inherits_what_makes_the_machine(say: Say, environ: dict[str, str]) -> None:
    say(
        "base",
        """
        suite = "bookworm"
        architecture = "i386"
        mirror = "http://mirror.example/debian"
        description = "the base"
        packages = ["one"]
        modules = ["virtio_blk"]
        kernel_options = "quiet"
        memory_mib = 512
        cpus = 3
        disk_gib = 5
        network = "restricted"
        initrd = "stock"
        """,
    )
    say("layer", 'from = "base"\npackages = ["two"]')
    layer = find("layer", environ)
    assert layer.parent == find("base", environ)
    assert [image.name for image in layer.lineage] == ["base", "layer"]
    assert (layer.architecture, layer.mirror, layer.initrd) == ("i386", "http://mirror.example/debian", "stock")
    assert (layer.modules, layer.kernel_options) == (("virtio_blk",), "quiet")
    assert (layer.memory_mib, layer.cpus, layer.disk_gib, layer.network) == (512, 3, 5, "restricted")


def test_a_layer_does_not_inherit_what_is_in_the_tree_already(say: Say, environ: dict[str, str]) -> None:
    lists = 'boot_packages = ["one"]\npackages = ["two"]'
    say("base", f'suite = "bookworm"\ndescription = "the base"\n{lists}\n[[steps]]\nrun = "true"')
    say("layer", 'from = "base"')
    layer = find("layer", environ)
    assert (layer.suite, layer.description) == (None, "")
    assert layer.boot_packages == layer.packages == layer.steps == ()


def test_a_layer_may_override(say: Say, environ: dict[str, str]) -> None:
    say("base", 'suite = "bookworm"\nmemory_mib = 512\ncpus = 3')
    say("layer", 'from = "base"\nmemory_mib = 4096\nmodules = []')
    layer = find("layer", environ)
    assert (layer.memory_mib, layer.modules, layer.cpus) == (4096, (), 3)


def test_what_a_layer_says_of_ec2_goes_over_its_parents_key_by_key(say: Say, environ: dict[str, str]) -> None:
    say("base", 'suite = "bookworm"\n[ec2]\nowner = "1"\nname = "debian-*"')
    say("layer", 'from = "base"\n[ec2]\ninstance_type = "c7i.large"')
    ec2 = find("layer", environ).ec2
    assert ec2 == Ec2Image(owner="1", name="debian-*", instance_type="c7i.large")


def test_layers_can_stand_on_layers(say: Say, environ: dict[str, str]) -> None:
    say("one", 'suite = "bookworm"\ncpus = 7')
    say("two", 'from = "one"')
    say("three", 'from = "two"')
    assert find("three", environ).cpus == 7
    assert [image.name for image in find("three", environ).lineage] == ["one", "two", "three"]


def test_a_circle_is_told_all_the_way_round(say: Say, environ: dict[str, str]) -> None:
    say("one", 'from = "two"')
    say("two", 'from = "three"')
    say("three", 'from = "one"')
    with pytest.raises(UsageError, match="image 'one' stands on itself: one -> two -> three -> one"):
        find("one", environ)


def test_a_layer_cannot_stand_on_its_own_name(say: Say, environ: dict[str, str]) -> None:
    say("bookworm", 'from = "bookworm"')
    with pytest.raises(UsageError, match="stands on itself"):
        find("bookworm", environ)


def test_a_layer_on_nothing_says_so(say: Say, environ: dict[str, str]) -> None:
    assert "there is no image 'bookwormm'" in refusal(say("layer", 'from = "bookwormm"'), environ)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('description = "x"', "exactly one of 'suite', 'from', 'path' and 'url' is needed, and none is given"),
        ('suite = "sid"\nfrom = "bookworm"', "is needed, and 'suite' and 'from' is given"),
        ('suite = "sid"\npath = "x.qcow2"', "is needed, and 'suite' and 'path' is given"),
        ('url = "http://mirror.example/x"', "'url' needs 'sha256', so that what comes is what you meant"),
        (f'path = "x"\nsha256 = "{SUM[1:]}"', "key 'sha256' must be 64 hexadecimal digits in lower case"),
        (f'path = "x"\nsha256 = "{SUM.upper()}"', "key 'sha256' must be 64 hexadecimal digits in lower case"),
        ("from = 7", "key 'from' must be a text (the name of another image), not the number 7"),
        ('suite = "sid"\nmemory = 1', "unknown key 'memory'; did you mean 'memory_mib'?"),
        ('suite = "sid"\nname = "x"', "unknown key 'name'"),
        ('suite = "sid"\nmemory_mib = 1', "key 'memory_mib' must be a whole number of at least 64"),
        ('suite = "sid"\narchitecture = "x86_64"', 'must be one of "amd64", "i386", "arm64" (Debian\'s name for it)'),
        (
            'path = "x"\narchitecture = "arm64"',
            "a disk image boots through the BIOS, which machines for arm64 do not have",
        ),
        ('suite = "sid"\narchitecture = "arm64"\nboot_loader = "grub"', "'boot_loader' is for amd64 and i386"),
        ('suite = "sid"\ntree = "nowhere"', "/nowhere is not there"),
    ],
)
def test_what_is_wrong_is_said(say: Say, environ: dict[str, str], text: str, sentence: str) -> None:
    path = say("broken", text)
    message = refusal(path, environ)
    assert message.startswith(f"{path}: ")
    assert sentence in message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('path = "/a"', "[[files]] /a: exactly one of 'content' and 'source' is needed"),
        ('path = "/a"\ncontent = ""\nsource = "a"', "exactly one of 'content' and 'source' is needed"),
        ('path = "a"\ncontent = ""', "[[files]] a: the path must be absolute, without '..'"),
        ('path = "/a/../b"\ncontent = ""', "the path must be absolute, without '..'"),
        ('path = "/a"\ncontent = ""\nmode = "rw-r--r--"', 'mode must be octal, like "0644"'),
        ('path = "/a"\ncontent = ""\nmode = "99"', 'mode must be octal, like "0644"'),
        ('path = "/a"\nsource = "nowhere"', "/nowhere is not there"),
        ('content = ""', "key 'path' in [[files]] number 1 is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(say: Say, environ: dict[str, str], text: str, sentence: str) -> None:
    assert sentence in refusal(say("broken", f'suite = "sid"\n[[files]]\n{text}'), environ)


@pytest.mark.parametrize(
    ("parent", "layer", "sentence"),
    [
        ('suite = "sid"', "arm64", "'architecture' cannot be arm64: the image stands on 'base', which is amd64"),
        (
            'suite = "sid"\narchitecture = "arm64"',
            "amd64",
            "cannot be amd64: the image stands on 'base', which is arm64",
        ),
        ('suite = "sid"', "i386", "cannot be i386: the image stands on 'base', which is amd64"),
        ('path = "x"', "arm64", "a disk image boots through the BIOS"),
        (f'url = "http://x/y"\nsha256 = "{SUM}"', "arm64", "a disk image boots through the BIOS"),
    ],
)
def test_a_layer_is_of_its_parents_architecture(
    say: Say, environ: dict[str, str], parent: str, layer: str, sentence: str
) -> None:
    say("base", parent)
    assert sentence in refusal(say("layer", f'from = "base"\narchitecture = "{layer}"'), environ)


def test_a_layer_may_say_its_parents_architecture(say: Say, environ: dict[str, str]) -> None:
    say("base", 'suite = "sid"\narchitecture = "arm64"')
    assert read(say("layer", 'from = "base"\narchitecture = "arm64"'), environ).architecture == "arm64"


def test_an_empty_file_is_a_content(say: Say, environ: dict[str, str]) -> None:
    path = say("x", 'suite = "sid"\n[[files]]\npath = "/etc/empty"\ncontent = ""')
    assert read(path, environ).files[0].content == ""


def test_sources_are_the_files_and_the_tree_in_order(say: Say, environ: dict[str, str]) -> None:
    path = say("x", 'suite = "sid"\ntree = "tree"\n[[files]]\npath = "/a"\nsource = "a.conf"')
    beside = path.parent
    (beside / "a.conf").touch()
    for name in ("z", "etc/b", "etc/a"):
        file = beside / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (beside / "tree" / "dangling").symlink_to("nowhere")
    (beside / "tree" / "lib").symlink_to("etc")
    (beside / "tree" / "empty").mkdir()
    assert [str(source.relative_to(beside)) for source in read(path, environ).sources()] == [
        "a.conf", "tree/dangling", "tree/etc/a", "tree/etc/b", "tree/lib", "tree/z",
    ]  # fmt: skip


def test_a_disk_image_lies_beside_its_definition_or_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ida")
    home = Path("/srv/images/x.toml")
    assert Definition(name="x", home=home, path="x.raw").original == Path("/srv/images/x.raw")
    assert Definition(name="x", home=home, path="/y.raw").original == Path("/y.raw")
    assert Definition(name="x", home=home, path="~/z.raw").original == Path("/home/ida/z.raw")
    assert Definition(name="x", home=home, suite="sid").original is None
