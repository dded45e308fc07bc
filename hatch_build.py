"""A step of the build of wheels: with ``PAGETHRIFT_KERNELS=1`` set, compiled kernels go into the wheel.

Such a wheel is for one version of Python and one kind of processor, and needs a C compiler where it is
made, none where it is installed. Without the variable the wheel is pure Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WITH_KERNELS = "PAGETHRIFT_KERNELS"


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``python -m pagethrift.build`` and puts what it writes into the wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what must be installed to build: compiling calls the data path."""
        return list(self.metadata.core.dependencies) if os.environ.get(WITH_KERNELS) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a temporary folder; raises CalledProcessError when that fails."""
        if version == "editable" or not os.environ.get(WITH_KERNELS):
            return
        self._folder = Path(tempfile.mkdtemp(prefix="pagethrift-kernels-"))
        environment = os.environ | {
            "PYTHONPATH": str(Path(self.root, "src")),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # the same machine code each time
            "NUMBA_CACHE_DIR": str(self._folder / "cache"),
        }
        subprocess.run(
            [sys.executable, "-m", "pagethrift.build", "--portable", self._folder],
            env=environment, check=True, stdout=sys.stderr,
        )  # fmt: skip
        for extension in self._folder.glob("*.so"):
            build_data["force_include"][str(extension)] = f"pagethrift/_kernels/{extension.name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)
