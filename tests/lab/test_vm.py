from __future__ import annotations

import os
from pathlib import Path

import pytest

from skydiver.base.errors import Unavailable
from skydiver.lab.vm import inside, main, run_in_vm


def test_what_is_missing_is_named_with_the_packages_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator is large, and installed only where the tests that need it are run."""
    monkeypatch.setattr("shutil.which", lambda program, path="": None)
    with pytest.raises(Unavailable, match=r"qemu-system-x86_64, .* install .* busybox-static"):
        run_in_vm(["true"], cache=tmp_path)


def test_the_command_line_wants_a_time_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, as everywhere."""
    assert main(["true"]) == 2
    assert capsys.readouterr().err.startswith("usage:")


@pytest.mark.root
def test_a_command_runs_with_this_machines_files_and_another_kernel() -> None:
    """The status and what was said come back; what was written does not."""
    script = """
        uname -r; ip link add dm0 type dummy && ls /sys/class/net
        echo changed > tests/lab/test_vm.py; head -c 8 tests/lab/test_vm.py
        python -c 'from skydiver.lab.vm import inside; print(inside())'
        exit 3
    """
    status, log = run_in_vm(["bash", "-c", script], timeout_s=110)
    assert status == 3
    assert log.split()[1:] == ["dm0", "lo", "changed", "True"]
    assert log.split()[0] != os.uname().release
    assert not inside()
    assert Path(__file__).read_text(encoding="utf-8").startswith("from")


@pytest.mark.root
def test_a_machine_that_takes_too_long_is_switched_off() -> None:
    """Nothing is left behind, and what it said until then is told."""
    with pytest.raises(TimeoutError, match="not within 8 s"):
        run_in_vm(["bash", "-c", "echo begun; sleep 1000"], timeout_s=8)
