"""`pointsman plan`: from users and cards to a fleet, its walls and its bill."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from classifier.arguments import above_zero, from_zero, positive
from fleet.cards.table import Card, cards
from fleet.memory.shape import NotReckoned
from fleet.plan.page.page import page
from fleet.plan.plan import NoPlan, Plan, Wish, plan
from fleet.plan.reckoning.money import HOSTED, Hosted, Tariff
from fleet.plan.report import as_data, as_lines
from fleet.plan.what_if import growth
from fleet.plan.written import fleet_data, remarks
from serve_app.commands.client import CommandError, subparser
from serve_app.commands.plan_check import check
from serve_app.config.errors import load_yaml
from simulator.model.profile import Profile, profile_path
from simulator.virtual_time.users import Promise, Users
from simulator.virtual_time.workload import Workload, workload_path

USERS = ("monthly", "daily", "active", "turns_per_s")
SHAPE = ("turns", "think_s", "system_tokens", "tenants", "complex_share")
LANES = ("chat", "quality", "agent", "free")


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "plan",
        "Say which fleet holds a workload on the cards at hand, what binds, and the bill.",
        "pointsman plan --daily 400 --turns 6 --cards rtx3090:2 --check",
        remote=False,
    )
    parser.set_defaults(func=_plan, refuse=parser.error)
    who = parser.add_argument_group("users", "instead of the workload's own; one of the first four")
    who.add_argument("--monthly", type=int, help="active in a month")
    who.add_argument("--daily", type=int, help="active on a day")
    who.add_argument("--active", type=float, help="sessions at once in the busiest hour")
    who.add_argument("--turns-per-s", type=float, help="turns a second in the busiest hour")
    who.add_argument("--power", type=int, help="of the daily, those who come more often")
    who.add_argument("--headroom", type=float, help="room for growth (0.3)")
    who.add_argument("--burst", type=float, help="sessions in a burst over the busiest hour's")
    who.add_argument("--swing", type=float, help="busiest hour over the quietest")
    who.add_argument("--free-ratio", type=float, help="share of sessions of the free tier")
    talk = parser.add_argument_group("sessions")
    talk.add_argument("--workload", default="saas", help="name or file (default: saas)")
    talk.add_argument("--turns", type=float, help="turns of a session")
    talk.add_argument("--think-s", type=float, help="pause between turns")
    talk.add_argument("--tokens-in", type=float, help="new prompt tokens of a turn")
    talk.add_argument("--tokens-out", type=float, help="tokens of an answer")
    talk.add_argument("--system-tokens", type=int, help="system prompt of a tenant")
    talk.add_argument("--tenants", type=int, help="each has a system prompt of its own")
    talk.add_argument("--complex-share", type=float, help="share of sessions for `quality`")
    slo = parser.add_argument_group("promise", "95th percentiles in seconds; 0: nothing promised")
    for name in Promise.model_fields:
        slo.add_argument(f"--{name.replace('_', '-')}", type=float)
    _add_cards(parser)
    out = parser.add_argument_group("what comes out")
    out.add_argument("--check", action="store_true", help="simulate it; exit 1 if the SLO breaks")
    out.add_argument("--minutes", type=above_zero, default=10, help="of the simulation (10)")
    out.add_argument("--seed", type=int, default=1)
    out.add_argument("--what-if", action="store_true", help="also the fleet with one thing changed")
    out.add_argument("--write", type=Path, help="write a fleet file that is not there yet")
    out.add_argument("--force", action="store_true", help="--write over one that is there")
    out.add_argument("--page", type=Path, help="write a page with sliders (needs no server)")


def _add_cards(parser: argparse.ArgumentParser) -> None:
    cost = parser.add_argument_group("cards and money")
    cost.add_argument(
        "--cards",
        action="append",
        default=[],
        metavar="KIND[:N]",
        help="at hand; several times or with commas. More are bought of these kinds alone",
    )
    cost.add_argument("--card-file", type=Path, help="own cards, in the form of the shipped table")
    cost.add_argument("--rent-per-month", type=from_zero, help="of one card; default: the table's")
    cost.add_argument(
        "--own", type=positive, metavar="MONTHS", help="bought, written off over months"
    )
    cost.add_argument("--kwh", type=from_zero, default=0.15, help="price of a kWh, of bought cards")
    cost.add_argument("--model", action="append", default=[], metavar="LANE=MODEL")
    cost.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="LANE=PROFILE",
        help="measured speed (`pointsman simulate fit`) instead of the data sheet's",
    )


def _plan(args: argparse.Namespace) -> int:
    if args.write is not None and args.write.exists() and not args.force:
        args.refuse(f"--write: {args.write} is there already, and may have been edited; --force")
    wish = _wish(args)
    try:
        found = plan(wish)
        times = growth(wish) if any(wish.stock.values()) else 0.0
    except (NoPlan, NotReckoned) as error:
        raise CommandError(str(error)) from error
    checked = list(check(found, args.seed, args.minutes)) if args.check else []
    if args.page is not None:
        args.page.write_text(page(found))
    if args.write is not None:
        _write(args.write, found)
    hosted = _hosted()
    if args.json:
        print(json.dumps(as_data(found, times, checked, hosted)))
    else:
        print("\n".join(as_lines(found, times, checked, hosted, with_what_ifs=args.what_if)))
    return 1 if any(x.broken for x in checked) else 0


def _wish(args: argparse.Namespace) -> Wish:
    try:
        workload = load_yaml(workload_path(args.workload), Workload)
        profiles = {
            lane: load_yaml(profile_path(name), Profile)
            for lane, name in _by_lane(args.profile).items()
        }
    except FileNotFoundError as error:
        raise CommandError(str(error)) from error
    try:
        table = cards(args.card_file)
    except (ValidationError, yaml.YAMLError) as error:
        raise CommandError(f"{args.card_file}: {_sentence(error)}") from error
    try:
        workload = _shaped(args, workload)
        users = _users(args, workload)
    except ValidationError as error:
        raise CommandError(_sentence(error)) from error
    promise = workload.promise.model_copy(
        update={
            name: given or None
            for name in Promise.model_fields
            if (given := getattr(args, name)) is not None
        }
    )
    return Wish(
        workload,
        users,
        table,
        _stock(args.cards, table),
        promise,
        Tariff(args.rent_per_month, args.own, args.kwh),
        _by_lane(args.model),
        profiles,
    )


def _shaped(args: argparse.Namespace, workload: Workload) -> Workload:
    data = workload.model_dump()
    data |= {name: given for name in SHAPE if (given := getattr(args, name)) is not None}
    for name, given in (("input", args.tokens_in), ("output", args.tokens_out)):
        if given is not None:
            for stage in data["stages"]:
                stage[name]["mean"] = given
    return Workload.model_validate(data)


def _users(args: argparse.Namespace, workload: Workload) -> Users:
    given = {name: getattr(args, name) for name in USERS if getattr(args, name) is not None}
    if len(given) > 1:
        raise CommandError("give one of --monthly, --daily, --active and --turns-per-s")
    own = workload.users.model_dump() if workload.users is not None else {}
    if given:
        # Power users of the workload's own thousands are none of these.
        own = {k: v for k, v in own.items() if k not in (*USERS, "power")} | given
    for name in ("power", "headroom", "burst", "swing", "free_ratio"):
        if getattr(args, name) is not None:
            own[name] = getattr(args, name)
    return Users.model_validate(own)


def _stock(told: list[str], table: Mapping[str, Card]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in ",".join(told).split(","):
        if not entry:
            continue
        kind, _, count = entry.partition(":")
        if kind not in table:
            raise CommandError(f"--cards: {kind} is none of {', '.join(table)}")
        if count and not count.isdecimal():
            raise CommandError(f"--cards {entry}: {kind}:2, say, has two")
        found[kind] = found.get(kind, 0) + int(count or 0)
    if not found:
        raise CommandError(f"--cards KIND:COUNT names what is at hand, of {', '.join(table)}")
    return found


def _by_lane(told: list[str]) -> dict[str, str]:
    found = {}
    for entry in told:
        lane, _, name = entry.partition("=")
        if lane not in LANES or not name:
            raise CommandError(f"{entry}: LANE=NAME, with a lane of {', '.join(LANES)}")
        found[lane] = name
    return found


def _sentence(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, yaml.YAMLError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'users'}: {first['msg']}"


def _hosted() -> dict[str, Hosted]:
    """The list prices of `genai-prices` where it is installed, else the shipped ones."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return dict(HOSTED)
    million = 1_000_000
    found = {}
    for model in HOSTED:
        prompt = calc_price(Usage(input_tokens=million), model_ref=model)
        completion = calc_price(Usage(output_tokens=million), model_ref=model)
        found[model] = Hosted(float(prompt.total_price), float(completion.total_price))
    return found


def _write(path: Path, found: Plan) -> None:
    head = "".join(f"# {line}\n" for line in remarks(found))
    data = fleet_data(found, path.stem)
    path.write_text(head + yaml.safe_dump(data, sort_keys=False, width=100))
