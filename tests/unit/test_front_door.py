"""`import pagethrift`: cheap, complete, and the same for programs, editors and type checkers."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pagethrift
from pagethrift import errors
from pagethrift.engine.thin import thin
from pagethrift.strategies.table import strategy
from pagethrift.trace.synthetic import Load
from tests.streams import random_stream
from tests.traces import made, run

SOURCE = Path(pagethrift.__file__)


def loaded_by(program: str) -> set[str]:
    """Return the modules in memory after a program, in an interpreter of its own."""
    program += "\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_it_is_cheap() -> None:
    ours = {name for name in loaded_by("import pagethrift; dir(pagethrift)") if name.startswith("pagethrift")}
    assert ours == {"pagethrift", "pagethrift.errors"}
    assert loaded_by("import pagethrift").isdisjoint({"numpy", "numba", "pyarrow", "typer", "asyncio"})


def test_who_reads_a_result_loads_no_arrays() -> None:
    assert loaded_by("from pagethrift import read_result, read_runs").isdisjoint(
        {"numpy", "numba", "pyarrow"}
    )


def test_every_name_can_be_had() -> None:
    for name in pagethrift.__all__:
        assert getattr(pagethrift, name) is not None
        assert name in dir(pagethrift)
    with pytest.raises(AttributeError, match="no attribute 'compress'"):
        pagethrift.compress  # noqa: B018


def test_no_name_is_a_module_too() -> None:
    """Importing the module would replace the function: `pagethrift.simulator` is one."""
    modules = {module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])}
    assert modules.isdisjoint(pagethrift.__all__)


def test_type_checkers_see_what_programs_get() -> None:
    checked: dict[str, str] = {}
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pagethrift."):
            checked |= {alias.name: (node.module or "").removeprefix("pagethrift.") for alias in node.names}
    lazy = {name: home for home, names in pagethrift._HOMES.items() for name in names}
    errors = {name: "errors" for name in checked if checked[name] == "errors"}
    assert checked == lazy | errors
    assert sorted([*checked, "__version__"]) == sorted(pagethrift.__all__)


def test_every_error_can_be_caught_by_name() -> None:
    classes = {name for name, each in vars(errors).items() if isinstance(each, type)}
    assert classes <= {*pagethrift.__all__}
    assert issubclass(pagethrift.GuestError, pagethrift.PagethriftError)


def test_thin_with_defaults() -> None:
    stream = random_stream(seed=1)
    thinned = pagethrift.thin(stream)
    assert len(thinned) < len(stream)
    # The key never reaches the stream.
    assert thinned == thin(stream, strategy("pagethrift"), bytes(32))
    assert pagethrift.thin(stream, "kvm-default") == stream
    assert pagethrift.thin(stream, pagethrift.strategy("thesis"), secret=bytes(32)) == pagethrift.thin(
        stream, "thesis"
    )


def test_thin_draws_a_fresh_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []

    def remember(stream: bytes, strategy: object, secret: bytes) -> bytes:
        keys.append(secret)
        return stream

    monkeypatch.setattr("pagethrift.engine.thin.thin", remember)
    for _ in range(2):
        pagethrift.thin(b"")
    assert len({*keys}) == 2
    assert {len(key) for key in keys} == {32}


def test_refusals_are_ours() -> None:
    with pytest.raises(pagethrift.UsageError, match="no strategy 'fast'"):
        pagethrift.thin(b"", "fast")
    with pytest.raises(pagethrift.UsageError, match="thesis-literal"):
        pagethrift.thin(b"", "thesis-literal")
    with pytest.raises(pagethrift.StreamError):
        pagethrift.thin(random_stream(seed=1)[:5000])


def test_simulating_by_name_and_by_object(tmp_path: Path) -> None:
    expected = run(made(tmp_path, Load.UNIFORM), "pagethrift")
    trace = pagethrift.read_trace(str(tmp_path / "uniform.parquet"))
    options = pagethrift.SimulateOptions(pagethrift.LinkSpec(pagethrift.parse_bandwidth("100Mbit")))
    assert pagethrift.simulate(trace, options) == expected
    assert pagethrift.simulate(trace, options, pagethrift.strategy("pagethrift")) == expected
    # No relay could run it; a simulator can.
    assert pagethrift.simulate(trace, options, "thesis-literal").stale_pages is not None


def test_reading_results(tmp_path: Path) -> None:
    result = run(made(tmp_path), "hu")
    file = tmp_path / "result.json"
    file.write_text(result.to_json())
    assert pagethrift.read_result(str(file)) == result
    assert [each.migration for each in pagethrift.read_runs(str(tmp_path))] == [result]
    assert [each.mode for each in pagethrift.read_runs(file, file)] == ["hu"]
    with pytest.raises(pagethrift.UsageError, match=r"cannot read .*absent"):
        pagethrift.read_result(tmp_path / "absent")
    file.write_text("{}")
    with pytest.raises(pagethrift.UsageError, match=r"result\.json: not a migration result"):
        pagethrift.read_result(file)
