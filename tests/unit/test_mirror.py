"""Every source file that decides something has its test file, at the same place in tests/unit.

A new file needs its mirror, or a line here that says why it has none.
"""

from __future__ import annotations

from pathlib import Path

UNIT = Path(__file__).parent
SOURCES = UNIT.parents[1] / "src/pagethrift"

NOTHING_TO_DECIDE = {
    "__main__.py", "results/label.py", "results/result.py", "stream/encoding/head.py",
    "model/facts.py", "model/methods.py", "service/limits.py", "strategies/base.py",
    "stream/events.py", "stream/wire.py",
}  # fmt: skip
"""data, protocols, constants"""

ELSEWHERE = {
    "live/check.py": "qemu/live/test_check.py",
    "live/chosen.py": "unit/virt/test_attach.py",
    "cli/evacuation_view.py": "qemu/live/test_evacuate.py",
    "drain/child.py": "unit/drain/test_state.py",
    "drain/record.py": "qemu/live/test_evacuate.py",
    "evacuation/advice.py": "unit/evacuation/test_outline.py",
    "evacuation/forecasts.py": "unit/drain/test_forecasts.py",
    "evacuation/link.py": "unit/evacuation/test_planner.py",
    "evacuation/policy.py": "unit/evacuation/test_planner.py",
    "evacuation/staging.py": "unit/evacuation/test_outline.py",
    "evacuation/timetable.py": "unit/evacuation/test_planner.py",
    "cli/exits.py": "unit/cli/test_ending.py",
    "engine/forwarder.py": "unit/engine/test_thinner.py",
    "engine/held.py": "unit/engine/test_holding.py",
    "results/find.py": "unit/report/test_load.py",
    "shortcuts.py": "unit/test_front_door.py",
    "stream/encoding/delta.py": "unit/stream/test_writer.py",
    "stream/encoding/full.py": "unit/stream/test_writer.py",
    "stream/encoding/sparse.py": "unit/stream/test_writer.py",
    "stream/encoding/zero.py": "unit/stream/test_writer.py",
    "kernels/jit.py": "unit/test_kernels.py",
    "kernels/machine_code.py": "unit/test_build.py",
    "lab/clients.py": "lab/test_migration.py",
    "lab/guest/monitor.py": "qemu/test_dirty_rate.py",
    "lab/link/tunnels.py": "unit/lab/link/test_route.py",
    "lab/load/connection.py": "unit/lab/load/test_generator.py",
    "lab/recording.py": "lab/test_record.py",
    "lab/run.py": "lab/test_migration.py",
    "lab/run_files.py": "unit/lab/test_compare.py",
    "live/destination.py": "qemu/live/test_migrate.py",
    "live/ends.py": "qemu/live/test_migrate_failures.py",
    "engine/thin.py": "unit/engine/test_thinner.py",
    "lab/encryption.py": "lab/test_migration.py",
    "live/helm.py": "unit/live/test_pilot.py",
    "live/logging_decider.py": "qemu/live/test_logging_decider.py",
    "cli/watched.py": "unit/cli/test_forecast.py",
    "live/dry_run.py": "qemu/test_record.py",
    "live/recorder.py": "qemu/test_record.py",
    "simulator/workers.py": "unit/simulator/test_sweep.py",
    "live/settings.py": "qemu/live/test_switchover.py",
    "relay/connecting.py": "unit/relay/test_tls_connection.py",
    "relay/session.py": "unit/relay/test_session_faults.py",
    "lab/guest/libvirt.py": "libvirt/test_migrate.py",
    "virt/ends.py": "unit/virt/test_migrate.py",
    "virt/hypervisor.py": "unit/virt/test_migrate.py",
    "virt/events.py": "unit/virt/test_migrate.py",
    "virt/pilot.py": "unit/virt/test_migrate.py",
    "service/connector.py": "unit/service/test_serve.py",
    "service/entrance.py": "unit/service/test_serve.py",
    "service/migration.py": "unit/service/test_serve.py",
    "virt/record.py": "unit/virt/test_migrate.py",
    "simulator/simulate_options.py": "unit/simulator/test_virtual_migration.py",
    "strategies/kvm_auto_converge.py": "unit/strategies/test_kvm.py",
    "strategies/kvm_default.py": "unit/strategies/test_kvm.py",
    "strategies/kvm_post_copy.py": "unit/strategies/test_kvm.py",
    "strategies/kvm_xbzrle.py": "unit/strategies/test_kvm.py",
    "strategies/stop/kubevirt.py": "unit/strategies/stop/test_ladders.py",
    "strategies/stop_table.py": "unit/strategies/test_table.py",
    "strategies/thesis_literal.py": "unit/strategies/test_table.py",
    "strategies/xen_libxl.py": "unit/strategies/test_xen.py",
    "trace/format.py": "unit/trace/test_write.py",
    "trace/read.py": "unit/trace/test_write.py",
    "trace/sweeps.py": "unit/trace/test_measure.py",
}
"""files that are tested with others, or only with real machines: the test file under tests/"""


def mirror(source: str) -> Path:
    path = Path(source)
    return UNIT / path.parent / f"test_{path.name}"


def test_every_source_file_has_its_test_file() -> None:
    sources = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if path.name != "__init__.py"}
    without = {source for source in sources if not mirror(source).exists()}
    excused = NOTHING_TO_DECIDE | ELSEWHERE.keys()
    assert without - excused == set(), "write these files' tests, or say here why they have none"
    assert excused - without == set(), "these have their tests now, or are gone: take them off the list"


def test_a_file_has_one_excuse_and_the_tests_named_exist() -> None:
    assert not NOTHING_TO_DECIDE & ELSEWHERE.keys()
    assert [test for test in ELSEWHERE.values() if not (UNIT.parent / test).exists()] == []
