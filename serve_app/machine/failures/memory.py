"""Failures for want of memory: the card's, the host's, a disk's."""

from __future__ import annotations

from serve_app.machine.failures.fingerprint import row

MEMORY = (
    row(
        "card_taken_by_another_process",
        r"CUDA out of memory\..*? Process (?P<pid>\d+) has (?P<held>[\d.]+ [GM]iB) memory in use",
        "another process ({pid}) holds {held} of the card",
        "nvidia-smi names it; if it is a leftover engine: kill {pid}, then start again",
    ),
    row(
        "card_memory_not_free",
        r"Free memory on device (?P<device>\S+) \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on "
        r"startup is less than desired GPU memory utilization \((?P<share>[\d.]+), "
        r"(?P<wanted>[\d.]+) GiB\)",
        "{free} of the card's {total} GiB are free, the lane asks for {wanted} "
        "(gpu_memory_utilization {share}): another process holds the rest",
        "nvidia-smi names the process; kill a leftover engine. If something else must stay on "
        "the card: lanes.{lane}.engine_args.gpu_memory_utilization below {free}/{total}",
    ),
    row(
        "window_larger_than_pool",
        r"max seq len \((?P<window>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is "
        r"larger than the available KV cache memory \((?P<there>[\d.]+) GiB\)\. Based on the "
        r"available memory, the estimated maximum model length is (?P<fits>\d+)",
        "one full window of {window} tokens takes {needed} GiB of KV cache, {there} are left "
        "beside the weights",
        "lanes.{lane}.max_model_len: {fits} (the longest that fits now); or kv_cache_dtype: fp8, "
        "smaller weights, or tensor_parallel_size: 2: `pointsman doctor` reckons them",
    ),
    row(
        "window_larger_than_pool",
        r"max seq len \((?P<window>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is "
        r"larger than the available KV cache memory \((?P<there>[\d.]+) GiB\)",
        "one full window of {window} tokens takes {needed} GiB of KV cache, {there} are left "
        "beside the weights, not enough for any window",
        "lanes.{lane}.engine_args.tensor_parallel_size: 2, or smaller weights (quantization)",
    ),
    row(
        "no_room_for_kv",
        r"No available memory for the cache blocks",
        "weights and overhead fill all that gpu_memory_utilization allows: nothing is left for "
        "KV cache",
        "smaller weights (lanes.{lane}.engine_args.quantization: fp8, or an AWQ checkpoint), "
        "tensor_parallel_size: 2, or gpu_memory_utilization: 0.92 where it is less",
    ),
    row(
        "host_memory_not_free",
        r"Available memory on node \d+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is "
        r"less than desired CPU memory utilization \((?P<share>[\d.]+)",
        "{free} of the host's {total} GiB are free, the lane asks for a share of {share}",
        "lanes.{lane}.engine_args.kv_cache_memory_bytes: 268435456 (256 MiB of KV, whatever the "
        "host has), or gpu_memory_utilization below {free}/{total}",
    ),
    row(
        "out_of_card_memory",
        r"CUDA out of memory(?: occurred when warming up \w+ with (?P<requests>\d+) dummy "
        r"requests)?|torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED",
        "the card ran out of memory while the engine was loading: gpu_memory_utilization is too "
        "high, or a leftover process holds some of it",
        "nvidia-smi and kill leftovers; then lanes.{lane}.engine_args.gpu_memory_utilization: 0.90",
    ),
    row(
        "shared_memory_full",
        r"No space left on device.{0,80}/dev/shm|/dev/shm.{0,120}No space left on device"
        r"|unable to (?:allocate|write to|open) shared memory|Bus error.{0,60}shared memory",
        "the host's shared memory (/dev/shm) is full or too small",
        "start the container with --ipc=host or a larger --shm-size; or "
        "lanes.{lane}.host_kv_cache: null",
    ),
    row(
        "disk_full",
        r"No space left on device|Errno 28\b|Disk quota exceeded|Not enough free disk space",
        "a disk is full: most often that of the model cache (HF_HOME)",
        "df -h; point HF_HOME to a volume of 100 GB or more, or delete old revisions with "
        "`hf cache delete`",
    ),
    row(
        "damaged_weights",
        # A Git LFS pointer, whose first bytes are read as an enormous length.
        r"parse_safetensors_file_metadata[\s\S]{0,600}?MemoryError",
        "a weight file is no safetensors file: most often a Git LFS pointer that was never fetched",
        "git lfs pull in the checkpoint's directory, or `hf download MODEL --local-dir DIRECTORY`",
    ),
    row(
        "killed_for_memory",
        r"\d+ worker\(s\) were killed due to the node running low on memory"
        r"|[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure"
        r"|OutOfMemoryError: Task was killed due to the node running low on memory"
        r"|[Oo]ut of memory: Killed process|Memory cgroup out of memory"
        r"|\bMemoryError$|numpy\S*ArrayMemoryError|DefaultCPUAllocator: can't allocate memory",
        "the host ran out of memory (RAM) while the engine was loading",
        "free -h; stop what else uses memory, add swap, or load fewer lanes at once "
        "(lanes.{lane}.enabled: false)",
    ),
)
