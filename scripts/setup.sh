#!/usr/bin/env bash
# Makes the Python environment and fetches what the lab needs.
# Usage: scripts/setup.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: scripts/setup.sh VENV}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --require-hashes --requirement requirements.lock
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
"$venv/bin/python" - <<'PYTHON'
import sys

from pagethrift.errors import PagethriftError
from pagethrift.lab.guest.image import guest_image
from pagethrift.lab.guest.packages import qemu

for name, fetch in (("QEMU 7.2", lambda: qemu("7.2")), ("QEMU 10.0", lambda: qemu("10.0")), ("guest image", guest_image)):
    try:
        fetch()
    except PagethriftError as error:
        print(f"setup: no {name}: {error} (the lab and some tests will say so and skip)", file=sys.stderr)
PYTHON
echo "setup: ready, the command is $venv/bin/pagethrift"
