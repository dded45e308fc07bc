"""contrib/kubevirt: the manifest is whole, and its command lines are the programs'."""

from __future__ import annotations

import re

import pytest

from pagethrift import __version__
from pagethrift.address import Address
from pagethrift.service.ways import Pair
from tests.documents import ROOT
from tests.exchanging import INSTALLED, PODS, SLOTS, container, manifest, ways_of

UID = 107
"""KubeVirt's user of QEMU"""
POD = {
    "nodeSelector", "automountServiceAccountToken", "terminationGracePeriodSeconds", "initContainers",
    "containers", "volumes",
}  # fmt: skip
CONTAINER = {"name", "image", "command", "env", "securityContext", "resources", "volumeMounts"}
SECURITY = {
    "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation",
    "seLinuxOptions", "capabilities",
}  # fmt: skip
QUANTITY = re.compile(r"[0-9]+(m|Mi|Gi)?")


def test_it_is_a_daemonset_that_selects_its_own_pods() -> None:
    found = manifest()
    assert (found["apiVersion"], found["kind"]) == ("apps/v1", "DaemonSet")
    assert found.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert found["spec"].keys() == {"selector", "template"}
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"] == {"matchLabels": labels}
    pod = found["spec"]["template"]["spec"]
    assert pod.keys() <= POD, "a field that nothing here knows"
    assert all(isinstance(value, str) for value in pod["nodeSelector"].values())
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] > 300, "the service drains for 5 minutes"


@pytest.mark.parametrize("name", ["slots", "service", "exchange"])
def test_containers_have_few_rights_and_mount_volumes_that_exist(name: str) -> None:
    found = container(name)
    assert found.keys() <= CONTAINER
    assert found["image"] == f"pagethrift:{__version__}"
    security = found["securityContext"]
    assert security.keys() <= SECURITY
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    for amounts in found["resources"].values():
        assert all(QUANTITY.fullmatch(amount) for amount in amounts.values())
    volumes = {each["name"]: each for each in manifest()["spec"]["template"]["spec"]["volumes"]}
    for mount in found["volumeMounts"]:
        assert mount.keys() == {"name", "mountPath"}
        assert mount["name"] in volumes
    for volume in volumes.values():
        (kind,) = volume.keys() - {"name"}
        assert (
            volume[kind].keys() <= {"hostPath": {"path", "type"}, "emptyDir": {"medium", "sizeLimit"}}[kind]
        )


def test_the_service_has_no_capability_and_owns_the_slots() -> None:
    service = container("service")["securityContext"]
    assert "add" not in service["capabilities"]
    assert (service["runAsUser"], service["runAsNonRoot"]) == (UID, True)
    assert container("slots")["command"] == [
        "install", "--directory", f"--owner={UID}", f"--group={UID}", "--mode=0711", SLOTS,
    ]  # fmt: skip


def test_both_see_the_slots_on_the_file_system_of_the_pods() -> None:
    """A hard link does not cross mounts: what exchanges has one mount for slots and pods."""
    (mount,) = container("exchange")["volumeMounts"]
    assert SLOTS.startswith(f"{mount['mountPath']}/")
    assert PODS.startswith(f"{mount['mountPath']}/")
    volumes = {each["name"]: each for each in manifest()["spec"]["template"]["spec"]["volumes"]}
    assert volumes[mount["name"]]["hostPath"]["path"] == mount["mountPath"]
    (slots,) = [each for each in container("service")["volumeMounts"] if each["mountPath"] == "/slots"]
    assert volumes[slots["name"]]["hostPath"]["path"] == SLOTS


def test_the_service_takes_its_command_line() -> None:
    words = container("service")["command"]
    assert ways_of(words) == [
        Pair(Address(path=f"/slots/{number}.in"), Address(path=f"/slots/{number}.out")) for number in range(4)
    ]
    assert "--most=4" in words


def test_the_exchange_looks_where_virt_handler_makes_its_sockets() -> None:
    program, script, slots, pattern, condition = container("exchange")["command"]
    assert (program, script, slots) == ("python3", INSTALLED, SLOTS)
    # pkg/virt-controller/services/rendervolumes.go: the volume "public" is /var/run/kubevirt;
    # pkg/virt-handler/migration-proxy: SourceUnixFile
    folder = f"{PODS}/*/volumes/kubernetes.io~empty-dir/public/migrationproxy"
    assert pattern == f"{folder}/{{}}-49152-source.sock"
    assert condition == "--only-if={}-source.sock"


def test_the_image_is_made_of_the_package() -> None:
    from scripts.deb import PLACES

    assert f"/{PLACES['exchange']}/exchange.py" == INSTALLED
    lines = (ROOT / "contrib/kubevirt/Containerfile").read_text()
    assert f"--tag pagethrift:{__version__}" in lines
