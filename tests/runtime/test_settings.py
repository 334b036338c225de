"""Settings: one table of environment variables, read strictly, changed only for a while."""

from __future__ import annotations

from dataclasses import fields

import pytest

from rasptorch.runtime import settings
from rasptorch.runtime.settings import TABLE, Settings, read_environment


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for entry in TABLE:
        monkeypatch.delenv(entry.variable, raising=False)
    return monkeypatch


def test_every_setting_has_one_variable() -> None:
    assert [entry.field for entry in TABLE] == [f.name for f in fields(Settings)]
    assert all(entry.variable == f"RASPTORCH_{entry.field.upper()}" and entry.meaning for entry in TABLE)


def test_without_variables_the_defaults_hold(no_variables: pytest.MonkeyPatch) -> None:
    assert read_environment() == Settings()
    no_variables.setenv("RASPTORCH_IN_FLIGHT", "")
    assert read_environment() == Settings(), "an empty variable is no variable"


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.field)
def test_every_variable_is_read(entry: settings.Setting, no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv(entry.variable, "1")
    value = getattr(read_environment(), entry.field)
    assert value == {str: "1", bool: True}.get(type(getattr(Settings(), entry.field)), 1)
    assert type(value) is type(getattr(Settings(), entry.field))


def test_what_does_not_parse_is_named(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("RASPTORCH_IN_FLIGHT", "many")
    with pytest.raises(ValueError, match=r"^RASPTORCH_IN_FLIGHT='many' is not a whole number \(submissions"):
        read_environment()


def test_overriding_ends_with_the_block() -> None:
    before = settings.current.in_flight
    with settings.override(in_flight=7, staging="always") as now:
        assert (now.in_flight, settings.current.staging) == (7, "always")
        with settings.override(in_flight=8):
            assert settings.current.in_flight == 8
        assert settings.current.in_flight == 7
    assert (settings.current.in_flight, settings.current.staging) == (before, "auto")
    with pytest.raises(KeyError), settings.override(in_flight=9):
        raise KeyError
    assert settings.current.in_flight == before
    with pytest.raises(AttributeError), settings.override(no_such_setting=1):
        pass
