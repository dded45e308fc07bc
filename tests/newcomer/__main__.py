"""``python -m tests.newcomer --out FILE.json``: how long a newcomer takes.

The commands of the tutorial and of the recipe for virsh are typed as they stand.

As root, on Debian 12, with mmdebstrap and systemd-container installed, and a network for Debian's packages.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.newcomer.clone import package, tutorial
from tests.newcomer.how_to import Step, follow


def main() -> None:
    """Type both, and write what they took."""
    parser = argparse.ArgumentParser(prog="python -m tests.newcomer", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="keep clone and hosts here, and use them again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ptnew") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(run(folder), indent=1) + "\n")


def run(folder: Path) -> dict[str, object]:
    """Return both paths' steps."""
    clone = folder / "pagethrift"
    path = tutorial(clone, said) if not clone.exists() else []
    made, deb = package(clone, said)
    return {"tutorial": path, "how_to": [made, *follow(folder, deb, said)]}


def said(step: Step) -> None:
    """Tell how far it is."""
    print(f"{step['step']}: {step['seconds']} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
