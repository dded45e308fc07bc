"""The exit codes that documents and help texts list are those of the program."""

from __future__ import annotations

import re

import pytest

from pagethrift import errors
from pagethrift.cli import main, migrate
from pagethrift.cli.exits import INTERRUPTED, OUTPUT_CLOSED, UNEXPECTED
from pagethrift.errors import LabError, PagethriftError, VirtError
from tests.documents import PYTHON_PAGE, README, ROOT, rows_of

CODES = {each.exit_code: each.__name__ for each in PagethriftError.__subclasses__()}
EVERY = {0, UNEXPECTED, *CODES, INTERRUPTED, OUTPUT_CLOSED}
OPERATING = ROOT / "docs/operating.md"
ROW = re.compile(r"^\| (\d+) \| (.*?)\|", re.MULTILINE)


def test_one_table_has_them_all() -> None:
    table = {int(code): meaning for code, meaning in ROW.findall(OPERATING.read_text())}
    assert table.keys() == EVERY
    named = {code: re.findall(r"`(\w+)`\)", meaning) for code, meaning in table.items()}
    assert {code: names[0] for code, names in named.items() if names} == CODES


def test_the_page_for_programs_has_every_error() -> None:
    rows = [re.fullmatch(r"\| `(\w+)` \| .* \| (\d+) \|", row) for row in rows_of(PYTHON_PAGE.read_text())]
    assert {int(row[2]): row[1] for row in rows if row} == CODES
    assert all(hasattr(errors, name) for name in CODES.values())


def codes_of(text: str) -> set[int]:
    """Return the codes of a sentence that lists them: a number at its beginning or after a comma."""
    _, _, listed = re.sub(r"\([^)]*\)", "", " ".join(text.split())).partition("Exit codes")
    listed, _, _ = listed.partition(". ")
    return {int(code) for code in re.findall(r"(?:: |, )(\d+)\b", listed)}


@pytest.mark.parametrize("text", [README.read_text(), str(main.__doc__)], ids=["README", "main"])
def test_sentences_list_them_all(text: str) -> None:
    assert codes_of(text.replace("](docs/operating.md#exit-codes)", "")) == EVERY


def test_help_of_migrate_lists_those_it_ends_with() -> None:
    assert codes_of(migrate.EPILOG) == EVERY - {LabError.exit_code, VirtError.exit_code, OUTPUT_CLOSED}


@pytest.mark.parametrize("what", ["--check", "--no-compare", "pagethrift restore", "--destination-qmp"])
def test_the_operators_page_has_what_operators_need(what: str) -> None:
    assert what in OPERATING.read_text()
