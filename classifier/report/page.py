"""The report as one HTML file: no script, no network, light and dark."""

from typing import Any

from classifier.report import data_sections, traffic_sections
from classifier.report.blocks import bullets, number, percent, section, sentence, tiles
from classifier.report.labelled import CLASSIFIER

# The policy forbids the page to load or run anything, whatever a name in the data says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1c2026; --soft: #545c68;
  --line: #d5d9df; --tile: #f3f5f8; --warn: #8a4b00; --warn-page: #fff6e5;
  --c0: #1f62b4; --c1: #c2500a; --c2: #2b7a4b; --c3: #7a48b8; --c4: #5f6874; --c5: #b0264b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e6e9ee; --soft: #a4adba;
  --line: #363c46; --tile: #1e232b; --warn: #ffc46b; --warn-page: #2c2415;
  --c0: #6cb0ff; --c1: #ff9d5c; --c2: #6fd39a; --c3: #c3a1ff; --c4: #aab4c2; --c5: #ff8aa6; } }
body { margin: 0 auto; padding: 1rem; max-width: 52rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem;
  border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.5rem 0 .25rem;
  overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; } nav a { color: var(--c0); }
.missing, figcaption { color: var(--soft); }
figure { margin: .5rem 0 1.5rem; } figcaption { max-width: 44rem; font-size: .925rem; }
.wide { overflow-x: auto; } svg { display: block; width: 100%; min-width: 34rem; }
svg text { font: 12px system-ui, sans-serif; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .9rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); } td { overflow-wrap: anywhere; max-width: 22rem; }
td:first-child { min-width: 9rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.number { white-space: normal; vertical-align: bottom; } th { vertical-align: bottom; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; }
.tiles div { background: var(--tile); padding: .5rem .75rem; border-radius: .4rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.1rem;
  overflow-wrap: anywhere; }
.warnings { background: var(--warn-page); color: var(--warn); border-radius: .4rem;
  padding: .6rem 1rem .6rem 2rem; overflow-wrap: anywhere; }
"""

LINKS = (
    ("summary", "Summary"),
    ("quality", "Quality"),
    ("histograms", "Scores"),
    ("calibration", "Calibration"),
    ("drift", "Drift"),
    ("shadow", "Shadow"),
)


def page(report: dict[str, Any]) -> str:
    data, traffic = report["data"], report["traffic"]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in LINKS)
    body = "".join(
        (
            _summary(report),
            data_sections.quality(data),
            _histograms(data, traffic),
            data_sections.calibration(data),
            traffic_sections.drift(traffic),
            traffic_sections.shadow(traffic),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Classifier report</title><style>{STYLE}</style></head><body>"
        f"<h1>Classifier report</h1><nav>{links}</nav>{body}</body></html>\n"
    )


def _summary(report: dict[str, Any]) -> str:
    facts = [("artefact", report["artifact"]["version"])]
    if report["data"]:
        facts += _facts_of_data(report["data"])
    if report["traffic"]:
        facts += _facts_of_traffic(report["traffic"])
    found = report["warnings"]
    shown = bullets(found) if found else sentence("No warnings.")
    return section("summary", "Summary", tiles(facts), shown)


def _facts_of_data(data: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("labelled rows", f"{data['rows']:,}"), ("with outcomes", f"{data['measured']:,}")]
    gains = [row["methods"][CLASSIFIER]["apgr"] for row in data["quality"] if row["methods"]]
    if gains:
        facts.append(("APGR, worst to best source", f"{min(gains):.3f} to {max(gains):.3f}"))
    if data["calibration"]:
        facts.append(("calibration error (ECE)", percent(data["calibration"]["ece"])))
    facts += [
        (f"above {data['threshold']:.3f}, {row['tier']}", percent(row["above"]))
        for row in data["tiers"]
    ]
    return facts


def _facts_of_traffic(traffic: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("requests in the log", f"{traffic['requests']:,}"),
        ("of them scored", f"{traffic['scored']:,}"),
        ("scores above their threshold", percent(traffic["above"], 2)),
        ("sent to a stronger lane", percent(traffic["escalated"], 2)),
    ]
    if traffic["drift"]:
        facts.append(("drift (PSI)", number(traffic["drift"]["psi"])))
        facts.append(("drift (KS distance)", number(traffic["drift"]["ks"]["ks"])))
    if traffic["shadow"]:
        facts.append(("shadow's rank correlation", number(traffic["shadow"]["rank_correlation"])))
    return facts


def _histograms(data: dict[str, Any] | None, traffic: dict[str, Any] | None) -> str:
    parts = []
    parts.append(data_sections.histograms(data) if data else sentence(data_sections.NO_DATA))
    parts.append(
        traffic_sections.histograms(traffic) if traffic else sentence(traffic_sections.NO_TRAFFIC)
    )
    return section("histograms", "Scores", *parts)
