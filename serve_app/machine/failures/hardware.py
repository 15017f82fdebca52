"""Failures of the driver, the card and the libraries between."""

from __future__ import annotations

from serve_app.machine.failures.fingerprint import row

HARDWARE = (
    row(
        "driver_too_old",
        r"NVIDIA driver on your system is too old(?: \(found version (?P<found>\d+)\))?"
        r"|CUDA driver version is insufficient for CUDA runtime version"
        r"|the provided PTX was compiled with an unsupported toolchain",
        "the NVIDIA driver is older than the CUDA that this build of torch and vLLM needs",
        "sudo apt-get install nvidia-driver-580 (or newer) and reboot; `pointsman doctor` says "
        "which version this build needs",
    ),
    row(
        "driver_mismatch",
        r"Driver/library version mismatch|NVMLError_LibRmVersionMismatch",
        "the loaded kernel module and the installed driver library are of different releases: "
        "the driver was upgraded without a reboot",
        "sudo reboot",
    ),
    row(
        "no_driver",
        r"Found no NVIDIA driver on your system|NVMLError_DriverNotLoaded"
        r"|RuntimeError: No CUDA GPUs are available|CUDA error: no CUDA-capable device is detected",
        "no NVIDIA driver or no card is visible to the engine",
        "nvidia-smi must list the card (in a container: run it with --gpus all); without a card "
        "`args.fleet: local` in serve_config.yaml starts the CPU fleet",
    ),
    row(
        "wrong_kernel_image",
        r"no kernel image is available for execution on the device",
        "this build of vLLM has no code for the card's compute capability",
        "use a card of compute capability 7.5 or newer (`nvidia-smi --query-gpu=compute_cap "
        "--format=csv`); for one that is newer than this vLLM, upgrade Pointsman",
    ),
    row(
        "cuda_library_missing",
        r"ImportError: (?P<library>lib(?:cudart|cublas|cublasLt|cudnn|nccl|cuda|nvrtc)\.so[.\d]*): "
        r"cannot open shared object file",
        "{library} is not there: torch and vLLM are of different CUDA builds, or the driver is "
        "not installed",
        "scripts/install (the locked CUDA build anew); for libcuda.so.1 install the driver",
    ),
    row(
        "build_mismatch",
        r"undefined symbol: (?P<symbol>\w*(?:c10|at|torch|cuda)\w*)",
        "vLLM's compiled code and torch are of different releases",
        "rm -r .venv && scripts/install: installs the locked versions together",
    ),
    row(
        "card_lost",
        r"GPU is lost|Xid \(PCI|CUDA error: (?:unspecified launch failure|uncorrectable ECC error)"
        r"|fallen off the bus",
        "the card has failed while the engine was loading",
        "sudo dmesg | grep -i xid names the fault; reboot, and check power cables and temperature",
    ),
    row(
        "fp8_kv_not_supported",
        r"FP8 KV cache is not supported by the \w+ attention backend on (?P<card>.+?) \(compute "
        r"capability (?P<capability>[\d.]+)\)"
        r"|FlashAttention does not support fp8\w* kv-cache on this device"
        r"|No valid attention backend found for \S+ with .*?kv_cache_dtype=fp8"
        r"|FP8 KV not supported on this device",
        "this card or its driver has no FP8 for the KV cache, which needs compute capability 8.9 "
        "(sm_89) or newer",
        "lanes.{lane}.engine_args.kv_cache_dtype: auto (16 bits: twice the memory a token, so "
        "lower max_model_len or max_num_seqs as well); on an sm_89 card upgrade the driver to "
        "550 or newer and reboot",
    ),
    row(
        "fell_back_from_fp8",
        r"FellBack: asked for (?P<flag>\w+) (?P<wanted>\S+), the engine runs with (?P<found>\S+)",
        "{flag} {wanted} was asked for, and the engine runs with {found}: it would run out of "
        "memory in long contexts",
        "upgrade the driver to 550 or newer and reboot, and confirm sm_89 (`pointsman doctor`); or "
        "say what it does: lanes.{lane}.engine_args.{flag}: {found}, with a shorter max_model_len",
    ),
    row(
        "quantization_needs_newer_card",
        r"The quantization method (?P<method>\S+) is not supported for the current GPU\. "
        r"Minimum capability: (?P<least>\d+)\. Current capability: (?P<found>\d+)",
        "the card has compute capability {found} (without the point), {method} needs {least}",
        "lanes.{lane}.engine_args.quantization: null, or a checkpoint and method that the card has",
    ),
    row(
        "bfloat16_not_supported",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        "the checkpoint is in bfloat16, which this card does not have",
        "lanes.{lane}.engine_args.dtype: half",
    ),
    row(
        "nccl",
        r"NCCL error(?::| in:?) *(?P<what>unhandled \w+ error|[^\n,]{1,80})"
        r"|ncclUnhandledCudaError|ncclSystemError|ncclInternalError|DistBackendError: NCCL",
        "the cards of one replica cannot talk to each other (NCCL)",
        "lanes.{lane}.env.NCCL_DEBUG: INFO and start again: its lines say why. Usual ones: "
        "/dev/shm of a container is too small (--shm-size or --ipc=host), or peer-to-peer "
        'does not work (lanes.{lane}.env.NCCL_P2P_DISABLE: "1")',
    ),
)
