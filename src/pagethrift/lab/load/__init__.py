"""The load on a guest: generator, clients, what they measured."""
