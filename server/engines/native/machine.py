"""How much memory this process may still take: what the machine has free, within what its control groups allow."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# cgroup v1 says "no limit" by the largest number of pages there could be; anything near it is none.
NO_LIMIT = 1 << 60


def available_memory() -> int:
    """Bytes that can be allocated before the machine swaps or a control group's limit kills the process."""
    return min([psutil.virtual_memory().available, *_cgroup_rooms(CGROUPS, MEMBERSHIP)])


def memory_limit() -> int:
    """Bytes that this process could have if nothing else ran: the machine's memory or the least limit of its groups."""
    limits = [limit for limit, _ in _cgroup_limits(CGROUPS, MEMBERSHIP)]
    return min([psutil.virtual_memory().total, *limits])


def _cgroup_rooms(root: Path, membership: Path) -> list[int]:
    return [max(0, limit - used) for limit, used in _cgroup_limits(root, membership)]


def _cgroup_limits(root: Path, membership: Path) -> list[tuple[int, int]]:
    """Limit and use of each group above this process that has a limit, in bytes. Page cache that can go is not use."""
    found = []
    for group, limit_name, usage_name in _groups(root, membership):
        limit, used = _number(group / limit_name), _number(group / usage_name)
        if limit is not None and used is not None and limit < NO_LIMIT:
            found.append((limit, max(0, used - _reclaimable(group / "memory.stat"))))
    return found


def _groups(root: Path, membership: Path) -> list[tuple[Path, str, str]]:
    """This process's group and those above it, for cgroup v2 and v1's memory controller."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # Inside a container the path may be the host's, which isn't there: then the root is the container's own group.
        parts = Path(path.lstrip("/")).parts
        found += [(base.joinpath(*parts[:depth]), *names) for depth in range(len(parts), -1, -1)]
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None


def _reclaimable(stat: Path) -> int:
    try:
        fields = dict(line.split(None, 1) for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
