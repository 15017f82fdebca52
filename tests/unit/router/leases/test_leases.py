"""What the ledger grants, what an ingress replica makes of it, and the messages between."""

import pytest

from router.errors import Rejected, RejectReason
from router.leases.allocators import (
    FRESH_S,
    BucketAllocator,
    PermitAllocator,
    RateAllocator,
    RecoveredLevel,
    ReportContext,
)
from router.leases.holder import SLICE, LeaseHolder
from router.leases.ledger import Ledger
from router.leases.messages import (
    IDLE_S,
    Answer,
    BucketDemand,
    LaneAnswer,
    LaneReport,
    LeaseTerms,
    PermitDemand,
    PermitGrant,
    RateDemand,
    Report,
    TenantDemand,
    TenantGrant,
)
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reservation

TERMS = LeaseTerms(lease_s=2.0, seat_s=6.0, seats=2, safe_share=0.02, stale_s=0.5)
CONFIG = CeilingConfig(80, 6_000, 120, 200)


def ledger(**kwargs):
    return Ledger(1, TERMS, **{"learning_until": 0.0, "is_first": True, **kwargs})


def context(name, seq=0, applied=0, now=0.0, **kwargs):
    return ReportContext(name, seq, applied, now, **kwargs)


def level_of(book):
    """What the ledger reckons is left of acme's tokens, with what is held."""
    return book._limits["acme"][TenantDemand._fields.index("tokens")].level


def beat(book, holder, now, lanes=None):
    answer = book.exchange(holder.report(lanes or {}, now=now), now=now)
    return answer is not None and holder.apply(answer, now=now)


def test_terms_leave_something_to_lease():
    """And seats outlast leases."""
    assert TERMS.leased == pytest.approx(0.96)
    with pytest.raises(ValueError, match="safe"):
        LeaseTerms(seats=10, safe_share=0.1)
    with pytest.raises(ValueError, match="seat"):
        LeaseTerms(lease_s=2, seat_s=1)


def test_messages_of_a_later_version_are_read():
    """Fields and kinds that are not known are left out."""
    demand = TenantDemand(RateDemand(0.5, 1.0, 3.0), None, None, PermitDemand(4, 1, 1, 0))
    report = Report("i", 3, 2, 1, True, {"acme": demand}, {"chat": LaneReport(1, True, 2)})
    wire = report.to_wire()
    wire["tenants"]["acme"][0].append("new field")
    wire["tenants"]["acme"].append(["new kind"])
    wire["lanes"]["chat"].append(9)

    assert Report.from_wire(wire) == report


def test_shares_follow_demand():
    """And are left alone while they are nearly right."""
    book = RateAllocator()
    assert book.exchange(context("a"), RateDemand(0, 1.0, 5.0)).share == 1.0
    assert book.exchange(context("b"), RateDemand(0, 1.0, 7.0)) == (0.0, 5.0)
    assert book.exchange(context("a"), RateDemand(1.0, 1.0, 0.0)).share == 0.5
    assert book.exchange(context("a"), RateDemand(0.5, 1.0, 0.0)).share == 0.5
    assert book.exchange(context("b"), RateDemand(0.0, 0.95, 0.0)).share < 0.5
    held = book.exchange(context("b"), RateDemand(0.48, 1.0, 0.0)).share
    assert held == 0.48
    book.drop("a")
    assert book.exchange(context("b"), RateDemand(0.48, 0.0)).share == 0.0
    book.drop("b")
    assert book.is_idle(context(""))


def test_a_bucket_is_handed_out_where_it_is_spent():
    """A part is kept back for whoever has nothing yet; what is needed goes out at once."""
    book = BucketAllocator(6_000, full_from=None, now=0)
    grant = book.exchange(context("a", 1, 0), BucketDemand(6_000, need=900))
    assert grant.add == 900
    grant = book.exchange(context("a", 2, 1), BucketDemand(6_000, held=900, pace=10))
    assert grant.add == 3_000 - 900
    assert grant.level == 6_000
    grant = book.exchange(context("b", 1, 0), BucketDemand(6_000, need=5_000))
    assert grant.add == 3_000
    # The other hears that it must give, and gives.
    grant = book.exchange(context("a", 3, 2), BucketDemand(6_000, held=3_000, pace=10))
    assert (grant.add, grant.keep) == (0.0, 500)
    demand = BucketDemand(6_000, held=500, returned=2_500, pace=10)
    book.exchange(context("a", 4, 3), demand)
    grant = book.exchange(context("b", 2, 1), BucketDemand(6_000, held=3_000, need=5_000))
    assert grant.add == 2_000


