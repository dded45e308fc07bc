"""``python -m scripts.bench.wheel``: what kernels in the wheel bring, and what their being portable costs.

Both wheels are made and installed into an environment of their own, with the packages that pip finds.
``thin`` is started there by a user who can write neither the environment nor a home: as root by
``nobody``, who may read everything so that it does not matter where Python is installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.bench.__main__ import stream_folder
from scripts.bench.cold_start import short_stream
from scripts.bench.mixes import MIXES, StreamFile, write_stream
from scripts.bench.rounds import Sample, interleave, spread
from scripts.bench.stages import thin_alone

from pagethrift.kernels import KERNELS, machine_code

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
CLEAN = {
    name: value for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "PAGETHRIFT", "NUMBA", "XDG"))
}  # fmt: skip
WITH_KERNELS = {"PAGETHRIFT_KERNELS": "1"}
WHEELS = {"wheel with kernels": WITH_KERNELS, "pure wheel": {}}
NOBODY = "65534"
HOMELESS = CLEAN | {"HOME": "/nonexistent"}
NATIVE, PORTABLE = "built for this processor", "of the wheel"
SPEED_PAGES = 65_536


def make_wheel(folder: Path, more: dict[str, str]) -> Path:
    """Make a wheel of this tree with what is installed here."""
    subprocess.run(
        [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT],
        env=CLEAN | more, check=True,
    )  # fmt: skip
    return next(folder.glob("pagethrift-*.whl"))


def as_ordinary_user(command: list[str | Path]) -> list[str | Path]:
    """Return a command that runs ``command`` as a user who can write nothing of an installation."""
    if os.geteuid():
        return command
    may_read = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *may_read]
    return ["setpriv", *who, "--", *command]


def start(command: list[str | Path], stream: bytes) -> dict[str, float]:
    """Run ``thin`` over a short stream; return the seconds to its end and its CPU seconds."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=HOMELESS, cwd="/"
    )
    assert process.stdin is not None
    process.stdin.write(stream)
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.monotonic() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"thin failed with exit code {process.returncode}")
    return {"elapsed_s": took_s, "cpu_s": used.ru_utime + used.ru_stime}


def starts(folder: Path, wheels: dict[str, Path], count: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Install each wheel and start ``thin`` of it ``count`` times."""
    binaries = folder / "venv/bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", binaries.parent], env=CLEAN, check=True)
    install: list[str | Path] = [*PIP, "--python", binaries / "python", "install", "--quiet"]
    subprocess.run([*install, next(iter(wheels.values()))], env=CLEAN, check=True)
    if os.geteuid():
        subprocess.run(["chmod", "-R", "a-w", binaries.parent], check=True)
    command = as_ordinary_user([binaries / "pagethrift", "thin"])
    stream, found = short_stream(), {}
    for name, wheel in wheels.items():
        if os.geteuid():
            subprocess.run(["chmod", "-R", "u+w", binaries.parent], check=True)
        subprocess.run([*install, "--no-deps", "--force-reinstall", wheel], env=CLEAN, check=True)
        if os.geteuid():
            subprocess.run(["chmod", "-R", "a-w", binaries.parent], check=True)
        taken = [start(command, stream) for _ in range(count)]
        found[name] = {key: spread([each[key] for each in taken]) for key in taken[0]}
        elapsed_s, cpu_s = (found[name][key]["median"] for key in ("elapsed_s", "cpu_s"))
        show(f"{name:20} {elapsed_s:.2f} s, CPU {cpu_s:.2f} s")
    subprocess.run(["chmod", "-R", "u+w", binaries.parent], check=True)
    return found


def speeds(folder: Path, wheel: Path, rounds: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return the speed of ``thin`` in this process, with the wheel's kernels and those for this processor."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if f"/{machine_code.PACKAGED.name}/" in name)
        portable = Path(archive.extract(member, folder))
    cache = {"NUMBA_CACHE_DIR": str(folder)}
    subprocess.run(
        [sys.executable, "-m", "pagethrift.build"], env=os.environ | cache, check=True, stdout=sys.stderr
    )
    (native,) = folder.glob(f"{machine_code.EXTENSION_NAME}-*.so")
    modules = {NATIVE: machine_code.load_extension(native), PORTABLE: machine_code.load_extension(portable)}
    if None in modules.values():
        raise SystemExit("the kernels cannot be loaded")

    def measure(module: Any, stream: StreamFile) -> Callable[[], Sample]:
        def run() -> Sample:
            for kernel in KERNELS:
                kernel.built = getattr(module, kernel.symbol, None)
            return thin_alone(stream, "pagethrift")

        return run

    found = {}
    for mix in MIXES:
        path = folder / mix.name
        stream = write_stream(mix, path, SPEED_PAGES)
        measures = {name: measure(module, stream) for name, module in modules.items()}
        summaries = interleave(measures, rounds, 1, NATIVE, ratio="percent_of_native")
        found[mix.name] = {name: summary.as_json() for name, summary in summaries.items()}
        show(f"{mix.name:20} {found[mix.name][PORTABLE]['percent_of_native']['median']:.0f} % of native")
        path.unlink()
    return found


def measure(count: int, rounds: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return the result document."""
    with (
        tempfile.TemporaryDirectory(prefix="ptw") as name,
        tempfile.TemporaryDirectory(prefix="ptw", dir=stream_folder()) as memory,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        wheels = {title: make_wheel(folder / title.replace(" ", "-"), more) for title, more in WHEELS.items()}
        return {
            "kind": "pagethrift-bench-wheel", "version": 1, "machine": machine.facts(),
            "load": machine.load(),
            "wheel_bytes": {title: wheel.stat().st_size for title, wheel in wheels.items()},
            "thin": starts(folder, wheels, count, show),
            "speed": speeds(Path(memory), wheels["wheel with kernels"], rounds, show),
        }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.wheel", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-wheel.json"))
    parser.add_argument("--starts", type=int, default=5, help="of each wheel")
    parser.add_argument("--rounds", type=int, default=5, help="of each mix")
    options = parser.parse_args(arguments)
    output.write_json(options.out, measure(options.starts, options.rounds, print))
    print(options.out)


if __name__ == "__main__":
    main()
