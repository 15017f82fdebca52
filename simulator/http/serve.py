"""The simulated engine on a port of its own, without Ray.

    python -m simulator.http.serve --script SCRIPT.yaml --port 8100

`pointsman simulate serve` has the profiles; here is what an engine with a script needs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming
from simulator.script.model import ScriptError, load_script


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


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="simulator.http.serve", description=__doc__)
    parser.add_argument("--script", type=Path, help="what the engine says")
    parser.add_argument("--model-id", default="simulated")
    parser.add_argument("--window", type=int, default=200_000, help="context in tokens")
    parser.add_argument("--ttft-s", type=float, default=0.01)
    parser.add_argument("--itl-s", type=float, default=0.001)
    parser.add_argument("--seed", type=int, help="of ids and faults")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    args = parser.parse_args()
    try:
        script = args.script and load_script(args.script)
    except ScriptError as error:
        parser.error(str(error))
    timing = FixedTiming(ttft_s=args.ttft_s, itl_s=args.itl_s)
    spec = EngineSpec(args.model_id, args.window, timing, script=script, seed=args.seed)
    serve(spec, args.host, args.port)


if __name__ == "__main__":
    main()
