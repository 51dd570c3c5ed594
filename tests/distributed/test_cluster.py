"""Which processes train together, read from the environment."""

import json

import pytest

from cueco_tf.distributed.environment import ClusterError, find_cluster
from cueco_tf.train import main

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_NODELIST": "gpu[08-10,12],login-a",
    "SLURM_STEP_TASKS_PER_NODE": "2,1(x4)",
    "SLURM_PROCID": "3",
}


def tf_config(kind="worker", index=0, **tasks):
    return {"TF_CONFIG": json.dumps({"cluster": tasks, "task": {"type": kind, "index": index}})}


def test_slurm_variables_name_all_tasks_in_slurms_order():
    cluster = find_cluster("auto", SLURM)
    hosts = [address.split(":")[0] for address in cluster.addresses]
    assert hosts == ["gpu08", "gpu08", "gpu09", "gpu10", "gpu12", "login-a"]
    assert len(set(cluster.addresses)) == 6 and cluster.index == 3 and not cluster.is_chief
    again = json.loads(cluster.tf_config())
    assert again["cluster"]["worker"] == list(cluster.addresses)
    assert again["task"] == {"type": "worker", "index": 3}
    other = find_cluster("auto", {**SLURM, "SLURM_JOB_ID": "4712"})
    assert not set(other.addresses) & set(cluster.addresses)


def test_tf_config_counts_the_chief_first():
    environment = tf_config("worker", 1, worker=["b:1", "c:1"], chief=["a:1"])
    cluster = find_cluster("multiworker", environment)
    assert cluster.addresses == ("a:1", "b:1", "c:1") and cluster.index == 2
    assert find_cluster("auto", tf_config("chief", 0, worker=["b:1"], chief=["a:1"])).is_chief


@pytest.mark.parametrize("choice", ["none", "mirrored"])
def test_a_cluster_is_left_alone_where_it_is_not_wanted(choice):
    assert find_cluster(choice, SLURM) is None
    assert find_cluster(choice, tf_config(worker=["a:1", "b:1"])) is None


def test_a_single_process_trains_alone():
    assert find_cluster("auto", {}) is None
    assert find_cluster("auto", tf_config(worker=["a:1"])) is None
    # Within an allocation, but not started by srun.
    assert find_cluster("auto", {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8"}) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": "[]"},
        tf_config("worker", 2, worker=["a:1", "b:1"]),
        tf_config("ps", 0, worker=["a:1", "b:1"], ps=["c:1"]),
        {"SLURM_STEP_NUM_TASKS": "2"},
        {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2"},
        {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "two"},
        {**SLURM, "SLURM_PROCID": "6"},
    ],
)
def test_a_description_without_sense_is_refused(environment):
    with pytest.raises(ClusterError, match=r"TF_CONFIG should|Slurm's variables"):
        find_cluster("auto", environment)


def test_the_command_line_refuses_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for choice, message in (("multiworker", "needs TF_CONFIG"), ("all", "should be one of auto")):
        assert main(["--dataset", "digits", "--distribute", choice]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
