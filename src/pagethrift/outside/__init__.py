"""How a running relay or migration is seen and changed from outside: metrics, status sockets, a log.

Nothing here may steer or end a migration: what fails is dropped, and who asks slowly is bounded.
"""
