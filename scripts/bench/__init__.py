"""Measures the data path: ``python -m scripts.bench``, ``.memory``, ``.signatures``, ``.profile``.

``mixes`` makes streams, ``pipes`` and ``stages`` measure, ``rounds`` interleaves and
summarises, ``output`` writes the table, the JSON and the plot.
"""
