"""The report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pagethrift import __version__
from pagethrift.report import calibration
from pagethrift.report.against import Comparison, comparisons
from pagethrift.report.drawing import inline_svg
from pagethrift.report.estimate import BOOTSTRAP_RUNS, CONFIDENCE, RESAMPLES
from pagethrift.report.facts import Facts, machine_facts, mixed, mode_facts, scenario_facts
from pagethrift.report.figures import Figure, round_figures, scatter_figure, time_line_figures
from pagethrift.report.load import Loaded
from pagethrift.report.measures import MEASURES, Measure
from pagethrift.report.overview import overviews
from pagethrift.report.runs import Run
from pagethrift.report.summary import Row, by_scenario, further_measures, rows


@dataclass(frozen=True, slots=True)
class _Section:
    """One scenario for the template."""

    key: str
    name: str
    rows: list[Row]
    measures: list[Measure]
    """the measures that any run has"""
    comparisons: dict[str, list[Comparison]]
    memcaslap: list[Figure]
    time_lines: list[Figure]
    rounds: list[Figure]
    scatter: Figure | None
    machine: Facts
    scenario: Facts
    settings: dict[str, str]
    mixed: list[str]


def figures(loaded: Loaded) -> list[Figure]:
    """Return all figures of a report, in its order."""
    found = (_figures(section) for section in _sections(loaded.runs))
    return list(chain.from_iterable(found))


def html(loaded: Loaded, command: str) -> str:
    """Return the page; ``command``, which made it, is shown at its end."""
    environment = Environment(
        loader=PackageLoader("pagethrift.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = _sections(loaded.runs)
    return environment.get_template("page.html").render(
        sections=sections,
        overviews=overviews(by_scenario(loaded.runs)),
        runs=loaded.runs,
        forecasts=calibration.table(loaded.runs),
        forecast_headings=calibration.HEADINGS,
        forecast_note=calibration.NOTE,
        left_out=loaded.left_out,
        machine=machine_facts(loaded.runs),
        mixed=mixed(machine_facts(loaded.runs)),
        command=command,
        version=__version__,
        svg=_drawn,
        bootstrap_runs=BOOTSTRAP_RUNS,
        confidence=f"{CONFIDENCE:.0%}",
        resamples=RESAMPLES,
    )


def _sections(runs: Sequence[Run]) -> list[_Section]:
    return [_section(f"s{i}", name, group) for i, (name, group) in enumerate(by_scenario(runs).items(), 1)]


def _section(key: str, name: str, runs: list[Run]) -> _Section:
    summary = rows(runs)
    machine, scenario = machine_facts(runs), scenario_facts(runs)
    return _Section(
        key=key,
        name=name,
        rows=summary,
        measures=[
            measure
            for measure in (*MEASURES, *further_measures(runs))
            if any(row.estimates.get(measure.key) for row in summary)
        ],
        comparisons=comparisons(runs),
        memcaslap=time_line_figures(key, runs, memcaslap=True),
        time_lines=time_line_figures(key, runs),
        rounds=round_figures(key, runs),
        scatter=scatter_figure(key, runs),
        machine=machine,
        scenario=scenario,
        settings=mode_facts(runs),
        mixed=mixed(machine) + mixed(scenario),
    )


def _figures(section: _Section) -> list[Figure]:
    scatter = [section.scatter] if section.scatter else []
    return [*section.memcaslap, *section.time_lines, *section.rounds, *scatter]


def _drawn(figure: Figure) -> Markup:
    return inline_svg(figure.draw, figure.size_in, figure.key, figure.title, figure.description)
