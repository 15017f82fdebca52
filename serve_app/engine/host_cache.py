"""How much host memory a replica's second-level KV cache may take.

vLLM copies KV blocks to a buffer in host memory when they are full, and takes them
back from there when the card has evicted them: a history that went cold costs a copy
over PCIe (64 KiB a token of Llama 3.1 8B in FP8; 25 GB/s are 380,000 tokens/s) where
reading it again costs prefill (about 14,000 tokens/s on a 4090).

The buffer is one file in /dev/shm, filled at start and unlinked at once, so it ends
with the engine. A file that does not fit stops the engine, so what is asked for is
derived from what the host has, and a host without room goes without.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GIB = 2**30

RAM_SHARE = 0.5
"""Half the RAM of the host, over all its cards: the rest is for weights on their way
to the cards, the engines' processes (6 to 8 GiB each), Ray and the page cache."""
SHM_SHARE = 0.8
"""Of /dev/shm, where the engines' message queues and Ray's object store live as well.
Linux makes it half the RAM; a container has 64 MiB unless `--shm-size` says more."""
CARD_CAP_GIB = 64.0
"""Per card: 1,000,000 tokens of Llama 3.1 8B, five times what the card itself holds."""
LEAST_GIB = 1.0
"""Below this the copying is not worth it."""
SHM_SPARE_GIB = 1.0

HostKvCache = float | Literal["auto"] | None


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What a host has, in GiB; `ram` is the container's limit where that is less."""

    ram: float
    shm: float
    shm_free: float


def host_memory(root: Path = Path("/")) -> HostMemory:
    shm = shutil.disk_usage(root / "dev/shm")
    return HostMemory(
        ram=min([_mem_total(root), *_cgroup_limits(root)]) / GIB,
        shm=shm.total / GIB,
        shm_free=shm.free / GIB,
    )


def _mem_total(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    raise OSError("no MemTotal in /proc/meminfo")


def _cgroup_limits(root: Path) -> list[int]:
    """The container's own memory limit, by either version of cgroups, if it has one."""
    limits = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = root / "sys/fs/cgroup" / name
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return limits


def host_cache_gib(
    wanted: HostKvCache, memory: HostMemory, *, cards: int, cards_on_host: int
) -> float | None:
    """Size of one replica's buffer in GiB, over its cards; None: no second level.

    A size that is wanted is taken as it is; `auto` is an equal share for every card of the
    host, whichever lanes they serve.
    """
    if wanted != "auto":
        return wanted
    for_all = min(RAM_SHARE * memory.ram, SHM_SHARE * memory.shm)
    share = cards * min(for_all / max(cards_on_host, cards), CARD_CAP_GIB)
    size = float(int(min(share, memory.shm_free - SHM_SPARE_GIB)))
    return size if size >= LEAST_GIB * cards else None
