"""The README's example, as it is written."""

from __future__ import annotations

import re
from pathlib import Path

from running_analyzer import Analyzer

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_works(analyzer: Analyzer) -> None:
    """Whoever tries it out copies it."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    example = example.replace("127.0.0.1:8082", analyzer.address).replace(
        '    p.delete_node("port-1")\n', "    p.flush()\n    seen = look()\n"
    )
    names: dict[str, object] = {"look": analyzer.nodes}
    exec(example, names)
    assert names["seen"] == {
        "net-1": {"Type": "neutronnet", "Name": "blue"},
        "port-1": {
            "Type": "neutronport", "Name": "eth0", "Neutron": {"MTU": 9000}, "State": "UP",
        },
    }  # fmt: skip
