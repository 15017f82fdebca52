"""What the command line says of objectives."""

from router.slo.windows import PERIOD, WINDOWS_S
from serve_app.commands.slo_lines import slo_lines
from serve_app.config.slo import SloConfig
from serve_app.slo.standing import rows_of


def series(objective, good, bad):
    windows = {name: [good, bad] for name in [*WINDOWS_S, PERIOD]}
    return {"objective": objective, "lane": "chat", "tier": "paid", "windows": windows}


def test_each_row_is_a_line_that_says_how_it_stands():
    """What burns is in capitals and comes first; what cannot be told says so."""
    counted = [
        series("ttft", 990, 10),
        series("first_tokens", 5, 0),
        series("answer", 10, 90),
        series("failures", 5_000, 0),
    ]

    assert slo_lines(rows_of([counted], SloConfig().policy())) == [
        "chat, paid, answer within 4.5 s: BURNING, page (10 of 100 kept it, budget overspent)",
        "chat, paid, 30 tokens within 1.2 s: too few requests to tell (5 of 5 kept it)",
        "chat, paid, first token within 0.8 s: ok (990 of 1,000 kept it, 80% of the budget left)",
        "chat, paid, failures under 0.100%: ok (5,000 of 5,000 kept it, 100% of the budget left)",
    ]
