"""One process that fuzzes one target with libFuzzer: ``python -m tests.fuzz.child TARGET MODE FOLDER ...``.

An exception is a finding: the shortest input for each place that raised is kept under FOLDER, and the fuzzing
goes on. What ends the process (a crash, a hang, too much memory) libFuzzer keeps.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

SLOW_S = 1.0
"""an input that takes more of a processor's time is a finding"""
_WITH_KERNELS = (
    "kernels", "stream.xbzrle", "stream.records", "stream.packets", "stream.image", "stream.writer",
    "stream.encoding", "content", "engine.choice", "engine.history", "engine.counters", "engine.holding",
    "trace.contents", "trace.sweeps", "trace.measure", "simulator.kernels", "simulator.models",
    "strategies.kvm_xbzrle",
)  # fmt: skip
"""modules that are not instrumented: Numba cannot compile instrumented code"""


class Findings:
    """Inputs that must not be, one for each place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shortest: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, data: bytes, what: str, detail: str) -> None:
        """Keep an input unless a shorter one shows the same."""
        name = hashlib.sha256(what.encode()).hexdigest()[:10]
        if len(data) >= self._shortest.get(name, sys.maxsize):
            return
        if name not in self._shortest:
            print(f"finding {name}: {what}", file=sys.stderr, flush=True)
        self._shortest[name] = len(data)
        (self._folder / name).write_bytes(data)
        (self._folder / f"{name}.json").write_text(json.dumps({"what": what, "detail": detail}, indent=1))


def where(error: BaseException) -> str:
    """Name an exception by its type and the last lines of the tests and of the project on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    if error.__context__ is not None:  # an error that check_line did not like
        frames.extend(traceback.extract_tb(error.__context__.__traceback__))
    named = [frame for frame in frames if "src/pagethrift/" in frame.filename or "/tests/" in frame.filename]
    ours = [frame for frame in named if "src/pagethrift/" in frame.filename]
    places = dict.fromkeys(_short(frame) for frame in (*named[-1:], *ours[-1:], frames[-1]))
    return f"{type(error).__name__} at {' < '.join(places)}"


def _short(frame: traceback.FrameSummary) -> str:
    return f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}"


def main(name: str, mode: str, folder: str, *arguments: str) -> None:
    """Fuzz until libFuzzer ends the process."""
    import atheris

    from tests.fuzz import plain_kernels
    from tests.fuzz.corpus import VISIBLE, target

    visible = VISIBLE.get(name, ()) if mode == "python" else ()
    seen = {kernel.partition(":")[0] for kernel in visible}
    excluded = [f"pagethrift.{module}" for module in _WITH_KERNELS if module not in seen]
    with atheris.instrument_imports(include=["pagethrift"], exclude=excluded):
        chosen = target(name)
    plain_kernels.run_as_python(visible)
    warnings.simplefilter("ignore", RuntimeWarning)  # words that overflow, as they should
    findings = Findings(Path(folder))

    def one(data: bytes) -> None:
        began_s = time.thread_time()
        try:
            chosen.fuzz_one(data)
        except Exception as error:
            findings.add(data, where(error), traceback.format_exc(limit=-6))
        took_s = time.thread_time() - began_s
        if took_s > SLOW_S:
            findings.add(data, f"slower than {SLOW_S:g} s", f"{took_s:.2f} s")

    for seed in (b"", *chosen.seeds()):  # compiles kernels and imports what is left to the first call
        with contextlib.suppress(Exception):
            chosen.fuzz_one(seed)
    # libFuzzer starts itself again to merge corpora, by what it takes for its program
    itself = f"{sys.executable} -m tests.fuzz.child {name} {mode} {folder}"
    atheris.Setup([itself, f"-max_len={chosen.most_bytes}", *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
