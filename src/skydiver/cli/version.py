"""``skydive version``."""

from __future__ import annotations

import skydiver
from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, GlobalOptions, takes

app = single()


@app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def version(options: GlobalOptions) -> None:
    """Print the version."""
    print(f"skydive github.com/skydive-project/skydive {skydiver.__version__}")
