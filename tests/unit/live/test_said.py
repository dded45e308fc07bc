"""Any error becomes one line of ours."""

from __future__ import annotations

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.live.said import one_line, said, said_of


def test_whatever_was_raised_has_a_line() -> None:
    assert said(OSError(5, "Input/output\nerror")) == "[Errno 5] Input/output error"
    assert said(KeyError()) == "KeyError"
    assert type(said_of(OSError(5, "Input/output error"))) is PagethriftError
    assert "please report it" in str(said_of(ZeroDivisionError("by zero")))
    own = LinkError("the link")
    assert said_of(own) is own
    assert str(one_line(own, "", "the guest runs on")) == "the link; the guest runs on"
