"""Who may run the lab, and what the others are told."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import cache
from pagethrift.lab.hosts.namespaces import require_rights


def run_without_rights(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with every capability dropped and a fresh cache folder."""
    command = [sys.executable, "-m", "pagethrift", *arguments]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv here; run scripts/setup-system.sh as root")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", *command]
    env = {**os.environ, "PAGETHRIFT_CACHE": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.slow
def test_a_run_without_rights_is_one_line_and_exit_code_6(tmp_path: Path) -> None:
    scenario = tmp_path / "s.toml"
    scenario.write_text('[guest]\nmemory = "256MiB"\n')
    done = run_without_rights(tmp_path, "lab", "run", str(scenario), "--out", str(tmp_path / "out"))
    assert done.returncode == 6
    assert done.stdout == ""
    assert done.stderr.startswith("pagethrift: the lab makes network namespaces")
    assert done.stderr.endswith("run it as root (sudo)\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_doctor_without_rights_lists_what_lacks(tmp_path: Path) -> None:
    done = run_without_rights(tmp_path, "lab", "doctor", "--json")
    assert done.returncode == 6
    assert done.stderr == ""
    statuses = {check["name"]: check["status"] for check in json.loads(done.stdout)}
    assert statuses["root"] == "missing"
    assert statuses["network namespaces"] == "missing"
    assert statuses["cores"] in ("ok", "degraded")


@pytest.mark.usefixtures("lab_network")
def test_root_has_the_rights() -> None:
    require_rights()


def test_a_cache_that_cannot_be_made_is_a_lab_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LabError, match=r"cannot make the cache .*set PAGETHRIFT_CACHE"):
        cache.cache_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("lab_network")
def test_a_user_namespace_serves_in_place_of_root() -> None:
    code = (
        "from pagethrift.lab.hosts.namespaces import require_rights\n"
        "from pagethrift.lab.hosts.network import TwoHosts\n"
        "require_rights()\nwith TwoHosts(link_bps=1_000_000) as hosts: print(hosts.bytes_sent())"
    )
    script = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", script, "sh"]
    allowed = subprocess.run([*command, "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip(f"no user namespaces here: {allowed.stderr.decode().strip()}")
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr
