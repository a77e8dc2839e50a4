"""A virtual machine with the distribution's own kernel, for what the running one lacks.

    status, log = run_in_vm(["ip", "link", "add", "dm0", "type", "dummy"])

The command sees this machine's files as they are, with whatever it writes kept in memory and lost
at the end, and a network of its own without any connection. So the project's environment and
tests run in it unchanged; `inside` tells them where they are. Emulation needs no hardware support
and is some ten times slower than the machine; the boot takes about five seconds.

The kernel is a package that is downloaded and unpacked into a cache, not installed. Needs the
packages qemu-system-x86, busybox-static and kmod.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skydiver.base.errors import Unavailable

CACHE = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
FOLDER = "skydive-vm"

_KERNELS = ("linux-image-amd64", "linux-image-generic")
"""Packages of Debian and of Ubuntu that depend on their newest kernel."""
_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_MARK = "SKYDIVE_VM"
_POLL_S = 0.1

# In the initial memory disk: mounts the host's files below a layer in memory, and goes there.
_FIRST_INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
while read module; do $B insmod /mods/$module; done < /order
$B mkdir -p /low /rw /mnt
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose host /low
$B mount -t tmpfs rw /rw; $B mkdir /rw/upper /rw/work
$B mount -t overlay -o lowerdir=/low,upperdir=/rw/upper,workdir=/rw/work root /mnt
for d in proc sys dev; do $B mount --move /$d /mnt/$d; done
$B mkdir -p /mnt/out
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 out /mnt/out
exec $B switch_root /mnt /bin/bash /out/init
"""

# There: what an ordinary system has mounted, the command, and the end of the machine.
_INIT = """
export PATH={path} HOME=/root LANG=C.UTF-8 PYTHONUNBUFFERED=1 {mark}=1
mount -t tmpfs run /run; mkdir -p /run/netns /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm; mount -t devpts pts /dev/pts
mkdir -p /lib/modules; ln -sfn {modules} /lib/modules/
modprobe tun
mount -t tracefs trace /sys/kernel/tracing; mount -t bpf bpf /sys/fs/bpf
ip link set lo up
cd {folder}
{command} > /out/log 2>&1 < /dev/null
echo $? > /out/status.part; mv /out/status.part /out/status
sync
echo o > /proc/sysrq-trigger
sleep 5
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is needed to start the machine."""

    image: Path
    modules: Path
    """Folder named like the version."""
    disk: Path
    """Initial memory disk."""


def inside() -> bool:
    """Whether this process runs in the virtual machine."""
    return os.environ.get(_MARK) == "1"


