"""A profile as a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.samples import sample, task
from vmtasks.profile.plot import Panel, drawn, panels, plot, round_up
from vmtasks.profile.sample import Sample

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - it is ours


def many(number: int, threads: int = 1) -> list[Sample]:
    return [sample(at, *(task(f"CPU {n}/KVM", at / 2, n) for n in range(threads))) for at in range(number)]


def test_a_picture_has_a_title_units_a_legend_and_lines() -> None:
    svg = plot("bookworm", many(5))
    found = texts(svg)
    assert found[0] == "bookworm: what its QEMU took of the host"
    assert {"processor time, % of one core", "memory, MiB", "drives of the machine, MiB/s"} <= {*found}
    assert {"CPU 0/KVM", "all of QEMU", "resident", "its own", "read", "written", "4.0 s"} <= {*found}
    lines = [*ET.fromstring(svg).iter(f"{SVG}polyline")]  # noqa: S314
    assert len(lines) == 6
    assert [len(line.attrib["points"].split()) for line in lines] == [4, 4, 5, 5, 4, 4]


def test_points_are_within_their_panel_and_at_their_height() -> None:
    svg = drawn("t", [Panel(title="p", lines={"a": ((0.0, 0.0), (5.0, 100.0), (10.0, 50.0))})])
    (line,) = ET.fromstring(svg).iter(f"{SVG}polyline")  # noqa: S314
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert x1 - x0 == x2 - x1 > 0
    assert y0 - y1 == 2 * (y2 - y1) > 0


def test_names_cannot_break_it() -> None:
    name = '</text><script x="&\x1b'
    assert name[:-1] + "?" in texts(drawn(name, [Panel(title="p", lines={name: ((0.0, 1.0),)})]))


def test_what_is_not_supported_is_said_in_its_place() -> None:
    samples = [one._replace(block=None, not_supported={"block": "QEMU refused"}) for one in many(3)]
    assert "not supported: QEMU refused" in texts(plot("m", samples))


def test_threads_that_nobody_has_seen_have_no_line() -> None:
    samples = [sample(at, task("qemu", at / 4), cpu_s=at) for at in range(3)]
    assert [*panels(samples)[0].lines] == ["all of QEMU", "qemu"]


def test_it_stays_small() -> None:
    first, *others = panels(many(3, threads=64))[0].lines
    assert first == "all of QEMU"
    assert len(others) <= 5
    assert len(plot("m", many(2000, threads=8))) < 100_000


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.004, 0.01), (0.3, 0.5), (1, 1), (99, 100), (101, 200), (201, 500), (7.5e9, 1e10)]
)
def test_scales_end_at_a_round_number(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)
