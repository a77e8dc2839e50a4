"""Make the source tree importable in the environment and put the `skydive` command beside it.

The same result as an editable install, without resolving or building anything again.
"""

from __future__ import annotations

import stat
import sys
import sysconfig
from pathlib import Path

COMMAND = """\
#!{python}
import sys

from skydiver.cli.__main__ import main

sys.exit(main())
"""


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    site = Path(sysconfig.get_paths()["purelib"])
    (site / "skydiver.pth").write_text(f"{root / 'src'}\n", encoding="utf-8")
    command = Path(sys.executable).parent / "skydive"
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    main()
