"""How much host memory the second-level KV cache gets."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.lane import LaneConfig
from serve_app.engine.host_cache import GIB, HostMemory, host_cache_gib, host_memory

LANE = {"model_id": "m", "model_source": "x", "max_model_len": 4096}


def memory(ram: float, shm: float | None = None, free: float | None = None) -> HostMemory:
    shm = ram / 2 if shm is None else shm
    return HostMemory(ram, shm, shm if free is None else free)


@pytest.mark.parametrize(
    ("host", "cards", "cards_on_host", "size"),
    [
        # Linux's default /dev/shm is half the RAM; 0.8 of it is the tighter bound.
        (memory(128), 1, 4, 12.0),
        (memory(128), 2, 4, 25.0),
        (memory(64), 1, 1, 25.0),
        # A large /dev/shm: half the RAM.
        (memory(128, shm=126), 1, 4, 16.0),
        # Capped per card.
        (memory(1024), 1, 4, 64.0),
        (memory(1024), 2, 4, 128.0),
        # Another lane has filled most of it.
        (memory(128, free=6), 1, 4, 5.0),
        # A container with Docker's default.
        (memory(128, shm=0.0625), 1, 4, None),
        (memory(8), 1, 4, None),
        # Ray was not told of the card: no division by 0.
        (memory(64), 1, 0, 25.0),
    ],
)
def test_auto_is_an_equal_share_for_every_card(host, cards, cards_on_host, size):
    assert host_cache_gib("auto", host, cards=cards, cards_on_host=cards_on_host) == size


def test_what_the_file_says_is_taken_as_it_is():
    """An operator who names a size has counted."""
    host = memory(1)

    assert host_cache_gib(48.0, host, cards=1, cards_on_host=1) == 48.0
    assert host_cache_gib(None, memory(512), cards=1, cards_on_host=1) is None


@pytest.mark.parametrize(
    ("files", "ram"),
    [
        ({}, 64.0),
        ({"sys/fs/cgroup/memory.max": "max\n"}, 64.0),
        ({"sys/fs/cgroup/memory.max": f"{16 * GIB}\n"}, 16.0),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n"}, 8.0),
        # Version 1 says "no limit" with a number beyond any memory.
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 64.0),
    ],
)
def test_the_containers_limit_counts(tmp_path, files, ram):
    (tmp_path / "dev/shm").mkdir(parents=True)
    files = {"proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemFree: 1 kB\n", **files}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    found = host_memory(tmp_path)

    assert found.ram == ram
    assert 0 < found.shm_free <= found.shm


def test_this_host_can_be_read():
    found = host_memory()

    assert 0.1 < found.ram < 100_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host_kv_cache": "auto", "accelerator": "cpu"}, "host_kv_cache"),
        ({"host_kv_cache": 0}, "host_kv_cache"),
        ({"host_kv_cache": "half"}, "host_kv_cache"),
        ({"engine_args": {"kv_offloading_size": 8}}, "host_kv_cache"),
    ],
)
def test_what_makes_no_sense_stops_the_start(fields, message):
    with pytest.raises(ConfigError, match=message):
        validate({**LANE, **fields}, LaneConfig, "fleet.yaml")
