"""Errors as one line of ours: what nobody foresaw must not hide where the guest is."""

from __future__ import annotations

from pagethrift.errors import PagethriftError
from pagethrift.model.error_data import unexpected


def said(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join((str(error) or type(error).__name__).split())


def said_of(error: Exception) -> PagethriftError:
    """Return an error as one of ours: nobody foresaw some, but they must not hide the guest."""
    return PagethriftError(said(error)) if isinstance(error, OSError) else unexpected(error)


def one_line(error: PagethriftError, *more: str) -> PagethriftError:
    """Return the error with more facts appended to its line."""
    error.args = ("; ".join(part for part in (str(error), *more) if part),)
    return error