def test_what_an_answer_handed_out_is_back_when_the_answer_never_counted():
    """The next report says which answer was the last to count."""
    book = BucketAllocator(600, full_from=None, now=0)
    book.exchange(context("a", 1, 0), BucketDemand(600, need=600))

    grant = book.exchange(context("a", 2, 0), BucketDemand(600, need=600))

    assert (grant.add, grant.level) == (600, 600)


def test_what_one_overdrew_the_tenant_owes():
    """Also when the one is gone."""
    book = BucketAllocator(600, full_from=None, now=0)
    book.exchange(context("a", 1, 0), BucketDemand(600, need=600))
    grant = book.exchange(context("a", 2, 1), BucketDemand(600, held=-60))
    assert (grant.add, grant.level) == (60, -60)
    book.exchange(context("a", 3, 1), BucketDemand(600, held=-60))
    book.drop("a")
    book.drop("nobody")
    assert not book.is_idle(context("", now=3.0))

    assert book.level == pytest.approx(-30)
    assert book.is_idle(context("", now=70.0))


def test_a_bucket_of_which_nothing_is_known_fills_from_empty():
    """From when all that was handed out before has run out."""
    assert BucketAllocator(600, full_from=10.0, now=13.0).level == 30
    learning = BucketAllocator(600, full_from=10.0, now=3.0)
    grant = learning.exchange(
        context("a", 1, now=5, is_learning=True), BucketDemand(600, held=40, need=9)
    )
    assert grant == (0.0, None, 40)


def test_permits_are_whole_and_follow_who_waits():
    """Of what nobody needs, a part is kept back."""
    book = PermitAllocator()
    assert book.exchange(context("a"), PermitDemand(8, wanted=1)) == (4, 0)
    grant = book.exchange(context("b"), PermitDemand(8, 0, 0, 20))
    assert grant == (4, 0)
    assert book.exchange(context("a"), PermitDemand(8, 4, 3, 0)) == (2, 0)
    assert book.exchange(context("b", is_learning=True), PermitDemand(8, 4, 4, 20)) == (4, 3)
    # What `a` was told is less, but it has not said that it holds less.
    assert book.exchange(context("c"), PermitDemand(8, wanted=1)).permits == 0
    for holder in "abc":
        book.drop(holder)
    assert book.is_idle(context(""))
    # Nobody runs or waits, and no limit is left.
    assert book.exchange(context("a"), PermitDemand(0)) == (0, 0)


def test_late_reports_are_not_answered_and_neither_are_those_of_a_later_epoch():
    """The holder has moved on."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    first = holder.report({}, now=0)
    second = holder.report({}, now=0.1)
    assert book.exchange(second, now=0.2) is not None
    assert book.exchange(first, now=0.3) is None
    holder.epoch = 9
    assert book.exchange(holder.report({}, now=1), now=1) is None


def test_answers_of_an_older_epoch_do_not_count():
    """Nor does one that comes twice."""
    holder = LeaseHolder("a", TERMS)
    holder.epoch = 3
    seq = holder.report({}, now=0).seq
    assert not holder.apply(Answer(2, seq, True), now=0)
    assert holder.apply(Answer(4, seq, True), now=0)
    assert not holder.apply(Answer(4, seq, True), now=0)
    assert holder.epoch == 4


def test_there_are_only_so_many_seats():
    """One more ingress replica has no safe capacity until another's seat has run out."""
    book = ledger()
    holders = [LeaseHolder(name, TERMS) for name in "abc"]
    for holder in holders:
        beat(book, holder, 0.0)
    assert [x.expiry.has_seat(0.1) for x in holders] == [True, True, False]

    for step in range(1, 70):
        beat(book, holders[2], step / 10)
        beat(book, holders[1], step / 10)

    assert holders[2].expiry.has_seat(6.9)
    assert not holders[0].expiry.has_seat(6.9)
    assert book.known(now=6.9) == {"b", "c"}


