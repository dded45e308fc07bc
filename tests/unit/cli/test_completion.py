"""Shell completion: what a real bash offers after TAB, and that nothing is said where nothing can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.cli.completion import tree
from pagethrift.cli.main import COMMANDS, COMPLETING
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE

PROGRAM = "from pagethrift.cli.main import main\nmain()"


def asked(*words: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    """Ask as bash does, for the last word."""
    environment = {
        COMPLETING: "complete_bash",
        "COMP_WORDS": "\n".join(("pagethrift", *words)),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def offered(*words: str) -> list[str]:
    done = asked(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_all_commands_are_offered_first() -> None:
    assert offered("") == list(COMMANDS)
    assert offered("re") == [name for name in COMMANDS if name.startswith("re")]


def test_options_and_their_values() -> None:
    assert {"--listen", "--connect", "--channels"} <= set(offered("relay", "--"))
    assert offered("relay", "--compress", "o") == ["off", "on"]
    assert offered("relay", "--strategy", "") == list(TABLE)
    assert offered("migrate", "--stop", "xen") == [name for name in STOPS if name.startswith("xen")]


def test_commands_of_a_command() -> None:
    assert offered("lab", "") == ["doctor", "run", "record", "compare"]
    assert "--repetitions" in offered("lab", "compare", "--re")


def test_a_command_whose_extra_is_missing_offers_nothing_and_says_nothing() -> None:
    done = asked("lab", "", program=f"import sys\nsys.modules['psutil'] = None\n{PROGRAM}")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_nothing_heavy_is_loaded_for_the_commands_names() -> None:
    program = f"import sys\ntry:\n    {PROGRAM.replace(chr(10), chr(10) + '    ')}\nfinally:\n"
    program += "    print('numpy' in sys.modules, file=sys.stderr)"
    assert asked("", program=program).stderr == "False\n"


def test_the_tree_has_every_command_with_its_line() -> None:
    group = tree()
    assert list(group.commands) == list(COMMANDS)
    for name, (_, _, summary) in COMMANDS.items():
        assert group.commands[name].get_short_help_str(200) == summary
        assert group.commands[name].epilog


@pytest.mark.skipif(shutil.which("bash") is None, reason="NOT TRIED: no bash here")
def test_a_real_bash_completes(tmp_path: Path) -> None:
    command = tmp_path / "pagethrift"
    command.write_text(f"#!{sys.executable}\n{PROGRAM}\n")
    command.chmod(0o755)
    script = """
    source <(pagethrift --show-completion)
    COMP_WORDS=(pagethrift relay --list); COMP_CWORD=2
    $(complete -p pagethrift | sed 's/.*-F \\([^ ]*\\).*/\\1/') pagethrift --list relay
    echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "",
    }
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.stdout, done.stderr) == ("--listen\n", "")
