"""Typed TOML: what is read, and the sentences for what is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from vmtasks.config import toml
from vmtasks.errors import Outcome, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    size: int = field(metadata={"says": "mm", "at_least": 1})
    maker: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    power_kw: float = field(default=50.0, metadata={"says": "power in kW", "at_least": 0, "env": "CAR_POWER"})
    fuel: Literal["petrol", "none"] = field(default="petrol", metadata={"env": "CAR_FUEL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    serial: int = field(default=0, metadata={"key": None})
    name: str
    from_: str | None = None
    doors: int | None = field(default=None, metadata={"says": "how many", "env": "CAR_DOORS"})
    is_fast: bool = field(default=False, metadata={"env": "CAR_FAST"})
    manual: Path = Path("manual.txt")
    colours: tuple[str, ...] = field(default=(), metadata={"env": "CAR_COLOURS"})
    wheels: tuple[Wheel, ...] = ()
    engine: Engine = Engine()
    spare: Wheel | None = None
    labels: dict[str, str] = field(default_factory=dict)
    drivers: dict[str, Engine] = field(default_factory=dict)


def refusal(table: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        toml.parse(Car, {"name": "Ida", **table}, where="car.toml")
    assert caught.value.outcome is Outcome.USAGE
    return str(caught.value)


def test_reads_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "car.toml"
    path.write_text(
        """
        name = "Ida"
        from = "Emden"
        doors = 4
        is-fast = true
        manual = "doc/ida.txt"
        colours = ["red", "grün"]
        labels = { owner = "me" }
        engine = { power_kw = 75, fuel = "none" }
        spare = { size = 300 }
        [[wheels]]
        size = 400
        [[wheels]]
        size = 401
        maker = "Otto"
        """,
        encoding="utf-8",
    )
    car = toml.load(Car, path)
    assert car == Car(
        name="Ida",
        from_="Emden",
        doors=4,
        is_fast=True,
        manual=Path("doc/ida.txt"),
        colours=("red", "grün"),
        wheels=(Wheel(size=400), Wheel(size=401, maker="Otto")),
        engine=Engine(power_kw=75.0, fuel="none"),
        spare=Wheel(size=300),
        labels={"owner": "me"},
    )
    assert isinstance(car.engine.power_kw, float)


def test_absent_keys_have_their_defaults() -> None:
    assert toml.parse(Car, {"name": "Ida"}, where="car.toml") == Car(name="Ida")


def test_over_keeps_what_the_table_does_not_say() -> None:
    below = Car(name="Ida", doors=2, serial=7, engine=Engine(power_kw=10.0, fuel="none"))
    car = toml.parse(Car, {"doors": 3, "engine": {"power_kw": 20}}, where="car.toml", over=below)
    assert car == Car(name="Ida", doors=3, serial=7, engine=Engine(power_kw=20.0, fuel="none"))


def test_tables_by_name_lie_over_each_other_key_by_key() -> None:
    below = Car(name="Ida", drivers={"a": Engine(power_kw=10.0, fuel="none"), "b": Engine(power_kw=1.0)})
    drivers = {"a": {"power_kw": 20}, "c": {"power_kw": 3}}
    car = toml.parse(Car, {"drivers": drivers}, where="car.toml", over=below)
    assert car.drivers == {
        "a": Engine(power_kw=20.0, fuel="none"),
        "b": Engine(power_kw=1.0),
        "c": Engine(power_kw=3.0),
    }


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            {"drivers": {"a": {"fuel": "coal"}}},
            'car.toml: key \'fuel\' in [drivers.a] must be one of "petrol", "none", not the text "coal"',
        ),
        (
            {"drivers": {"a": "fast"}},
            "car.toml: key 'drivers' must be a table of tables, not a table that holds the text \"fast\"",
        ),
        ({"dors": 4}, "car.toml: unknown key 'dors'; did you mean 'doors'?"),
        ({"engine": {"powr-kw": 4}}, "car.toml: unknown key 'powr-kw' in [engine]; did you mean 'power_kw'?"),
        ({"engine": {"zzz": 4}}, "car.toml: unknown key 'zzz' in [engine]; known are 'power_kw', 'fuel'"),
        ({"from_": "Emden"}, "car.toml: unknown key 'from_'; did you mean 'from'?"),
        (
            {"is-fast": True, "is_fast": True},
            "car.toml: key 'is_fast' is given twice, by two of its names",
        ),
        ({"doors": "2G"}, "car.toml: key 'doors' must be a whole number (how many), not the text \"2G\""),
        ({"doors": True}, "car.toml: key 'doors' must be a whole number (how many), not true"),
        ({"doors": 4.0}, "car.toml: key 'doors' must be a whole number (how many), not the number 4.0"),
        ({"is_fast": 1}, "car.toml: key 'is_fast' must be true or false, not the number 1"),
        ({"manual": ["a"]}, "car.toml: key 'manual' must be a path, not a list"),
        ({"colours": "red"}, "car.toml: key 'colours' must be a list of texts, not the text \"red\""),
        ({"colours": ["a", 3]}, "car.toml: key 'colours' must be a list of texts, not a list that holds the number 3"),
        ({"labels": {"a": []}}, "car.toml: key 'labels' must be a table of texts, not a table that holds a list"),
        ({"wheels": {"size": 1}}, "car.toml: key 'wheels' must be an array of tables, not a table"),
        ({"engine": "big"}, "car.toml: key 'engine' must be a table, not the text \"big\""),
        (
            {"engine": {"fuel": "coal"}},
            'car.toml: key \'fuel\' in [engine] must be one of "petrol", "none", not the text "coal"',
        ),
        (
            {"engine": {"power_kw": True}},
            "car.toml: key 'power_kw' in [engine] must be a number of at least 0 (power in kW), not true",
        ),
        (
            {"engine": {"power_kw": float("nan")}},
            "car.toml: key 'power_kw' in [engine] must be a number of at least 0 (power in kW), not the number nan",
        ),
        (
            {"wheels": [{"size": 1}, {"size": 0}]},
            "car.toml: key 'size' in [[wheels]] number 2 must be a whole number of at least 1 (mm), not the number 0",
        ),
        (
            {"wheels": [{}]},
            "car.toml: key 'size' in [[wheels]] number 1 is missing; it must be a whole number of at least 1 (mm)",
        ),
    ],
)
def test_one_sentence_for_each_mistake(table: dict[str, Any], sentence: str) -> None:
    assert refusal(table) == sentence


def test_a_field_without_key_cannot_be_set() -> None:
    assert refusal({"serial": 3}).startswith("car.toml: unknown key 'serial'")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"^car.toml: key 'name' is missing; it must be a text$"):
        toml.parse(Car, {}, where="car.toml")


def test_a_whole_number_beyond_floats_is_refused() -> None:
    assert "no number so large" in refusal({"engine": {"power_kw": 10**400}})


def test_a_long_text_is_cut_in_the_message() -> None:
    assert len(refusal({"doors": "x" * 10_000})) < 200


def test_a_date_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "car.toml"
    path.write_text("name = 2025-01-01\n")
    with pytest.raises(UsageError, match=r"key 'name' must be a text, not the date or time 2025-01-01$"):
        toml.load(Car, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = 'Ida'\ndoors = = 4\n", r"line 2, column 9"),
        (b"name = 'Ida'\n\ndoors = \xff\n", r"line 3 is not UTF-8"),
        (b"doors = " + b"9" * 5000, r"not valid TOML"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "car.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        toml.load(Car, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*/nowhere.toml: No such file or directory"):
        toml.load(Car, tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        toml.load(Car, tmp_path)


def test_the_environment_overrides() -> None:
    environ = {
        "CAR_DOORS": "5",
        "CAR_FAST": "Yes",
        "CAR_COLOURS": "red 'dark blue'",
        "CAR_POWER": "1.5",
        "CAR_FUEL": "none",
        "OTHER": "x",
    }
    car = toml.override(Car(name="Ida", doors=2), environ)
    assert car == Car(
        name="Ida", doors=5, is_fast=True, colours=("red", "dark blue"), engine=Engine(power_kw=1.5, fuel="none")
    )


def test_an_empty_variable_says_nothing() -> None:
    car = Car(name="Ida", doors=2)
    assert toml.override(car, {"CAR_DOORS": "", "CAR_COLOURS": "", "": "x"}) == car


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("CAR_DOORS", "2G", 'environment variable CAR_DOORS must be a whole number (how many), not the text "2G"'),
        ("CAR_FAST", "perhaps", 'environment variable CAR_FAST must be true or false, not the text "perhaps"'),
        (
            "CAR_POWER",
            "-1",
            "environment variable CAR_POWER must be a number of at least 0 (power in kW), not the number -1.0",
        ),
        (
            "CAR_FUEL",
            "coal",
            'environment variable CAR_FUEL must be one of "petrol", "none", not the text "coal"',
        ),
        ("CAR_COLOURS", "'red", 'environment variable CAR_COLOURS must be a list of texts, not the text "\'red"'),
    ],
)
def test_a_bad_variable_is_a_usage_error(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        toml.override(Car(name="Ida"), {variable: value})
    assert str(caught.value) == sentence
