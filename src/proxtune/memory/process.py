"""What a process holds, by the kernel's own count. Linux reads /proc; elsewhere the peak comes from getrusage."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path


def _status(field: str, pid: int | str = "self") -> int | None:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def resident_bytes(pid: int | str = "self") -> int:
    """Bytes of RAM that a process holds now, mapped files included; 0 when it is gone."""
    now = _status("VmRSS:", pid)
    if now is None and pid == "self":
        return peak_bytes()
    return now or 0


def peak_bytes() -> int:
    """Largest `resident_bytes` of this process since it began, or since `reset_peak`."""
    peak = _status("VmHWM:")
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def reset_peak() -> None:
    """Begin a new phase: the peak counts from what is resident now (Linux; elsewhere the peak runs on)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def data_bytes() -> int | None:
    """Private writable address space of this process (VmData), which RLIMIT_DATA limits; None where unknown."""
    return _status("VmData:")


def hole_bytes() -> int:
    """Bytes of this process's heap that hold nothing now: they fill again without another word to the system (Linux; else 0)."""
    holes, in_heap = 0, False
    try:
        with open("/proc/self/smaps", encoding="ascii", errors="replace") as lines:
            for line in lines:
                name, _, rest = line.partition(" ")
                if not name.endswith(":"):  # "55d0c000-55d2e000 rw-p 00000000 00:00 0   [heap]"
                    in_heap = rest.endswith("[heap]\n")
                elif in_heap and name in ("Size:", "Rss:"):
                    holes += int(rest.split()[0]) * 1024 * (1 if name == "Size:" else -1)
    except (OSError, ValueError, IndexError):
        return 0
    return holes


def tree_bytes(pid: int) -> int:
    """Bytes of RAM that a process and all its descendants hold now; a page that several share counts once."""
    children: dict[int, list[int]] = {}
    proc = Path("/proc")
    for entry in proc.iterdir() if proc.is_dir() else []:
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, queue = 0, [pid]
    while queue:
        process = queue.pop()
        total += _own_share(process)
        queue += children.get(process, [])
    return total


def _own_share(pid: int) -> int:
    """Proportional set size, or the resident size where the kernel does not say."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resident_bytes(pid)


def device_bytes_of_others(uuid: str) -> int:
    """Bytes that other processes hold of the GPU with this uuid, by the driver's own tool; 0 where it is not there."""
    asked = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid,used_gpu_memory", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = 0
    for line in output.splitlines():
        of, pid, mebibytes, *_ = [*(word.strip() for word in line.split(",")), "", ""]
        if of.removeprefix("GPU-") == uuid.removeprefix("GPU-") and pid != str(os.getpid()) and mebibytes.isdigit():
            found += int(mebibytes) << 20
    return found


def outer_limit_bytes() -> int | None:
    """The smallest memory limit that a cgroup (v1 or v2) sets around this process; None without one."""
    limits = []
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, name = Path("/sys/fs/cgroup"), "memory.max"
            elif "memory" in controllers.split(","):
                root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
            else:
                continue
            folder = root / path.lstrip("/")
            for place in (folder, *folder.parents):
                file = place / name
                if file.is_file():
                    text = file.read_text().strip()
                    if text.isdigit() and int(text) < 2**60:
                        limits.append(int(text))
                if place == root:
                    break
    except (OSError, ValueError):
        pass
    return min(limits, default=None)