def test_a_floor_is_there_without_a_lease_and_not_without_a_seat():
    """It has filled for as long as the seat was held."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    beat(book, holder, 0.0)
    beat(book, holder, 4.0)
    ceiling = holder.ceiling("acme", CeilingConfig(tokens_per_minute=6_000), now=4.0)

    # 2 % of 6,000 in a minute; four seconds of it.
    assert isinstance(ceiling.try_admit(8, now=4.0), Reservation)
    assert isinstance(ceiling.try_admit(1, now=4.0), Rejected)
    assert isinstance(ceiling.try_admit(4, now=6.5), Reservation)
    assert not holder.has_session(6.5)
    assert isinstance(ceiling.try_admit(1, now=30.0), Rejected)
    fresh = holder.ceiling("other", CeilingConfig(tokens_per_minute=6_000), now=30.0)
    assert isinstance(fresh.try_admit(1, now=30.0), Rejected)


def test_a_seat_may_end_before_the_lease():
    """The ledger has none to give: the rate is the leased part alone."""
    holder = LeaseHolder("a", TERMS)
    ceiling = holder.ceiling("acme", CONFIG, now=0)
    ceiling.pacer.book(500, now=0)
    answer = ledger().exchange(holder.report({}, now=0), now=0)
    holder.apply(Answer(1, answer.seq, False, answer.tenants), now=0)

    assert ceiling.pacer.rate(now=0) == pytest.approx(80 * TERMS.leased)
    # And so are the tokens of the minute.
    other = holder.ceiling("other", CeilingConfig(tokens_per_minute=6_000), now=0)
    other.try_admit(50, now=0)
    answer = ledger().exchange(holder.report({}, now=0), now=0)
    holder.apply(Answer(1, answer.seq, False, answer.tenants), now=0)
    assert other.try_admit(50, now=0).safe_tokens == 0


def test_a_reservation_gives_back_what_came_from_the_floor_first():
    """The rest goes to what is held, and no more than the bucket could have held."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    beat(book, holder, 0.0)
    for step in range(1, 31):
        beat(book, holder, float(step))
    ceiling = holder.ceiling("acme", CONFIG, now=30.0)
    ceiling.try_admit(1_000, now=30.0)
    beat(book, holder, 30.1)
    bucket = ceiling.tokens
    tokens, safe = bucket.held, bucket.safe.level(now=30.1)
    assert safe == pytest.approx(60.2)
    held = ceiling.try_admit(int(tokens) + 50, now=30.1)
    assert held.safe_tokens == pytest.approx(50 - tokens % 1)

    ceiling.settle(held, 0, now=30.1)

    assert bucket.held == pytest.approx(tokens)
    assert bucket.safe.level(now=30.1) == pytest.approx(safe)
    # More than was reserved is owed.
    held = ceiling.try_admit(10, now=30.1)
    ceiling.settle(held, 110, now=30.1)
    assert bucket.held == pytest.approx(tokens - 110)


def test_old_reservations_buy_no_burst():
    """Had they not been made, the bucket would have been full all the while."""
    config = CeilingConfig(tokens_per_minute=6_000)
    book, holder = ledger(), LeaseHolder("a", TERMS)
    old: list[Reservation] = []
    ceiling = holder.ceiling("acme", config, now=0)
    for step in range(2_450):
        now = step / 10
        beat(book, holder, now)
        # One each minute, as soon as it is let in.
        if len(old) <= step // 600:
            outcome = holder.ceiling("acme", config, now=now).try_admit(5_000, now=now)
            if isinstance(outcome, Reservation):
                old.append(outcome)
    assert len(old) >= 3

    admitted = 0
    for held in old:
        ceiling.settle(held, 0, now=now)
        beat(book, holder, now + 0.01)
        if isinstance(ceiling.try_admit(5_000, now=now + 0.01), Reservation):
            admitted += 5_000
        beat(book, holder, now + 0.02)

    assert admitted <= 10_000