def run_in_vm(
    argv: Sequence[str],
    *,
    timeout_s: float = 120.0,
    cache: Path = CACHE,
    show: IO[str] | None = None,
) -> tuple[int, str]:
    """Boot, run `argv` as root in the current folder, shut down: its exit status and its output.

    `show` gets the output as it comes. TimeoutError when the command has not ended in time,
    `Unavailable` when the machine cannot be had or broke down.
    """
    kernel = prepare(cache)
    with tempfile.TemporaryDirectory(prefix="skydive-vm-") as name:
        folder = Path(name)
        init = _INIT.format(
            path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            mark=_MARK,
            modules=shlex.quote(str(kernel.modules)),
            folder=shlex.quote(str(Path.cwd())),
            command=shlex.join(argv),
        )
        (folder / "init").write_text(init, encoding="utf-8")
        log = folder / "log"
        log.touch()
        with (folder / "console").open("w+b") as console, log.open(encoding="utf-8") as said:
            machine = subprocess.Popen(
                _command_line(kernel, folder),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
            try:
                _wait(machine, timeout_s, said, show)
            finally:
                ended = machine.poll() is not None
                machine.kill()
                machine.wait()
            console.seek(0)
            words = console.read().decode(errors="replace")
        text = log.read_text(encoding="utf-8", errors="replace")
        try:
            return int((folder / "status").read_text(encoding="ascii")), text
        except (OSError, ValueError):
            pass  # it never came to the end of the command; why is told below
        if not ended:
            raise TimeoutError(f"not within {timeout_s:g} s in the virtual machine:\n{text}{words}")
        raise Unavailable(f"the virtual machine ended early:\n{text}{words}")


def _wait(
    machine: subprocess.Popen[bytes], timeout_s: float, said: IO[str], show: IO[str] | None
) -> None:
    """Until the machine is off, or the time is over."""
    deadline = time.monotonic() + timeout_s
    ended = False
    while not ended and time.monotonic() < deadline:
        ended = machine.poll() is not None
        if show is not None:
            show.write(said.read())
            show.flush()
        if not ended:
            time.sleep(_POLL_S)


def _command_line(kernel: Kernel, folder: Path) -> list[str]:
    host = "local,id=host,path=/,security_model=passthrough,readonly=on,multidevs=remap"
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
        *("-m", "2000", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-serial", "stdio", "-no-reboot", "-kernel", str(kernel.image)),
        *("-initrd", str(kernel.disk), "-append", "console=ttyS0 quiet panic=-1"),
        *("-fsdev", host, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-fsdev", f"local,id=out,path={folder},security_model=none"),
        *("-device", "virtio-9p-pci,fsdev=out,mount_tag=out"),
    ]


# -- kernel ---------------------------------------------------------------------------------


def prepare(cache: Path = CACHE) -> Kernel:
    """The kernel of the cache; the first time it is downloaded, which takes a few seconds."""
    missing = [name for name in ("qemu-system-x86_64", "busybox", "modprobe") if not _found(name)]
    if missing:
        packages = "qemu-system-x86 busybox-static kmod"
        raise Unavailable(f"not found: {', '.join(missing)}; install the packages {packages}")
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not (folder / "disk").exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as new:
                _download(Path(new))
                _make_disk(Path(new))
                # The disk comes last: it is what the next start looks for.
                for part in ("boot", "lib", "disk"):
                    _replace(Path(new) / part, folder / part)
    (modules,) = (folder / "lib" / "modules").iterdir()
    return Kernel(folder / f"boot/vmlinuz-{modules.name}", modules, folder / "disk")


def _found(program: str) -> bool:
    return shutil.which(program, path=_search_path()) is not None


def _search_path() -> str:
    """Other users than root are not led to the tools of administrators."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.rename(target)


def _download(folder: Path) -> None:
    """Fetch the newest kernel of the distribution, and unpack it into `folder`."""
    image = _newest_kernel()
    version = image.removeprefix("linux-image-")
    # Ubuntu has the modules in packages of their own.
    others = [f"linux-modules-{version}", f"linux-modules-extra-{version}"]
    packages = folder / "packages"
    packages.mkdir()
    _run(["apt-get", "-qq", "download", image, *filter(_is_offered, others)], cwd=packages)
    for package in packages.iterdir():
        _run(["dpkg-deb", "-x", str(package), str(folder)], cwd=folder)
    shutil.rmtree(packages)
    for unused in ("usr", "etc"):
        shutil.rmtree(folder / unused, ignore_errors=True)
    _run(["depmod", "-b", str(folder), version], cwd=folder)


def _newest_kernel() -> str:
    for attempt in range(2):
        for package in _KERNELS:
            listed = subprocess.run(
                ["apt-cache", "depends", package], capture_output=True, text=True
            )
            found = re.search(r"Depends: (linux-image-\d\S+)", listed.stdout)
            if found:
                return found[1]
        if attempt == 0:
            _run(["apt-get", "-qq", "update"], cwd=Path("/"))
    raise Unavailable(f"no kernel to download: apt knows none of {', '.join(_KERNELS)}")


def _is_offered(package: str) -> bool:
    return bool(subprocess.run(["apt-cache", "show", package], capture_output=True).stdout)


def _make_disk(folder: Path) -> None:
    """Build the initial memory disk: a shell, and what the file system of the host needs."""
    (modules,) = (folder / "lib" / "modules").iterdir()
    order: dict[str, None] = {}
    for module in _FIRST_MODULES:
        shown = _run(
            ["modprobe", "-d", str(folder), "-S", modules.name, "--show-depends", module],
            cwd=folder,
        )
        order |= dict.fromkeys(re.findall(r"^insmod (\S+)", shown, re.MULTILINE))
    root = folder / "root"
    for place in ("bin", "mods", "proc", "sys", "dev"):
        (root / place).mkdir(parents=True)
    for path in order:
        shutil.copy(path, root / "mods")
    (root / "order").write_text("".join(f"{Path(path).name}\n" for path in order))
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    (root / "init").write_text(_FIRST_INIT, encoding="utf-8")
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["busybox", "cpio", "-o", "-H", "newc"],
        input=names.encode(),
        cwd=root,
        capture_output=True,
        check=True,
    )
    (folder / "disk").write_bytes(gzip.compress(archive.stdout, 1))
    shutil.rmtree(root)


def _run(argv: Sequence[str], *, cwd: Path) -> str:
    environment = os.environ | {"PATH": _search_path()}
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Unavailable(f"{shlex.join(argv)}: status {done.returncode}: {said}")
    return done.stdout


def main(argv: Sequence[str]) -> int:
    """Run a command in the machine: ``python -m skydiver.lab.vm TIMEOUT_S COMMAND...``."""
    if len(argv) < 2 or not argv[0].isdecimal():
        print("usage: python -m skydiver.lab.vm TIMEOUT_S COMMAND...", file=sys.stderr)
        return 2
    try:
        status, _ = run_in_vm(argv[1:], timeout_s=float(argv[0]), show=sys.stdout)
    except (Unavailable, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
