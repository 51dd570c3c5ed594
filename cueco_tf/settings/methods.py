"""The ranges of CueCo's arguments."""

import math


def check_settings(**values):
    """Raises ValueError for the first argument of `CueCo` that is out of its range.

    Args:
        **values: the arguments by name, `key_momentum` and `loss_weights` as tuples.

    Raises:
        ValueError: it names the argument, its range and what was received.
    """

    def require(name, holds, rule):
        if not holds:
            raise ValueError(f"`{name}` should be {rule}. Received: {name}={values[name]!r}")

    for name in ("hidden_dim", "projection_dim"):
        require(name, values[name] >= 1, "at least 1")
    require("queue_size", values["queue_size"] >= 2, "at least 2")
    most = values["queue_size"]
    require("num_clusters", 2 <= values["num_clusters"] <= most, f"in [2, queue_size={most}]")
    for name in ("temperature", "centroid_temperature"):
        require(name, 0 < values[name] < math.inf, "positive")
    require("variance_floor", 0 < values["variance_floor"] <= 4, "in (0, 4]")
    require("refresh_steps", values["refresh_steps"] >= 0, "at least 0")
    ramp = values["ramp_steps"]
    require("ramp_steps", ramp is None or ramp >= 0, "at least 0, or None")
    for name in ("centroid_momentum", "variance_momentum"):
        require(name, 0 <= values[name] <= 1, "in [0, 1]")
    start_and_end = values["key_momentum"]
    pair = len(start_and_end) == 2 and all(0 <= m <= 1 for m in start_and_end)
    require("key_momentum", pair, "one number, or (start, end), in [0, 1]")
    weights = values["loss_weights"]
    three = len(weights) == 3 and all(0 <= w < math.inf for w in weights) and any(weights)
    require("loss_weights", three, "three numbers >= 0, not all 0")
    require("assign_by", values["assign_by"] in ("key", "query"), '"key" or "query"')
