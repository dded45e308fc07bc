"""How a page is written: a file for each record, with its cost in bytes and the kernel that writes it.

The engine weighs the costs (engine/choice.py), the writer calls the kernels (stream/writer.py).
"""
