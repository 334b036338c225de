"""Devices for tests, and the checks after every test."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support import drivers, vulkan_objects

CHOSEN: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
PASSED: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--devices",
        default=os.environ.get("TEST_DEVICES", ""),
        help=f"only these devices, separated by commas: {', '.join(drivers.KINDS)} "
        "(default: what each test asks for; "
        "gpu stands for the Vulkan device that the library picks by itself and takes lavapipe's place)",
    )


def pytest_configure(config: pytest.Config) -> None:
    chosen = tuple(kind for kind in config.getoption("--devices").split(",") if kind)
    unknown = [kind for kind in chosen if kind not in drivers.KINDS]
    if unknown:
        raise pytest.UsageError(f"--devices: there is no {', '.join(unknown)}; there are {', '.join(drivers.KINDS)}")
    config.stash[CHOSEN] = chosen
    drivers.choose_drivers(chosen)
    vulkan_objects.count_from_now_on()


def _kinds(metafunc: pytest.Metafunc) -> list[str]:
    """The devices of one test function, before ``--devices`` restricts them."""
    marker = metafunc.definition.get_closest_marker("drivers")
    if marker is not None:
        return [str(kind) for kind in marker.args]
    everywhere = metafunc.definition.get_closest_marker("every_driver") is not None
    conformance = "conformance" in Path(metafunc.definition.path).parts
    return ["cpu", "lavapipe", "swiftshader"] if everywhere or conformance else ["cpu", "lavapipe"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" not in metafunc.fixturenames or any(
        "device" in str(marker.args[0]).replace(",", " ").split() for marker in metafunc.definition.iter_markers("parametrize")
    ):
        return
    kinds, chosen = _kinds(metafunc), metafunc.config.stash[CHOSEN]
    if chosen:
        if "gpu" in chosen and any(kind != "cpu" for kind in kinds):
            kinds.append("gpu")
        kinds = [kind for kind in kinds if kind in chosen]
    metafunc.parametrize("device", kinds, indirect=True, ids=kinds)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a device, to be passed as ``device=...``. A missing driver is a failure, not a skip."""
    try:
        name = drivers.device_name(request.param)
    except drivers.MissingDriver as problem:
        pytest.fail(str(problem), pytrace=False)
    if request.node.get_closest_marker("fresh") is None:
        yield name
        return
    from tests.support.fresh import fresh

    with fresh(name) as alone:
        yield alone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that passed: no thread, no buffer, no Vulkan object and no validation message is left of it."""
    from tests.support import aftercheck

    threads, held = set(threading.enumerate()), aftercheck.bytes_in_use()
    yield
    said = aftercheck.validation_messages()
    try:
        problems = [f"the validation layers: {text}" for text in said]
        if request.node.stash.get(PASSED, False):  # otherwise its traceback keeps tensors alive
            problems += [f"a thread is left running: {name}" for name in aftercheck.left_over_threads(threads)]
            problems += aftercheck.leaked(held)
            problems += vulkan_objects.lost()
    finally:
        aftercheck.replace_failed_devices()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def no_watcher_left() -> Iterator[None]:
    """At the end of the session the watchers have gone by themselves."""
    from tests.support import aftercheck

    yield
    watchers = aftercheck.left_over_watchers(2.0)
    assert not watchers, f"still running: {watchers}"
