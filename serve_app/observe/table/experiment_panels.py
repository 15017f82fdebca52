"""How the experiments of the fleet file stand."""

from __future__ import annotations

from serve_app.observe.table.promql import per_second
from serve_app.observe.table.rows import Needs, Panel, Query

_STOPPED = ("ExperimentArmStopped",)

EXPERIMENTS = (
    Panel(
        "Experiments",
        "The state of each. A stopped one has all its requests in the control, until its entry "
        "changes.",
        (
            Query(
                "max by (experiment, state) (pointsman_experiment_state)",
                "{{experiment}} {{state}}",
            ),
            Query(
                "max by (experiment, arm, rail) (pointsman_experiment_arm_stopped)",
                "{{experiment}}: {{arm}} stopped by {{rail}}",
            ),
        ),
        kind="stat",
        needs=Needs.EVENT,
        alerts=_STOPPED,
    ),
    Panel(
        "Requests of experiments",
        "By arm and how they ended; of a shadow, what became of its copies.",
        (
            Query(
                per_second("pointsman_experiment_requests_total", "experiment, arm, outcome"),
                "{{experiment}} {{arm}} {{outcome}}",
            ),
        ),
        "reqps",
        needs=Needs.EVENT,
        alerts=_STOPPED,
    ),
    Panel(
        "Ratings of experiments",
        "Those that count. `pointsman experiments power` says how many it takes.",
        (
            Query(
                "max by (experiment, metric) (pointsman_experiment_ratings)",
                "{{experiment}} {{metric}}",
            ),
        ),
        needs=Needs.EVENT,
    ),
    Panel(
        "Evidence of experiments",
        "From 1 on the test decides; it may be looked at at any time. Below 0 it speaks for no "
        "difference.",
        (
            Query(
                "max by (experiment, metric) (pointsman_experiment_evidence)",
                "{{experiment}} {{metric}}",
            ),
            Query("max by (experiment) (pointsman_experiment_decided)", "{{experiment}} decided"),
        ),
        needs=Needs.EVENT,
    ),
    Panel(
        "Estimates of experiments",
        "Preference for the treatment, 0.5: none; of thumbs, by how much they differ, 0: by "
        "nothing. Read it with the evidence.",
        (
            Query(
                "max by (experiment, metric) (pointsman_experiment_estimate)",
                "{{experiment}} {{metric}}",
            ),
        ),
        needs=Needs.EVENT,
    ),
)
