"""What a reader should know before believing a report, in plain sentences."""

from collections.abc import Iterator
from typing import Any

from classifier.report.labelled import CLASSIFIER, LENGTH

# The usual reading of the population stability index.
PSI_MODERATE, PSI_LARGE = 0.1, 0.25
HIGH_ECE = 0.05
FEW_ROWS = 500
# The APGR of a random order.
CHANCE = 0.5


def findings(report: dict[str, Any]) -> list[str]:
    """Warnings for the figures of a report; empty when there is nothing to say."""
    found = list(_of_data(report["data"])) if report["data"] else []
    if not report["data"] and not report["traffic"]:
        found.append("There is nothing to look at: name rows with --data, logs with --traffic.")
    if report["traffic"]:
        found += _of_traffic(report["traffic"], report["artifact"]["version"])
    return found


def _of_data(data: dict[str, Any]) -> Iterator[str]:
    taught = [row["source"] for row in data["quality"] if row["trained_on"]]
    if taught:
        names = ", ".join(taught)
        yield f"The artefact was trained on {names}: its figures there are too good."
    for row in data["quality"]:
        yield from _of_source(row)
    ece = data["calibration"]["ece"] if data["calibration"] else 0.0
    if ece > HIGH_ECE:
        yield f"Scores are off by {100 * ece:.1f} points on average (calibration)."


def _of_source(row: dict[str, Any]) -> Iterator[str]:
    source, methods = row["source"], row["methods"]
    if methods is None:
        yield f"{source}: the strong model gains nothing over the weak one, so no curve."
        return
    if row["rows"] < FEW_ROWS:
        yield f"{source}: only {row['rows']} rows; read its figures with the interval."
    interval = methods[CLASSIFIER]["apgr_interval"]
    if interval and interval[0] <= CHANCE:
        yield f"{source}: the classifier is not surely better than chance there."
    if methods[CLASSIFIER]["apgr"] < methods[LENGTH]["apgr"]:
        yield f"{source}: prompt length alone ranks better than the classifier."


def _of_traffic(traffic: dict[str, Any], version: str) -> Iterator[str]:
    if traffic["bad_lines"]:
        yield f"Lines of the logs that could not be read, left out: {traffic['bad_lines']:,}."
    if traffic["without_time"]:
        yield f"Requests without a time, in no window of time: {traffic['without_time']:,}."
    if traffic["scored"] == 0:
        yield "No request of the log has a score."
        return
    versions = traffic["versions"]
    if len(versions) > 1:
        yield f"The log mixes scores of {', '.join(versions)}, which do not compare."
    elif versions and version not in versions:
        yield f"The log was scored by {next(iter(versions))}, not by the artefact {version}."
    if traffic["drift"]:
        yield from _of_drift(traffic["drift"])


def _of_drift(drift: dict[str, Any]) -> Iterator[str]:
    windows = (drift["before"], drift["after"])
    if min(window["scored"] for window in windows) < FEW_ROWS:
        yield f"A window of time has fewer than {FEW_ROWS} scored requests: drift is noisy."
    if drift["psi"] > PSI_LARGE + drift["noise"]:
        yield f"The scores have drifted far between the windows (PSI {drift['psi']:.2f})."
    elif drift["psi"] > PSI_MODERATE + drift["noise"]:
        yield f"The scores have drifted between the windows (PSI {drift['psi']:.2f})."
    intervals = [window["interval"] for window in windows]
    if intervals[0][1] < intervals[1][0] or intervals[1][1] < intervals[0][0]:
        shares = " to ".join(f"{100 * window['escalated']:.1f} %" for window in windows)
        yield f"The share sent to the stronger lanes went from {shares}."
