"""The record of a whole evacuation: what was planned, and what came of it, guest by guest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pagethrift.drain.forecasts import Known
from pagethrift.drain.state import Stage, State
from pagethrift.errors import UsageError
from pagethrift.evacuation.outline import Outline
from pagethrift.evacuation.plan import Plan
from pagethrift.evacuation.timetable import Timetable
from pagethrift.given_file import read_bytes
from pagethrift.model.result import MigrationResult

SCHEMA, VERSION = "pagethrift.evacuation", 1


def planned(plan: Plan, made: Outline, known: Mapping[str, Known]) -> dict[str, Any]:
    """Return the plan as data: who leaves when, who will not make it, what others would come to.

    Times are seconds, with pre-staging from the word to go on; null: never, or not known.
    """
    policy = made.choice.chosen.policy
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "deadline_s": made.deadline_s,
        "policy": {
            "name": policy.name,
            "order": list(policy.order), "at_once": policy.at_once, "per_destination": policy.per_destination,
            "careful": policy.careful,
        },
        **_totals(made.choice.chosen, made.deadline_s),
        "guests": [_finite(asdict(each)) for each in made.outlooks],
        "baselines": [
            {"name": each.policy.name, **_totals(each, made.deadline_s)} for each in made.choice.baselines
        ],
        "staging": None,
        "warnings": [each.warning for each in known.values() if each.warning],
    }  # fmt: skip
    if made.staging is not None:
        staging = made.staging
        left = [
            each.name for each in plan.guests if each.name in made.guests and each.name not in staging.staged
        ]
        data["staging"] = {
            "staged": list(staging.staged), "ready_s": _number(staging.ready_s), "kept_bps": staging.kept_bps,
            "not_staged": left,
        }  # fmt: skip
    return data


def carried_out(
    plan: Plan,
    made: Outline,
    known: Mapping[str, Known],
    state: State,
    folder: Path,
    ended_unix_s: float,
    interrupted: bool,
) -> dict[str, Any]:
    """Return the record of an evacuation that has ended, however it ended."""
    deadline_unix_s = plan.deadline.unix_s(state.began_unix_s)
    guests = [
        _guest(each.name, state, folder, deadline_unix_s, each.downtime_limit_s) for each in plan.guests
    ]
    outs = [each["out_s"] for each in guests if each["out_s"] is not None]
    stages = [state.guests[each.name].stage for each in plan.guests]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "plan": state.plan,
        "began_unix_s": state.began_unix_s,
        "went_unix_s": state.went_unix_s,
        "ended_unix_s": ended_unix_s,
        "deadline_s": deadline_unix_s - state.began_unix_s,
        "interrupted": interrupted,
        "empty": all(each is Stage.OUT for each in stages),
        "in_time": all(each["in_time"] for each in guests),
        "last_out_s": max(outs, default=None),
        "bytes": sum(each["bytes"] or 0 for each in guests),
        "guests": guests,
        "planned": planned(plan, made, known),
    }


def _guest(name: str, state: State, folder: Path, deadline_unix_s: float, limit_s: float) -> dict[str, Any]:
    known = state.guests[name]
    result = result_of(folder / f"{name}.json", known.id)
    ended_unix_s = known.ended_unix_s or (result.ended_unix_s if result is not None else None)
    out_unix_s = ended_unix_s if known.stage is Stage.OUT else None
    downtime_s = result.downtime_s if result is not None else None
    return {
        "name": name,
        "stage": known.stage.value,
        "began_s": known.began_unix_s - state.began_unix_s if known.began_unix_s is not None else None,
        "out_s": out_unix_s - state.began_unix_s if out_unix_s is not None else None,
        # without a time it was out before this evacuation began
        "in_time": known.stage is Stage.OUT and (out_unix_s is None or out_unix_s <= deadline_unix_s),
        "downtime_s": downtime_s,
        "downtime_limit_s": result.downtime_limit_s if result is not None else limit_s,
        "within_limit": downtime_s <= result.downtime_limit_s if result is not None and downtime_s else None,
        "forced": result.forced_at_s is not None if result is not None else None,
        "total_time_s": result.total_time_s if result is not None else None,
        "bytes": result.transferred_bytes if result is not None else None,
        "said": known.said,
    }


def result_of(path: Path, id: str) -> MigrationResult | None:
    """Return the result of this very migration; None: there is none."""
    try:
        found = MigrationResult.from_json(read_bytes(path))
    except UsageError:
        return None
    return found if id and found.migration_id == id else None


def to_json(data: Mapping[str, Any]) -> str:
    """Return a record's text."""
    return json.dumps(data, indent=1) + "\n"


def _totals(found: Timetable, deadline_s: float) -> dict[str, Any]:
    never = [each.name for each in found.leavings if not math.isfinite(each.out_s)]
    return {
        "last_out_s": found.last_out_s, "late": list(found.late(deadline_s)), "never": never,
        "bytes": found.bytes, "forced": [each.name for each in found.leavings if each.forced],
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finite(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in data.items()}
