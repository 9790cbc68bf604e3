# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/states.md, drawn from the table of states: `python -m tests.support.state_page > docs/states.md`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins/module_utils"))

from hostnic.states import EDGES  # noqa: E402


def page() -> str:
    """Markdown: a Mermaid picture of who follows whom, then every edge with its trigger, witness and journal write."""
    arrows = dict.fromkeys((edge.source.value if edge.source else "[*]", edge.target.value) for edge in EDGES)
    lines = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "# Life of a NIC",
        "",
        "Drawn from `plugins/module_utils/hostnic/states.py`; a test compares. An edge that is not here raises.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        *(f"    {source} --> {target}" for source, target in arrows),
        "```",
        "",
        "| from | to | trigger | whose word | journal |",
        "|---|---|---|---|---|",
        *(
            f"| {edge.source.value if edge.source else ''} | {edge.target.value} | {edge.trigger} | {edge.witness} "
            f"| {edge.journal} |"
            for edge in EDGES
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