def test_who_is_idle_gives_back_what_it_has():
    """After a while it is not reported any more, and the ledger forgets the tenant."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    ceiling = holder.ceiling("acme", CONFIG, now=0)
    ceiling.try_admit(500, now=0)
    beat(book, holder, 0.0)
    held = ceiling.try_admit(500, now=0.1)
    ceiling.settle(held, 500, now=0.2)
    now = 0.0
    while now < IDLE_S + 3:
        now += 0.2
        beat(book, holder, now)

    assert holder.status(now=now)["tenants"] == 0
    assert not ceiling.holds_tokens
    assert ceiling.share == ceiling.permits == 0
    while now < 90:
        now += 0.2
        beat(book, holder, now)
    assert not book._limits
    # It comes back as if it had never been away.
    again = holder.ceiling("acme", CONFIG, now=now)
    again.try_admit(500, now=now)
    beat(book, holder, now)
    assert isinstance(again.try_admit(500, now=now), Reservation)


def test_a_tenant_without_limits_is_not_reported():
    """There is nothing to lease."""
    holder = LeaseHolder("a", TERMS)
    ceiling = holder.ceiling("free", CeilingConfig(), now=0)

    assert isinstance(ceiling.try_admit(10**9, now=0), Reservation)
    assert not holder.report({}, now=0).tenants
    assert ceiling.requests_state(now=0) is None
    assert not ceiling.is_short(5, now=0) or ceiling.pacer is None
    # A book of a tenant that lost all its limits is no trouble either.
    book = ledger()
    report = Report("a", 1, 0, 0, False, {"free": TenantDemand()})
    assert book.exchange(report, now=0).tenants["free"] == (None, None, None, None)
    book.exchange(Report("b", 1, 0, 0, False), now=1.5)
    assert book.exchange(Report("a", 2, 0, 0, False), now=1.6) is not None


def test_debt_of_one_ingress_replica_holds_up_the_tenants_requests_in_all():
    """Tokens that wait elsewhere count, at the tenant's whole rate."""
    config = CeilingConfig(tokens_per_second=80)
    book = ledger()
    here, there = LeaseHolder("a", TERMS), LeaseHolder("b", TERMS)
    mine = here.ceiling("acme", config, now=0)
    here.ceiling("acme", config, now=0).pacer.book(200, now=0)
    theirs = there.ceiling("acme", config, now=0)
    beat(book, here, 0.0)
    assert isinstance(theirs.try_admit(1, now=0.0), Reservation)
    beat(book, there, 0.0)

    refused = theirs.try_admit(1, now=0.0)

    assert refused.reason is RejectReason.TOKEN_RATE
    assert refused.retry_after_s == pytest.approx(1.5)
    assert not theirs.is_short(1, now=0.0)
    assert isinstance(theirs.try_admit(1, now=0.0, is_paced=False), Reservation)
    assert isinstance(mine.try_admit(1, now=0.0), Rejected)


def test_what_peers_hold_is_unknown_when_one_has_not_said_for_long():
    """Until its lease has run out: by then it has let its free work go."""
    book = ledger()
    here, there = LeaseHolder("a", TERMS), LeaseHolder("b", TERMS)
    lanes = {"chat": LaneReport(3, True, 5, 4)}
    beat(book, there, 0.0, lanes)
    beat(book, here, 0.1, {"chat": LaneReport(), "quality": LaneReport()})
    assert here.peers("chat", now=0.2) == 3
    assert here.peers("quality", now=0.2) == 0
    assert here.peers("unheard of", now=0.2) is None
    assert here.yields("chat", now=0.2)
    assert not here.yields("quality", now=0.2)
    assert here.running_elsewhere("chat", now=0.2) == 5
    assert here.running_elsewhere("unheard of", now=0.2) is None
    assert here.demand_elsewhere("chat", now=0.2) == 9
    assert here.demand_elsewhere("unheard of", now=0.2) is None
    # As old as both messages together.
    assert here.peers("chat", now=0.55) is None

    beat(book, here, 1.0, {"chat": LaneReport()})
    assert here.peers("chat", now=1.0) is None
    beat(book, here, 2.1, {"chat": LaneReport()})
    assert here.peers("chat", now=2.1) == 0
    assert not here.yields("chat", now=2.1)
    assert here.yields("chat", now=9.0)


def test_a_new_ledger_does_not_know_what_is_held_until_it_must_have_heard():
    """An ingress replica that it has not heard of may be about."""
    book, holder = ledger(learning_until=5.0, is_first=False), LeaseHolder("a", TERMS)
    beat(book, holder, 1.0, {"chat": LaneReport()})
    assert holder.peers("chat", now=1.0) is None
    assert book.is_learning(1.0)

    beat(book, holder, 5.0, {"chat": LaneReport()})

    assert holder.peers("chat", now=5.0) == 0


