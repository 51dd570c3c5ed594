"""Which processes train a run together: found in the environment, without TensorFlow.

`TF_CONFIG` is TensorFlow's own description of a cluster (https://www.tensorflow.org/guide/
distributed_training); Slurm describes a job step in variables of its own, from which one is made.
"""

import dataclasses
import json
import os
import re

from cueco_tf.settings.choices import DISTRIBUTIONS


class ClusterError(ValueError):
    """The environment describes no cluster that can be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """This process's place among several.

    `addresses` are the workers' `host:port`, the first of which is the chief's; `index` is this
    worker's.
    """

    addresses: tuple
    index: int

    @property
    def is_chief(self):
        """Whether this process is the one that touches the run folder."""
        return self.index == 0

    def tf_config(self):
        """The cluster as TensorFlow reads it from `TF_CONFIG`."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def find_cluster(choice="auto", environment=os.environ):
    """The cluster that this process belongs to, or None where it trains alone.

    Args:
        choice: one of `DISTRIBUTIONS`; `"none"` and `"mirrored"` look for none, and `"multiworker"`
            must find one.
        environment: mapping of environment variables. Defaults to the process's.

    Returns:
        `Cluster` or None.

    Raises:
        ClusterError: for another choice, a description that makes no sense, or none where one is
            asked for.
    """
    if choice not in DISTRIBUTIONS:
        raise ClusterError(
            f"--distribute should be one of {', '.join(DISTRIBUTIONS)}. Received: {choice!r}"
        )
    if choice in ("none", "mirrored"):
        return None
    if environment.get("TF_CONFIG"):
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif "SLURM_STEP_NUM_TASKS" in environment:
        cluster = _from_slurm(environment)
    elif choice == "multiworker":
        raise ClusterError(
            "--distribute multiworker needs TF_CONFIG, or to be started by Slurm's srun. Neither "
            "TF_CONFIG nor SLURM_STEP_NUM_TASKS is set."
        )
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def _from_tf_config(text):
    try:
        config = json.loads(text)
        tasks = {kind: list(addresses) for kind, addresses in config["cluster"].items()}
        kind, index = config["task"]["type"], int(config["task"]["index"])
        addresses = (*tasks.get("chief", ()), *tasks.get("worker", ()))
        if not 0 <= index < len(tasks[kind]) or set(tasks) - {"chief", "worker"}:
            raise ValueError("tasks should be of type chief or worker, and the index among them")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ClusterError(
            f'TF_CONFIG should be like {{"cluster": {{"worker": ["host1:port", "host2:port"]}}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: {text} ({error!r})'
        ) from error
    return Cluster(addresses, index + (len(tasks.get("chief", ())) if kind == "worker" else 0))


def _from_slurm(environment):
    """The tasks of a job step, in Slurm's own order, that of `SLURM_PROCID`.

    TensorFlow's `SlurmClusterResolver` divides by the number of GPUs, sorts the hosts, and has one
    port for all jobs.
    """
    try:
        hosts = _expand_hosts(environment["SLURM_STEP_NODELIST"])
        counts = _expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        index, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        step = int(environment.get("SLURM_STEP_ID", 0))
        if len(hosts) != len(counts) or index >= sum(counts):
            raise ValueError(f"{len(hosts)} hosts, {counts} tasks, SLURM_PROCID {index}")
    except (ValueError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"Slurm's variables SLURM_JOB_ID, SLURM_PROCID, SLURM_STEP_NODELIST and "
            f"SLURM_STEP_TASKS_PER_NODE do not describe a job step ({error!r}). Start the command "
            f"with srun, or choose --distribute none."
        ) from error
    # Jobs and steps that share a machine get ports of their own.
    first_port = 15000 + (job * 64 + step * 16) % 15000
    pairs = zip(hosts, counts, strict=True)
    addresses = [f"{host}:{first_port + i}" for host, count in pairs for i in range(count)]
    return Cluster(tuple(addresses), index)


def _expand_hosts(text):
    """`a[08-10,12],b` gives a08, a09, a10, a12, b."""
    hosts = []
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]*)(?:\[([^\]]*)\]([^,\[\]]*))?,?", text):
        for part in filter(None, ranges.split(",")):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            hosts += [f"{prefix}{number:0{len(first)}d}{suffix}" for number in numbers]
        if prefix and not ranges:
            hosts.append(prefix)
    return hosts


def _expand_counts(text):
    """`2(x3),1` gives 2, 2, 2, 1."""
    counts = []
    for part in text.split(","):
        count, times = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part).groups()
        counts += [int(count)] * int(times or 1)
    return counts
