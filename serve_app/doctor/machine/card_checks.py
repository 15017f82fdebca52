"""Driver and cards against what the fleet's lanes and the installed build need."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from fleet.cards.table import cards_by_kind
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import (
    Check,
    Section,
    Verdict,
    failure,
    not_applicable,
    ok,
    warning,
)
from serve_app.doctor.fit.cards import kind_of_lane
from serve_app.doctor.machine.cards import Card, Cards

FP8_KV_DRIVER = 550
"""Below it FP8 KV falls back to 16 bits without a word (the FP8 document)."""
DRIVER_OF_CUDA = {11: 450, 12: 525, 13: 580}
"""First driver of each CUDA major release: NVIDIA's table of minor-version compatibility."""
CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")

FP8_CAPABILITY = (8, 9)
LEAST_CAPABILITY = (7, 5)
"""Of vLLM 0.29.0's FP8 and AWQ kernels."""
MEMORY_SLACK = 0.03
"""ECC and releases of the driver move the total by less."""
FREE_SHARE = 0.97
"""Of a card that nothing uses; the driver itself takes some hundred MiB."""
HOT_CELSIUS = 83
"""Where a 4090 begins to lower its clocks (the FP8 document)."""
COOL = (
    "check inlet air, fans and power cables; sudo nvidia-smi -pl 400; to watch: "
    "nvidia-smi --query-gpu=clocks_throttle_reasons.active,temperature.gpu --format=csv -l 5"
)
HOLDS_BACK = ("hw_slowdown", "sw_thermal", "hw_thermal", "power_brake")
"""Reasons that are faults; a card at its power cap does what it was told to."""


def cuda_of_build() -> int | None:
    """Return the CUDA major release that the installed torch and vLLM were built for."""
    for name in CUDA_PACKAGES:
        try:
            return int(importlib.metadata.version(name).split(".", 1)[0])
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


