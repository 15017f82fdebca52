"""Ways in on which tokens do not pass through the ingress, beside those on which they do.

    python -m benchmarks.direct_ways            # writes results/direct_ways.{json,md}
    python -m benchmarks.direct_ways --rounds 1 --dry

| way | on the path of a token | who decides |
|---|---|---|
| `direct` | nothing | nobody: the engine alone |
| `haproxy` | HAProxy, one thread, one server | nobody |
| `set_dst` | HAProxy | a process that a Lua action asks for an address; `set-dst` takes it |
| `listener` | the own listener (`serve_app/front/listener`) and a relay | the same process |
| `hand_over` | nothing: the lane's process writes to the client's socket | the listener's process |
| `vllm-router` | a router written in Rust (`scripts/install-peers` first) | itself |

No way does more than name a lane: what Pointsman decides with costs the same on all of them and is
measured elsewhere (`benchmarks/request_cost`). A prototype: it lives here, and nothing imports it.
"""
