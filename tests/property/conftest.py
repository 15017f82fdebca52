"""Ray's own modules warn of deprecated pydantic calls while they are imported."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401