def test_the_quiet_ends_when_all_have_said_what_they_hold():
    """Then seats and shares are given again, and what peers hold is known."""
    book = ledger(learning_until=50.0, awaited=frozenset("ab"), is_first=False)
    here, there = LeaseHolder("a", TERMS), LeaseHolder("b", TERMS)
    lanes = {"chat": LaneReport()}
    here.ceiling("acme", CONFIG, now=1.0).pacer.book(500, now=1.0)
    beat(book, here, 1.0, lanes)
    assert (here.ceilings["acme"].share, here.expiry.has_seat(1.0)) == (0.0, False)
    assert book.known(now=1.0) == {"a", "b"}

    beat(book, there, 1.1, lanes)
    beat(book, here, 1.2, lanes)
    # A first report may have been long on its way: it takes one after an answer.
    assert (here.ceilings["acme"].share, here.expiry.has_seat(1.2)) == (0.0, False)
    beat(book, there, 1.3, lanes)
    beat(book, here, 1.4, lanes)

    assert (here.ceilings["acme"].share, here.expiry.has_seat(1.4)) == (1.0, True)
    assert here.peers("chat", now=1.4) == 0
    # Per minute, nothing is known but that it fills since.
    assert here.ceilings["acme"].tokens_state(now=1.4).remaining < 100


def test_a_report_that_comes_late_to_a_new_ledger_ends_no_quiet():
    """What its holder was granted after it is not in it: shares and the bucket are two's else."""
    holders = {name: LeaseHolder(name, TERMS) for name in "ab"}
    ceilings = {name: x.ceiling("acme", CONFIG, now=0.0) for name, x in holders.items()}
    first = ledger()
    beat(first, holders["a"], 0.0)
    beat(first, holders["b"], 0.0)
    late = holders["a"].report({}, now=0.1)
    ceilings["a"].pacer.book(500, now=0.2)
    for now in (0.2, 0.3, 0.4):
        beat(first, holders["a"], now)
        ceilings["a"].try_admit(100, now=now, is_paced=False)
        beat(first, holders["b"], now)
    assert ceilings["a"].share == 1.0
    left = ceilings["a"].tokens_state(now=0.4).remaining
    refill = 0.5 * CONFIG.tokens_per_minute / 60

    second = Ledger(2, TERMS, learning_until=50.0, awaited=first.known(now=0.4))
    ceilings["b"].pacer.book(500, now=0.4)
    assert second.exchange(late, now=0.4) is not None
    for now in (0.5, 0.6):
        beat(second, holders["b"], now)
    assert ceilings["b"].share == 0.0

    for now in (0.7, 0.8, 0.9):
        beat(second, holders["a"], now)
        beat(second, holders["b"], now)
    assert 0.4 < ceilings["b"].share < 0.6
    assert ceilings["b"].tokens_state(now=0.9).remaining <= left + refill


def test_concurrent_requests_are_refused_here_and_known_of_elsewhere():
    """A safe capacity of whole permits is there only where the limit is large."""
    book = ledger()
    here, there = LeaseHolder("a", TERMS), LeaseHolder("b", TERMS)
    config = CeilingConfig(concurrent_requests=2)
    mine, theirs = (x.ceiling("acme", config, now=0) for x in (here, there))
    refused = mine.try_admit(1, now=0)
    assert refused.reason is RejectReason.TENANT_CONCURRENCY
    assert mine.is_short(1, now=0)
    beat(book, here, 0.0)
    held = mine.try_admit(1, now=0)
    for _ in range(3):
        beat(book, here, 0.1)
        beat(book, there, 0.1)
        if isinstance(mine.try_admit(1, now=0.1), Reservation):
            break
    beat(book, here, 0.2)
    beat(book, there, 0.2)
    assert mine.running == 2
    assert not theirs.is_short(1, now=0.2)
    assert theirs.tokens_state(now=0.2) is None
    mine.settle(held, 1, now=0.2)
    beat(book, here, 0.3)
    beat(book, there, 0.3)
    assert theirs.is_short(1, now=0.3)
    # 2 % of 200 are four permits, of whoever is seated.
    large = here.ceiling("large", CeilingConfig(concurrent_requests=200), now=0.4)
    assert [isinstance(large.try_admit(1, now=0.4), Reservation) for _ in range(5)] == [
        True, True, True, True, False,
    ]  # fmt: skip
    demand = large.report(gives_up=False, now=0.4).permits
    assert demand == PermitDemand(192, 0, 0, 1)


