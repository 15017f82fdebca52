"""`pointsman simulate fleet` and `replay`: a fleet file under traffic, in virtual time."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from classifier.arguments import above_zero, add_action, from_zero, positive
from fleet.simulation import FleetReport, FleetSpec, simulate
from fleet.simulation.world import Incident, Source
from fleet.traffic.recorded import Recorded, Replay
from fleet.traffic.scenarios import Scenario, scenario_path
from fleet.traffic.traces import NoTrace, read_traces
from serve_app.commands.client import CommandError
from serve_app.commands.fleet_spec import DERIVED, spec_of
from serve_app.commands.named_files import named_card, named_fleet, named_tenants
from serve_app.config.errors import load_yaml
from serve_app.config.replicas import ReplicasConfig
from serve_app.config.settings import load_fleet, load_tenants

MOST_TENANTS = 10
"""Tenants that are named in the text; `--json` has all of them."""


def add_parts(parts: Any) -> None:
    parser = add_action(
        parts,
        "fleet",
        "Run a scenario on a whole fleet in virtual time: its policy, before simulated engines.",
        "pointsman simulate fleet --fleet rtx4090 --scenario flash-crowd",
    )
    parser.add_argument("--scenario", required=True, help="name or file")
    parser.add_argument("--minutes", type=above_zero, help="other than the scenario's")
    _add_fleet(parser)
    parser.set_defaults(func=_fleet)
    parser = add_action(
        parts,
        "replay",
        "Send a request log or a public trace to a fleet in virtual time.",
        "pointsman simulate replay --log requests-*.jsonl --fleet new.yaml",
    )
    parser.add_argument(
        "--log", type=Path, nargs="+", required=True, help="request logs, or traces (docs)"
    )
    parser.add_argument("--tier", help="of requests without one that the tenants file has")
    parser.add_argument("--speed", type=above_zero, default=1.0, help="times as fast as they came")
    parser.add_argument("--most", type=positive, help="read so many requests at most")
    _add_fleet(parser)
    parser.set_defaults(func=_replay)


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--fleet", help="name or file (default: the scenario's own, or rtx4090)")
    add("--tenants", help="tenants file (default: the scenario's own, or the usual one)")
    add("--profile", action="append", default=[], metavar="LANE=NAME", help="of a lane's engines")
    add("--card", metavar="KIND", help="that lanes are on whose bundle names none: rtx3090, say")
    add("--replicas", action="append", default=[], metavar="LANE=N", help="in place of the file's")
    add("--start-s", type=from_zero, default=60.0, help="until a new replica serves (default: 60)")
    add("--card-hour", type=from_zero, default=0.0, help="price of one card for an hour")
    add("--seed", type=int, default=1)


def _fleet(args: argparse.Namespace) -> int:
    try:
        path = scenario_path(args.scenario)
    except FileNotFoundError as error:
        raise CommandError(str(error)) from error
    scenario = load_yaml(path, Scenario)
    beside = {
        kind: str(path.parent / name)
        for kind, name in (("fleet", scenario.fleet), ("tenants", scenario.tenants))
        if name is not None
    }
    if args.card is None and args.fleet is None and scenario.card is not None:
        args.card = scenario.card
    spec = _spec(args, beside)
    try:
        sources = scenario.sources(args.seed, spec.sticky_turns)
        spec = scenario.sized(spec) if not args.replicas else spec
        spec = scenario.remembering(spec)
        happenings = scenario.happenings(spec)
    except (FileNotFoundError, ValueError) as error:
        raise CommandError(f"scenario '{scenario.name}': {error}") from error
    for source in sources:
        _known_tier(source.tier, spec)
    duration_s = scenario.duration_s if args.minutes is None else 60 * args.minutes
    if duration_s <= scenario.skip_s:
        raise CommandError(
            f"--minutes: the first {scenario.skip_s:.0f} s are not counted; say more"
        )
    return _run(args, spec, sources, duration_s, happenings, scenario)


def _replay(args: argparse.Namespace) -> int:
    try:
        requests = read_traces(args.log, args.most)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    except NoTrace as error:
        raise CommandError(str(error)) from error
    if not requests:
        raise CommandError("the log has no requests")
    spec = _spec(args, {})
    tier = args.tier or next(iter(spec.tiers))
    _known_tier(tier, spec)
    replay = Replay(requests, tier, frozenset(spec.tiers), args.speed)
    # Answers that are under way at the end still come.
    duration_s = requests[-1].at / args.speed + 600
    return _run(args, spec, [replay], duration_s, [], None, requests)


def _known_tier(tier: str, spec: FleetSpec) -> None:
    if tier not in spec.tiers:
        raise CommandError(
            f"the tenants file has no tier '{tier}' (it has {', '.join(spec.tiers)})"
        )


def _spec(args: argparse.Namespace, beside: dict[str, str]) -> FleetSpec:
    given = args.fleet or beside.get("fleet") or "rtx4090"
    fleet = load_fleet(named_fleet(given))
    tenants = load_tenants(named_tenants(args.tenants or beside.get("tenants")))
    lanes = dict(fleet.lanes)
    for lane, count in _pairs(args.replicas, "--replicas", fleet.enabled_lanes).items():
        if not count.isdecimal() or not int(count):
            raise CommandError(f"--replicas {lane}={count}: say a number from 1 on")
        lanes[lane] = lanes[lane].model_copy(
            update={"replicas": ReplicasConfig(min=int(count), max=int(count))}
        )
    fleet = fleet.model_copy(update={"lanes": lanes})
    profiles = _pairs(args.profile, "--profile", fleet.enabled_lanes)
    try:
        return spec_of(
            fleet,
            tenants,
            profiles=profiles,
            start_s=args.start_s,
            card_hour=args.card_hour,
            card=None if args.card is None else named_card(args.card),
        )
    except FileNotFoundError as error:
        raise CommandError(str(error)) from error


def _pairs(given: Iterable[str], option: str, lanes: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in given:
        lane, sign, value = text.partition("=")
        if not sign or lane not in lanes:
            raise CommandError(f"{option} {text}: say LANE=VALUE, of {', '.join(lanes)}")
        found[lane] = value
    return found


def _run(
    args: argparse.Namespace,
    spec: FleetSpec,
    sources: list[Any],
    duration_s: float,
    happenings: list[Incident],
    scenario: Scenario | None,
    recorded: list[Recorded] | None = None,
) -> int:
    """Exit status: 1 if protected work was refused before sheddable work, else 0."""
    cell = 1.0 if scenario is None else scenario.cell
    skip_s = 0.0 if scenario is None else scenario.skip_s
    traffic: list[Source] = sources
    begun = time.process_time()
    report = simulate(
        spec, traffic, duration_s=duration_s, seed=args.seed, skip_s=skip_s, incidents=happenings
    )
    cpu_s = time.process_time() - begun
    derived = [name for name, lane in spec.lanes.items() if lane.profile.source == DERIVED]
    if args.json:
        told = {"simulated": True, "cell": cell, "cpu_s": cpu_s, "derived": derived}
        print(json.dumps(told | report.to_dict()))
    else:
        if derived:
            print(f"speed of {', '.join(derived)}: from data sheets, an estimate (--profile)")
        _print(report, cell, cpu_s, recorded)
    return 1 if report.violations else 0


def _print(report: FleetReport, cell: float, cpu_s: float, recorded: list[Recorded] | None) -> None:
    of = f", one cell of {cell:g}" if cell > 1 else ""
    print(f"simulated {report.virtual_s / 60:.0f} minutes in {cpu_s:.1f} s of CPU{of}")
    print(
        f"{'lane':14} {'tier':10} {'asked':>8} {'answered':>8} {'TTFT p50':>9} {'p95':>7} "
        f"{'p99':>7} {'ITL p50':>8} {'whole p95':>9} {'cached':>6}  SLO"
    )
    for row in report.rows:
        p = row.percentiles
        print(
            f"{row.lane:14} {row.tier:10} {row.requests:8} {row.answered:8} "
            f"{_ms(p['ttft_p50_s']):>9} {_ms(p['ttft_p95_s']):>7} {_ms(p['ttft_p99_s']):>7} "
            f"{_ms(p['itl_p50_s']):>8} {_ms(p['duration_p95_s']):>9} "
            f"{_share(row.cached_ratio):>6}  "
            + ("kept" if row.slo_kept else f"BROKEN: {_misses(row.misses)}")
        )
    codes: Counter[str] = Counter()
    for row in report.rows:
        codes.update(row.codes)
    print("ends: " + ", ".join(f"{code} {count}" for code, count in codes.most_common()))
    if recorded is not None:
        then = Counter(one.code for one in recorded)
        print("then: " + ", ".join(f"{code} {count}" for code, count in then.most_common()))
    _print_refused(report)
    print(f"shed order: {report.violations} violations of {sum(report.shed_order.values())} judged")
    _print_turns(report)
    for name, hours in report.card_hours.items():
        served = [ready for _, ready, _ in report.replicas.get(name, ())]
        what = f"{min(served)} to {max(served)} replicas" if served else "cards that lanes share"
        print(f"{name}: {what}, {hours * cell:.1f} card hours")
    bill = f"{report.token_cost * cell:,.2f} {report.currency} of tokens"
    if report.card_cost:
        bill += f", {report.card_cost * cell:,.2f} {report.currency} of cards"
    print(f"bill: {bill}")


def _print_turns(report: FleetReport) -> None:
    """Say how lanes that share cards took turns."""
    for lane, row in report.turns.items():
        late = f", {row.kept_out} refused for it" if row.kept_out else ""
        failed = f", {row.failures} failed" if row.failures else ""
        waits = f"{row.waited} of {row.passed} requests waited"
        if row.waited:
            waits += f" (p50 {row.wait_p50_s:.1f} s, p95 {row.wait_p95_s:.1f}"
            waits += f", most {row.wait_most_s:.1f})"
        print(
            f"{lane}: woken {row.wakings} times ({row.loads} started anew{failed}), has a card of "
            f"{row.pool} {row.card_ratio:.0%} of the time; {waits}{late}"
        )


def _print_refused(report: FleetReport) -> None:
    """Name the tenants that were refused most."""
    refused = {
        tenant: {code: count for code, count in codes.items() if code != "200"}
        for tenant, codes in report.by_tenant.items()
    }
    worst = sorted(refused, key=lambda tenant: -sum(refused[tenant].values()))
    for tenant in worst[:MOST_TENANTS]:
        if refused[tenant]:
            told = ", ".join(f"{code} {count}" for code, count in refused[tenant].items())
            print(f"  {tenant}: {told}")


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.0f} ms"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _misses(misses: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in misses.items() if share)