class CardChecks:
    """Checks of one machine's cards; none applies where no lane or no card is there.

    Args:
        fleet: whose enabled lanes say what is needed.
        cards: as read.
        cuda: major release of the build; None: a build without CUDA.

    """

    def __init__(self, fleet: FleetConfig, cards: Cards, cuda: int | None) -> None:
        self._cards, self._cuda = cards, cuda
        self._lanes = {
            name: lane
            for name, lane in fleet.enabled_lanes.items()
            if lane.accelerator == "gpu" and lane.engine == "vllm"
        }

    def all(self) -> list[Check]:
        made = [
            ("driver", self.driver),
            ("card kind", self.kind),
            ("compute capability", self.capability),
            ("card memory", self.memory),
            ("card free", self.free),
            ("power limit", self.power),
            ("throttling", self.throttling),
        ]
        return [Check(name, Section.MACHINE, self._where_there(check)) for name, check in made]

    def _where_there(self, check: Callable[[], Verdict]) -> Callable[[], Verdict]:
        if not self._lanes:
            return lambda: not_applicable("no lane of this fleet runs on a card")
        if not self._cards.cards:
            why = self._cards.why_none
            return lambda: not_applicable(f"{why}; run this on the hosts that have the cards")
        return check

    def driver(self) -> Verdict:
        found = self._cards.driver
        major = int(found.split(".", 1)[0]) if found.split(".", 1)[0].isdigit() else 0
        needed = DRIVER_OF_CUDA.get(self._cuda or 0, FP8_KV_DRIVER)
        fix = f"sudo apt-get install nvidia-driver-{max(needed, FP8_KV_DRIVER)} && sudo reboot"
        if major < needed:
            why = f"this build is for CUDA {self._cuda}, which needs {needed} or newer"
            return failure(f"{found}: {why}", fix)
        if major < FP8_KV_DRIVER:
            return failure(f"{found}: FP8 KV falls silently back to 16 bits before 550", fix)
        if self._cuda is None:
            return warning(
                f"{found}, but the CPU build is installed: GPU lanes do not start with it",
                "rm -r .venv && scripts/install (it takes the CUDA build where it finds a card)",
            )
        return ok(f"{found}, for CUDA {self._cuda} ({needed} or newer)")

    def kind(self) -> Verdict:
        """Ray waits for ever for a kind of card that no node has."""
        found = [card.kind for card in self._cards.cards]
        wanted: dict[str, int] = {}
        for lane in self._lanes.values():
            if kind := kind_of_lane(lane):
                wanted[kind] = wanted.get(kind, 0) + lane.workers * lane.replicas.min
        told = ", ".join(f"{found.count(kind)} x {kind}" for kind in dict.fromkeys(found))
        for kind, count in wanted.items():
            if kind not in found:
                fix = f'bundle: {{"accelerator_type:{found[0]}": 0.001, ...}} of those lanes'
                return failure(f"lanes ask for {count} x {kind}, here are {told}", fix)
            if found.count(kind) < count:
                return warning(
                    f"lanes ask for {count} x {kind}, here are {told}: the others must be on "
                    "further nodes",
                    "lanes.NAME.enabled: false for what has no card, and take it out of routing",
                )
        return ok(told)

    def capability(self) -> Verdict:
        needing = [name for name, lane in self._lanes.items() if _uses_fp8(lane)]
        worst = min(self._cards.cards, key=lambda card: card.capability)
        told = f"{worst.name}: {_dotted(worst.capability)}"
        if worst.capability < LEAST_CAPABILITY:
            return failure(f"{told}; vLLM's quantised kernels begin at 7.5", "another card")
        if worst.capability >= FP8_CAPABILITY or not needing:
            return ok(f"{told}{', FP8 tensor cores' if worst.capability >= FP8_CAPABILITY else ''}")
        return warning(
            f"{told}, without FP8 tensor cores: lanes {', '.join(needing)} say fp8. Weights then "
            "stay FP8 but compute in 16 bits (Marlin), without the gain in speed; an FP8 KV cache "
            "(e4m3 or e5m2) works with FlashInfer alone, and Triton's backend refuses to start",
            "lanes.NAME.engine_args.kv_cache_dtype: auto, with half the max_model_len or "
            "max_num_seqs; or an AWQ checkpoint",
        )

    def memory(self) -> Verdict:
        """A rebadged or cut-down card has its sister's name and other memory."""
        odd = []
        for card in self._cards.cards:
            known = cards_by_kind().get(card.kind)
            if known and abs(card.memory_total_bytes / known.memory_bytes - 1) > MEMORY_SLACK:
                odd.append(
                    f"card {card.index} calls itself {card.name} and has "
                    f"{_mib(card.memory_total_bytes)}; that kind has {_mib(known.memory_bytes)}"
                )
        if odd:
            fix = "nvidia-smi -q -i INDEX; reckon with what it has: `pointsman doctor` does"
            return failure("; ".join(odd), fix)
        return ok(", ".join(f"{x.index}: {_mib(x.memory_total_bytes)}" for x in self._cards.cards))

    def free(self) -> Verdict:
        """Name who holds memory before the start: a leftover engine most often."""
        taken = [x for x in self._cards.cards if _free_share(x) < FREE_SHARE]
        if not taken:
            return ok("no process holds memory of a card")
        told = "; ".join(_holders(card) for card in taken)
        pids = [str(process.pid) for card in taken for process in card.processes]
        fix = f"if they are leftovers: kill {' '.join(pids)}" if pids else "nvidia-smi names who"
        return warning(f"{told} (a running deployment is one reason)", fix)

    def power(self) -> Verdict:
        """The documents cap a 4090 at 400 W: steadier latency for 3 to 4 % of throughput."""
        over, told = [], []
        for card in self._cards.cards:
            known, limit = cards_by_kind().get(card.kind), card.power_limit_watts
            if limit is None:
                continue
            told.append(f"{card.index}: {limit:.0f} W")
            if known and known.power_cap_w and limit > known.power_cap_w:
                over.append((card.index, limit, known.power_cap_w))
        if not told:
            return not_applicable("the cards do not tell their power limit")
        if over:
            cap = over[0][2]
            seen = ", ".join(f"{index}: {limit:.0f} W" for index, limit, _ in over)
            return warning(
                f"{seen}; capped at {cap} W latency is steadier, for 3 to 4 % of throughput",
                "; ".join(f"sudo nvidia-smi -i {index} -pl {cap}" for index, *_ in over),
            )
        return ok(", ".join(told))

    def throttling(self) -> Verdict:
        held = [
            f"card {x.index}: {', '.join(r for r in x.throttled_by if r in HOLDS_BACK)}"
            for x in self._cards.cards
            if any(reason in HOLDS_BACK for reason in x.throttled_by)
        ]
        hot = [x for x in self._cards.cards if (x.temperature_celsius or 0) >= HOT_CELSIUS]
        if held or hot:
            told = held + [f"card {x.index}: {x.temperature_celsius:.0f} C" for x in hot]
            return warning("; ".join(told), COOL)
        temperatures = [
            f"{x.index}: {x.temperature_celsius:.0f} C"
            for x in self._cards.cards
            if x.temperature_celsius is not None
        ]
        return ok(f"no card is held back; {', '.join(temperatures) or 'no temperature told'}")


def _uses_fp8(lane: LaneConfig) -> bool:
    args = lane.engine_args
    return any(str(args.get(x, "")).startswith("fp8") for x in ("quantization", "kv_cache_dtype"))


def _free_share(card: Card) -> float:
    return 1 - card.memory_used_bytes / max(1, card.memory_total_bytes)


def _holders(card: Card) -> str:
    used = f"card {card.index}: {_mib(card.memory_used_bytes)} taken"
    names = [f"{x.name} (pid {x.pid}{_held(x.memory_bytes)})" for x in card.processes]
    return f"{used} by {', '.join(names)}" if names else f"{used} by no process that is told"


def _held(memory_bytes: int | None) -> str:
    return f", {_mib(memory_bytes)}" if memory_bytes else ""


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
