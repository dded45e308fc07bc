"""The nat rule that docs/operating.md shows, by a real nft."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from pagethrift.lab.guest.cache import cached
from pagethrift.lab.guest.debian import codename, unpack

PAGE = Path(__file__).parents[1] / "docs/operating.md"
GROUP = 4242
"""the group whose connections the rule leaves out; it needs no entry in /etc/group"""


def nft_program() -> tuple[str, dict[str, str]]:
    """Return nft and what its environment needs; unpacked into the lab's cache where the system has none.

    Raises PagethriftError where none can be fetched.
    """
    system = shutil.which("nft")
    if system is not None:
        return system, {}
    root = cached("nft", lambda folder: {"packages": unpack(("nftables",), codename(), folder)})
    libraries = ":".join(
        str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))
    )
    return str(root / "usr/sbin/nft"), {"LD_LIBRARY_PATH": libraries}


def documented_rule() -> str:
    """Return the rule of the page, for the group GROUP."""
    (rule,) = re.findall(r"```\n(table inet pagethrift \{.*?\n\}\n)```", PAGE.read_text(), re.DOTALL)
    assert "skgid pagethrift" in rule
    return str(rule).replace("skgid pagethrift", f"skgid {GROUP}")


@contextlib.contextmanager
def redirected(prefix: Sequence[str]) -> Iterator[None]:
    """Have the rule in the network that a command with this prefix is in."""
    nft, environment = nft_program()
    own = [f"{name}={value}" for name, value in environment.items()]

    def run(rules: str) -> None:
        subprocess.run(
            [*prefix, "env", *own, nft, "-f", "-"], input=rules, text=True, check=True, env=os.environ
        )

    run(documented_rule())
    try:
        yield
    finally:
        run("delete table inet pagethrift\n")
