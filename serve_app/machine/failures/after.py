"""Failures around the engines: ports, resources, time; and what only follows from others."""

from __future__ import annotations

from serve_app.machine.failures.fingerprint import row

AFTER = (
    row(
        "configuration",
        r"ConfigError: (?P<fault>[^\n]+)",
        "{fault}",
        "change that line; `pointsman doctor --config FILE` checks it without starting",
    ),
    row(
        "port_in_use",
        r"port (?P<port>\d+) is taken by (?P<holder>[^\n:]+)"
        r"|cannot bind socket \(Address already in use\)[^\n]*?:(?P<bound>\d+)"
        r"|error while attempting to bind on address \('[^']+', (?P<wanted>\d+)"
        r"|\[Errno 98\] (?:Address already in use|error while attempting)"
        r"|Address already in use",
        "a port that the start needs is taken",
        "pointsman ports, or ss -ltnp, names who has it; end that, or http_options.port in "
        "serve_config.yaml: another",
    ),
    row(
        "resources_never_there",
        # Without a card in it, a worker that is slow to start says the same.
        r"more than \d+s to be scheduled[\s\S]{0,300}?required for each replica: [^\n]{0,300}?"
        r'(?:"GPU": (?:0\.0*[1-9]|[1-9])|accelerator_type:)'
        r"|Cannot provide a placement group",
        "no node has the cards free that a replica asks for: they are fewer, taken, or of another "
        "kind than `bundle` names",
        "ray status shows what there is; lanes.{lane}.enabled: false (and out of routing), or "
        "`bundle` with the name of the cards that are there",
    ),
    row(
        "proxy_not_ready",
        r"ActorDiedError[\s\S]{0,200}?class_name: HAProxyManager"
        r"[\s\S]{0,400}?killed by `ray\.kill`",
        "Serve's proxy was not ready within 15 s: the host is overloaded, or HAProxy did not start",
        "uptime: start again once the load is below the number of cores; else "
        "$POINTSMAN_RUN/*/admin.sock*.stderr.log has what HAProxy said",
    ),
    row(
        "start_took_too_long",
        # Every failed load has these frames; here no other error stands before the end of time.
        r"wait_for\(self\._start_engine(?:(?!Error)[\s\S]){0,1500}?\bTimeoutError"
        r"|Timed out waiting for engine|Engine failed to start within",
        "the engine was not loaded within start_timeout_s",
        "lanes.{lane}.start_timeout_s: 7200 (a first start downloads); or `hf download MODEL` "
        "beforehand",
    ),
    row(
        "too_many_files",
        r"OSError: \[Errno 24\]|Too many open files",
        "the limit on open files is too low",
        "ulimit -n 65536 before the start (systemd: LimitNOFILE=65536)",
    ),
    row(
        "killed",
        # Not Ray's "killed by the OOM killer": it says that of any worker that is gone.
        r"exit(?:ed with)? code:? -9\b|died with <Signals\.SIGKILL|killed by SIGKILL",
        "a process was killed outright: most often the kernel, for want of host memory",
        "sudo dmesg | grep -i 'out of memory' says whether it was that; then stop what else uses "
        "memory, or load fewer lanes (lanes.{lane}.enabled: false)",
    ),
)
