"""``python -m scripts.fuzzing FILE``: the counts of a fuzzing result file as a Markdown table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def table(runs: list[dict[str, Any]]) -> str:
    """Return a row for each target and mode, and their sum."""
    lines = [
        "| target | kernels | executions | a second | branches | peak RSS | findings |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        rate = run["executions"] / max(1, run["seconds"])
        lines.append(
            f"| {run['target']} | {run['mode']} | {run['executions']:,} | {rate:,.0f} | {run['branches']:,}"
            f" | {run['peak_rss_mib']} MiB | {run['findings']} |"
        )
    executions, seconds = (sum(run[key] for run in runs) for key in ("executions", "seconds"))
    findings = sum(run["findings"] for run in runs)
    lines.append(f"| all | | {executions:,} | {executions / max(1, seconds):,.0f} | | | {findings} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())["runs"]))
