"""The simulated engine on a port of its own, without Ray."""

from __future__ import annotations

import uvicorn

from simulator.http.app import EngineSpec, SimulatedEngineApp


def serve(spec: EngineSpec, host: str, port: int) -> None:
    """Serve until interrupted."""
    uvicorn.run(
        SimulatedEngineApp(spec),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        http="httptools",
        timeout_keep_alive=3600,
        server_header=False,
        date_header=False,
    )
