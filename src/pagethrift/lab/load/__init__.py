"""The load on a guest: generator, clients and their measurements."""
