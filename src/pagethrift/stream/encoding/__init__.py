"""Writing a page: a file for each kind of record, with its cost in bytes and the kernel that writes it.

The engine weighs the costs (engine/choice.py), the writer calls the kernels (stream/writer.py).
"""
