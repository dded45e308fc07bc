"""After warming up no kernel compiles: a pause of seconds in the middle of a migration.

Here without the kernels that were built; with them tests/unit/test_build.py sees that Numba stays away.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pagethrift.kernels.machine_code import ONLY_JIT

PROGRAM = """
import gc
from numba.core.dispatcher import Dispatcher
from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.engine.warmup import warm_up
from pagethrift.strategies.table import TABLE
from tests.streams import chaos, random_stream, thin_in_pieces

def compiled():
    found = [d for d in gc.get_objects() if isinstance(d, Dispatcher)]
    ours = [d for d in found if d.py_func.__module__.startswith("pagethrift")]
    return {(d.py_func.__module__, d.__name__): len(d.signatures) for d in ours}

warm_up()
live = [make for make in TABLE.values() if not make().refuses_live]
before = compiled()
assert len(before) > 10, before
for seed in range(6):
    for make in (*live, lambda: chaos(seed)):
        thin_in_pieces(random_stream(seed), make(), seed)
after = compiled()
changed = {name for name in after if after[name] != before.get(name, 0)}
assert not changed, changed
"""


@pytest.mark.slow
def test_nothing_compiles_after_warming_up() -> None:
    env = os.environ | {ONLY_JIT: "1"}
    subprocess.run([sys.executable, "-c", PROGRAM], env=env, check=True, timeout=120)
