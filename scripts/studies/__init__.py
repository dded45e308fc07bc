"""Studies with the simulator: ``python -m scripts.studies.table``, ``.faithful``, ``.scaling``.

The specifications of the sweeps are in ``studies/``, the recorded traces in ``traces/``.
"""