def test_limits_may_come_and_go_while_requests_run():
    """A reload changes them in place."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    ceiling = holder.ceiling("acme", CeilingConfig(requests_per_minute=120), now=0)
    assert ceiling.try_request(now=0) is not None
    beat(book, holder, 0.0)
    assert ceiling.try_request(now=0) is None
    held = ceiling.try_admit(100, now=0)
    assert isinstance(held, Reservation)
    assert holder.ceiling("acme", CONFIG, now=0) is ceiling
    assert ceiling.tokens_state(now=0).limit == 6_000
    holder.ceiling("acme", CeilingConfig(concurrent_requests=3), now=0)
    assert ceiling.pacer is None
    ceiling.settle(held, 50, now=0)
    assert ceiling.reserved == ceiling.running == 0
    beat(book, holder, 0.1)
    assert holder.report({}, now=0.2).tenants["acme"].tokens is None


def test_a_tenant_that_is_given_up_while_it_owes_is_reported_until_it_is_made_good():
    """What is overdrawn is the tenant's, and the ledger covers it."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    config = CeilingConfig(tokens_per_minute=6_000)
    ceiling = holder.ceiling("acme", config, now=0)
    beat(book, holder, 0.0)
    ceiling.try_admit(100, now=0)
    beat(book, holder, 0.1)
    held = ceiling.try_admit(100, now=0.1)
    for step in range(1, 60):
        beat(book, holder, 0.1 + step / 10)
    ceiling.settle(held, 5_000, now=6.0)
    assert holder.status(now=6.0)["tenants"] == 1

    # A new ledger gives nothing to anyone, while another may hold something.
    book = Ledger(2, TERMS, learning_until=30.0, awaited=frozenset("xa"))
    for step in range(118):
        beat(book, holder, 6.2 + step / 5)
        assert holder.status(now=6.2)["tenants"] == 1
    for step in range(4):
        beat(book, holder, 30.0 + step / 5)

    assert holder.status(now=30.6)["tenants"] == 0
    assert level_of(book) < 0


