"""`pointsman simulate`: the simulated engine, in virtual time and on a port; load; fits."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from classifier.arguments import add_action, positive
from serve_app.commands import simulate_fleet
from serve_app.commands.client import DEFAULT_URL, CommandError
from serve_app.config.errors import load_yaml
from simulator.model.profile import FixedTiming, Profile, Scheduling, profile_path
from simulator.virtual_time.report import Slo, Turn, by_turn, summary
from simulator.virtual_time.workload import Workload, workload_path

M = TypeVar("M", bound=BaseModel)

_SLO = Slo()


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "simulate",
        help="Simulated engines, fleets and load: run, fleet, replay, serve, load, fit.",
        description="Simulated engines and load. Nothing simulated comes from a model.",
        epilog="example: pointsman simulate run --profile llama-3.1-8b-fp8-rtx4090 --active 30",
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    _add_run(parts)
    simulate_fleet.add_parts(parts)
    _add_serve(parts)
    _add_load(parts)
    _add_fit(parts)


def _add_traffic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workload", default="saas", help="name or file (default: saas)")
    parser.add_argument("--active", type=positive, help="closed loop: so many sessions")
    parser.add_argument("--sessions-per-s", type=float, help="open loop: Poisson arrivals")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ttft-p95-s", type=float, default=_SLO.ttft_p95_s, help="SLO bound")
    parser.add_argument("--first-30-p95-s", type=float, default=_SLO.first_30_p95_s)
    parser.add_argument("--duration-p95-s", type=float, default=_SLO.duration_p95_s)


def _add_run(parts: Any) -> None:
    parser = add_action(
        parts,
        "run",
        "Run a workload on one simulated engine in virtual time.",
        "pointsman simulate run --profile llama-3.1-8b-fp8-rtx4090 "
        "--workload saas --active 30 --minutes 60",
    )
    parser.add_argument("--profile", required=True, help="name or file")
    parser.add_argument("--minutes", type=float, default=60)
    _add_traffic(parser)
    parser.set_defaults(func=_run)


def _add_serve(parts: Any) -> None:
    parser = add_action(
        parts,
        "serve",
        "Serve one simulated engine over HTTP, without Ray.",
        "pointsman simulate serve --profile llama-3.1-8b-fp8-rtx4090 --port 8100",
    )
    parser.add_argument("--profile", help="name or file; default: fixed times")
    parser.add_argument("--ttft-s", type=float, default=0.01)
    parser.add_argument("--itl-s", type=float, default=0.01)
    parser.add_argument(
        "--out-of-step", action="store_true", help="fixed times: every stream for itself"
    )
    parser.add_argument("--model-id", default="simulated")
    parser.add_argument("--window", type=positive, default=32768, help="context in tokens")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.set_defaults(func=_serve)


def _add_load(parts: Any) -> None:
    parser = add_action(
        parts,
        "load",
        "Send a workload to a running deployment and report against the SLO.",
        "pointsman simulate load --url http://127.0.0.1:8000 "
        "--workload saas --active 8 --seconds 60",
    )
    parser.add_argument("--url", default=DEFAULT_URL)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--keys", type=Path, help="file with one API key a line, given to tenants in turn"
    )
    _add_traffic(parser)
    parser.set_defaults(func=_load)


def _add_fit(parts: Any) -> None:
    parser = add_action(
        parts,
        "fit",
        "Measure a running OpenAI-compatible engine and write a profile of it.",
        "pointsman simulate fit --url http://127.0.0.1:8100 --model my-model "
        "--name my-card --out my-card.yaml",
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-gpu-blocks", type=positive, required=True)
    parser.add_argument("--block-size", type=positive, default=16)
    parser.add_argument("--max-num-seqs", type=positive, default=64)
    parser.add_argument("--max-num-batched-tokens", type=positive, default=4096)
    parser.add_argument("--max-batch", type=positive, default=8, help="largest batch measured")
    parser.add_argument("--max-prompt", type=positive, default=1024, help="longest prompt")
    parser.set_defaults(func=_fit)


# -- carrying out -------------------------------------------------------------------


def _read(find: Any, name: str, model: type[M]) -> M:
    try:
        path = find(name)
    except FileNotFoundError as error:
        raise CommandError(str(error)) from error
    return load_yaml(path, model)


def _rate(args: argparse.Namespace) -> dict[str, Any]:
    if (args.active is None) == (args.sessions_per_s is None):
        raise CommandError("give either --active (closed loop) or --sessions-per-s (open loop)")
    return {"active": args.active, "sessions_per_s": args.sessions_per_s}


def _run(args: argparse.Namespace) -> int:
    from simulator.virtual_time.virtual import run, tokens_per_s

    profile = _read(profile_path, args.profile, Profile)
    workload = _read(workload_path, args.workload, Workload)
    begun = time.perf_counter()
    result = run(
        profile, workload, duration_s=60 * args.minutes, random=Random(args.seed), **_rate(args)
    )
    engine = result.engine
    more = {
        "simulated": True,
        "virtual_s": result.virtual_s,
        "wall_s": time.perf_counter() - begun,
        "tokens_per_s": tokens_per_s(result),
        "preemptions": engine.preemptions,
        "evicted_blocks": engine.pool.evictions,
        "busy_share": engine.busy_s / result.virtual_s,
    }
    return _report(args, result.turns, more)


def _load(args: argparse.Namespace) -> int:
    from simulator.client.load import Target, run_load

    workload = _read(workload_path, args.workload, Workload)
    keys = args.keys.read_text().split() if args.keys else []
    target = Target(
        args.url.rstrip("/"),
        args.model,
        key_of=lambda tenant: keys[tenant % len(keys)] if keys else None,
    )
    turns = asyncio.run(
        run_load(target, workload, duration_s=args.seconds, random=Random(args.seed), **_rate(args))
    )
    lanes: dict[str, int] = {}
    codes: dict[str, int] = {}
    for turn in turns:
        lanes[turn.lane or "unnamed"] = lanes.get(turn.lane or "unnamed", 0) + 1
        if turn.error:
            codes[turn.error] = codes.get(turn.error, 0) + 1
    tokens = sum(turn.output_tokens for turn in turns if not turn.error)
    more = {"tokens_per_s": tokens / args.seconds, "lanes": lanes, "errors_by_code": codes}
    return _report(args, turns, more)


def _report(args: argparse.Namespace, turns: list[Turn], more: dict[str, Any]) -> int:
    if not turns:
        raise CommandError("no request ended in that time")
    slo = Slo(args.ttft_p95_s, args.first_30_p95_s, args.duration_p95_s).judge(turns)
    report = {**more, **summary(turns), "slo": slo, "by_turn": by_turn(turns)}
    if args.json:
        print(json.dumps(_finite(report)))
        return 0
    for name, value in report.items():
        if name not in ("slo", "by_turn"):
            print(f"{name:28} {_shown(value)}")
    print(f"{'SLO':28} {'kept' if slo['kept'] else 'BROKEN'}")
    for name, bound in slo["bounds"].items():
        print(f"  {name:26} {slo['seen'][name]:.3f} (bound {bound:g})")
    print(f"  {'turns within all bounds':26} {slo['goodput_share']:.1%}")
    print("turn  requests  TTFT p50/p95/p99 ms     ITL p50 ms  end to end p50/p95 ms")
    for row in report["by_turn"]:
        print(
            f"{row['turn']:4}  {row['requests']:8}  {row['ttft_p50_ms']:6.0f} "
            f"{row['ttft_p95_ms']:6.0f} {row['ttft_p99_ms']:6.0f}     {row['itl_p50_ms']:7.1f}"
            f"  {row['duration_p50_ms']:9.0f} {row['duration_p95_ms']:8.0f}"
        )
    return 0


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _serve(args: argparse.Namespace) -> int:
    from simulator.http.serve import serve
    from simulator.http.spec import EngineSpec

    timing: Profile | FixedTiming = FixedTiming(
        ttft_s=args.ttft_s, itl_s=args.itl_s, in_step=not args.out_of_step
    )
    if args.profile:
        timing = _read(profile_path, args.profile, Profile)
    print(f"simulated engine '{args.model_id}' on http://{args.host}:{args.port}", flush=True)
    serve(EngineSpec(args.model_id, args.window, timing), args.host, args.port)
    return 0


def _fit(args: argparse.Namespace) -> int:
    import aiohttp

    from simulator.client.fit import BATCHES, PREFILL_TOKENS, fit_timing, measure

    batches = [b for b in (*BATCHES, 16, 32, 64, 128) if b <= args.max_batch]
    prompts = [p for p in (*PREFILL_TOKENS, 2048, 4096) if p <= args.max_prompt]
    try:
        seen = asyncio.run(
            measure(
                args.url.rstrip("/"),
                args.model,
                random=Random(),
                batches=batches,
                prompts=prompts,
            )
        )
        timing = fit_timing(seen)
    except (aiohttp.ClientError, ValueError) as error:
        raise CommandError(f"the engine could not be measured: {error}") from error
    profile = Profile(
        name=args.name,
        source=f"fitted to a running engine with model '{args.model}'",
        timing=timing,
        scheduling=Scheduling(
            max_num_seqs=args.max_num_seqs,
            max_num_batched_tokens=args.max_num_batched_tokens,
            block_size=args.block_size,
            num_gpu_blocks=args.num_gpu_blocks,
        ),
    )
    args.out.write_text(yaml.safe_dump(profile.model_dump(), sort_keys=False))
    if args.json:
        print(json.dumps({"profile": profile.model_dump(), "out": str(args.out)}))
    else:
        print(args.out.read_text(), end="")
    return 0