def test_many_tenants_are_reported_and_leased_in_slices():
    """Requests may come between them; the outcome is that of one go."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    for number in range(2 * SLICE + 1):
        holder.ceiling(f"t{number}", CONFIG, now=0).pacer.book(500, now=0)
    sizes = []
    for report in holder.draft({}, now=0):
        sizes.append(len(report.tenants))
        # Not in this report, whatever it wants.
        holder.ceiling(f"new{len(sizes)}", CONFIG, now=0).pacer.book(500, now=0)

    assert sizes == [SLICE, 2 * SLICE, 2 * SLICE + 1]
    assert holder.apply(book.exchange(report, now=0), now=0)
    assert holder.ceilings["t7"].share == 1.0
    assert holder.ceilings["new1"].share == 0.0
    assert beat(book, holder, 0.1)
    assert holder.ceilings["new1"].share == 1.0


@pytest.mark.parametrize("busy_tokens", [0, 50_000])
def test_a_little_waiting_work_is_not_starved_where_there_is_no_seat_yet(busy_tokens):
    """However small it is beside the limit and what others have: no safe capacity helps it."""
    terms = LeaseTerms(lease_s=2.0, seat_s=6.0, seats=1, safe_share=0.02)
    book = Ledger(1, terms, learning_until=0.0, is_first=True)
    config = CeilingConfig(tokens_per_second=100_000)
    old, new = LeaseHolder("old", terms), LeaseHolder("new", terms)
    busy = old.ceiling("acme", config, now=0.0).pacer
    beat(book, old, 0.0)
    beat(book, new, 0.0)
    assert (old.status(now=0)["has_seat"], new.status(now=0)["has_seat"]) == (True, False)
    pacer = new.ceiling("acme", config, now=0.0).pacer
    position = pacer.book(20, now=0.0) + 19

    for beats in range(1, 6):
        busy.book(busy_tokens // 2, now=beats * 0.2)
        beat(book, old, beats * 0.2)
        beat(book, new, beats * 0.2)

    assert pacer.wait_s(position, now=1.2) < 0.1


def said(held=0.0, unanswered=0.0, level=0.0, number=0, epoch=1, age_s=0.5):
    """What a holder says of a bucket of 600 that an earlier ledger kept."""
    return BucketDemand(
        600, held, epoch=epoch, number=number, level=level, unanswered=unanswered, age_s=age_s
    )


@pytest.mark.parametrize(
    ("heard", "left"),
    [
        # The last answer anywhere counts, less what all have spent since.
        ({"a": said(100, 50, 500, 7), "b": said(30, 20, 600, 6)}, 500 - 50 - 20 - 130),
        # A later ledger's word comes before an earlier one's.
        ({"a": said(0, 0, 400, 2, epoch=2), "b": said(0, 0, 600, 9)}, 400),
        # Who was never answered has spent nothing of it, or says what.
        ({"a": said(100, 0, 500, 7), "b": said(0, 40, epoch=0)}, 500 - 40 - 100),
        ({"a": said(epoch=0), "b": said(epoch=0)}, 0),
        # What is overdrawn is owed, and a debt stays one.
        ({"a": said(-60, 90, 500, 7)}, 500 - 90 + 60),
        ({"a": said(100, 300, 350, 7)}, 0),
        ({"a": said(0, 50, -200, 7)}, -200),
        # Others may have spent and given the tenant up since.
        ({"a": said(0, 0, 500, 7, age_s=FRESH_S), "b": said(0, 0, 600, 6)}, 0),
        # Somebody does not know what was spent.
        ({"a": said(100, 0, 500, 7), "b": said(0, 0, epoch=-1)}, 0),
    ],
)
def test_what_an_earlier_ledger_left_is_known_when_all_were_heard(heard, left):
    past = RecoveredLevel()
    for name, demand in heard.items():
        past.hear(context(name, now=0.9, is_old=True), said(0, 0, 600, 98))
        past.hear(context(name, now=1.0, is_old=True), demand)
        past.hear(context(name, now=1.1), said(0, 0, 600, 99))

    assert past.level(1.2) == left


@pytest.mark.parametrize("hears_all", [True, False])
def test_a_new_ledger_goes_on_with_the_bucket_of_the_one_before(hears_all):
    """Requests are not refused because a ledger died; with a holder missing, they may be."""
    holders = [LeaseHolder(name, TERMS) for name in "ab"]
    config = CeilingConfig(tokens_per_minute=6_000)
    first = ledger()
    ceilings = [x.ceiling("acme", config, now=0.0) for x in holders]
    for _ in range(2):
        for holder in holders:
            holder.apply(first.exchange(holder.report({}, now=0.0), now=0.0), now=0.0)
        taken = ceilings[0].try_admit(1_000, now=0.0)
    ceilings[0].settle(taken, 1_000, now=0.0)
    awaited = first.known(now=0.0) | (set() if hears_all else {"gone"})

    second = Ledger(2, TERMS, learning_until=2.0, awaited=awaited)
    for now in (1.0, 1.1, 2.0, 2.1):
        for holder in holders:
            holder.apply(second.exchange(holder.report({}, now=now), now=now), now=now)
    ceilings[1].try_admit(2_000, now=2.1)
    for holder in reversed(holders):
        holder.apply(second.exchange(holder.report({}, now=2.2), now=2.2), now=2.2)

    assert isinstance(ceilings[1].try_admit(2_000, now=2.2), Reservation) is hears_all


def test_a_bucket_with_a_new_limit_knows_nothing_of_what_was_spent():
    """Until the ledger has answered about it; an answer without a number says too little."""
    holder, book = LeaseHolder("a", TERMS), ledger()
    epochs = []
    for config in (CONFIG, CeilingConfig(80, 9_000, 120, 200)):
        holder.ceiling("acme", config, now=0.0)
        for _ in range(2):
            report = holder.report({}, now=0.0)
            epochs.append(report.tenants["acme"].tokens.epoch)
            answer = book.exchange(report, now=0.0)
            holder.apply(answer, now=0.0)
    assert epochs == [0, 1, -1, 1]

    report = holder.report({}, now=0.0)
    holder.apply(book.exchange(report, now=0.0)._replace(number=0), now=0.0)
    assert holder.report({}, now=0.0).tenants["acme"].tokens.epoch == -1


def left_after(first, holders, now):
    """What a second ledger reckons with, all that is held included, once it has heard of all."""
    second = Ledger(2, TERMS, learning_until=now + 50, awaited=first.known(now=now))
    for holder in [*holders, *holders]:
        assert second.exchange(holder.report({}, now=now), now=now) is not None
    return level_of(second)


def test_what_was_given_back_in_a_report_without_an_answer_is_not_given_back_twice():
    """The ledger may have taken that report: what is spent after it counts in full."""
    config = CeilingConfig(tokens_per_minute=6_000)
    first, holders = ledger(), [LeaseHolder(name, TERMS) for name in "ab"]
    here, _ = (x.ceiling("acme", config, now=0.0) for x in holders)
    here.try_admit(2_000, now=0.0)
    beat(first, holders[0], 0.1)
    taken = here.try_admit(2_000, now=0.1)
    beat(first, holders[1], 0.1)
    beat(first, holders[0], 0.2)
    here.settle(taken, 0, now=0.25)
    first.exchange(holders[0].report({}, now=0.3), now=0.3)
    beat(first, holders[1], 0.4)
    assert isinstance(here.try_admit(2_000, now=0.4), Reservation)

    really = level_of(first) - 2_000

    assert left_after(first, holders, 0.4) <= really


def test_who_gave_a_tenant_up_may_have_spent_after_the_last_answer_here():
    """An old answer says nothing: the one that was idle since does not report."""
    config = CeilingConfig(tokens_per_minute=6_000)
    first, (here, there) = ledger(), [LeaseHolder(name, TERMS) for name in "ab"]
    for holder in (here, there):
        holder.ceiling("acme", config, now=0.0)
        beat(first, holder, 0.0)
    now = 0.1
    there.ceilings["acme"].try_admit(5_000, now=now)
    beat(first, there, now)
    spent = there.ceilings["acme"].try_admit(5_000, now=now)
    assert isinstance(spent, Reservation)
    there.ceilings["acme"].settle(spent, 5_000, now=now)
    while there.status(now=now)["tenants"]:
        # Here every answer is lost.
        now += 0.5
        first.exchange(here.report({}, now=now), now=now)
        here.ceiling("acme", config, now=now)
        beat(first, there, now)

    assert left_after(first, (here, there), now) <= level_of(first)


def test_a_limit_that_changes_under_a_report_takes_no_answer_for_its_own():
    """The answer tells what is left of the bucket before, as it was then."""
    first, holder = ledger(), LeaseHolder("a", TERMS)
    holder.ceiling("acme", CONFIG, now=0.0)
    beat(first, holder, 0.0)
    answer = first.exchange(holder.report({}, now=0.1), now=0.1)
    holder.ceiling("acme", CeilingConfig(80, 9_000, 120, 200), now=0.1)
    holder.apply(answer, now=0.2)

    assert holder.report({}, now=0.3).tenants["acme"].tokens.epoch == -1


def test_a_name_that_never_comes_again_is_not_awaited_for_ever():
    """When the seats of the ledger before have run out, it holds nothing."""
    book = Ledger(2, TERMS, learning_until=1.0, awaited=frozenset("x"))
    holder = LeaseHolder("a", TERMS)
    beat(book, holder, 0.5)
    assert book.known(now=0.5) == {"a", "x"}

    assert book.known(now=1.0 + TERMS.seat_s) == {"a"}


def test_an_answer_survives_its_way():
    """Also one that a later version has added to."""
    grant = TenantGrant(permits=PermitGrant(3))
    answer = Answer(2, 1, has_seat=True, tenants={"acme": grant}, lanes={"chat": LaneAnswer(1)})
    wire = answer.to_wire()
    wire["lanes"]["chat"].append(9)

    assert Answer.from_wire(wire) == answer


def test_a_rate_that_a_reload_takes_away_and_brings_back_is_wanted_as_before():
    """What was delivered under the old one is no negative demand under the new one."""
    holder = LeaseHolder("a", TERMS)
    holder.ceiling("acme", CONFIG, now=0.0).pacer.book(10_000, now=0.0)
    holder.report({}, now=0.1)
    holder.ceiling("acme", CeilingConfig(), now=0.2)
    holder.ceiling("acme", CONFIG, now=0.3).pacer.book(40, now=0.3)

    demand = holder.report({}, now=0.4).tenants["acme"].rate.demand

    assert demand > 0.5


def test_a_tenant_that_came_after_the_last_report_has_its_safe_rate_without_a_lease():
    """The seat that the answer gave is its own, too."""
    book, holder = ledger(), LeaseHolder("a", TERMS)
    sent = holder.report({}, now=0.0)
    ceiling = holder.ceiling("acme", CeilingConfig(tokens_per_second=80), now=0.05)
    assert holder.apply(book.exchange(sent, now=0.1), now=0.1)

    assert not holder.has_session(3.0)
    assert isinstance(ceiling.try_admit(1, now=3.0), Reservation)

    assert ceiling.pacer.rate(now=3.0) == pytest.approx(80 * TERMS.safe_share)
