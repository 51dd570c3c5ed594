"""Counting operations: the counters against functions whose operations are known, and the step."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines import benchmark
from pipelines.benchmarking import bare_step, launches
from pipelines.benchmarking.counting import (
    HOST_CALLS,
    IDLE_INSTRUCTIONS,
    IDLE_OPERATIONS,
    compiled_instructions,
    entry_instructions,
    graph_operations,
    working,
)


def operations(function):
    """What a function of one vector is made of, without what starts no work."""
    graph = tf.function(function).get_concrete_function(tf.TensorSpec(3))
    found = graph_operations(graph)
    kinds = {kind: number for kind, number in found.items() if kind not in IDLE_OPERATIONS}
    assert sum(kinds.values()) == working(found, IDLE_OPERATIONS)
    return kinds


def test_constants_arguments_and_reads_are_no_operations():
    variable = tf.Variable(tf.ones(3))
    assert operations(lambda x: tf.identity(tf.sqrt(x) * 2.0 + variable)) == {
        "Sqrt": 1,
        "Mul": 1,
        "AddV2": 1,
    }


def test_a_function_that_is_called_counts_by_what_is_in_it_each_time():
    inner = tf.function(lambda x: tf.exp(tf.sqrt(x)))
    assert operations(lambda x: inner(inner(x)) + x) == {"Exp": 2, "Sqrt": 2, "AddV2": 1}


def test_a_function_that_is_compiled_counts_as_one():
    inner = tf.function(lambda x: tf.exp(tf.sqrt(x)), jit_compile=True)
    outer = tf.function(lambda x: inner(x) - 1.0)
    assert operations(lambda x: outer(x) + x) == {"compiled function": 1, "Sub": 1, "AddV2": 1}


def test_branches_and_the_body_of_a_loop_count_once():
    def branch(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sqrt(x), lambda: tf.exp(x) - 1.0)

    def loop(x):
        return tf.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, tf.tanh(y)), (0, x))

    assert operations(branch) == dict.fromkeys(
        ("Sum", "Greater", "StatelessIf", "Sqrt", "Exp", "Sub"), 1
    )
    # TensorFlow counts the turns with an addition of its own.
    assert operations(loop) == {"StatelessWhile": 1, "Less": 1, "Tanh": 1, "AddV2": 2}


def test_a_call_back_into_python_is_found():
    found = operations(lambda x: tf.numpy_function(np.sqrt, [x], tf.float32))
    assert set(found) & HOST_CALLS


def test_instructions_of_the_entry_computation_are_counted_by_kind():
    hlo = """HloModule m, entry_computation_layout={(f32[3]{0})->f32[]}

%body (p: (s32[], f32[3])) -> (s32[], f32[3]) {
  ROOT %p = (s32[], /*index=1*/f32[3]{0}) parameter(0)
}

ENTRY %main (x: f32[3]) -> f32[3] {
  %x = f32[3]{0} parameter(0), metadata={op_name="a = b(c)"}
  %t = (s32[], f32[3]{0}) tuple(%zero, %x)
  %while.1 = (s32[], /*index=1*/(f32[3]{0}, f32[2,2]{1,0})) while(%t), condition=%c, body=%body
  fused.2 = f32[3]{0} fusion(%x), kind=kLoop, calls=%f
  ROOT %custom-call.3 = f32[3]{0} custom-call(fused.2), custom_call_target="TopK"
}

%after (y: f32[3]) -> f32[3] {
  ROOT %y = f32[3]{0} copy(%x)
}
"""
    found = entry_instructions(hlo)
    assert found == {"parameter": 1, "tuple": 1, "while": 1, "fusion": 1, "custom-call": 1}
    assert working(found, IDLE_INSTRUCTIONS) == 3
    with pytest.raises(ValueError, match="ENTRY"):
        entry_instructions("HloModule m")


def test_xla_joins_what_is_element_by_element():
    found = compiled_instructions(lambda x: tf.exp(tf.sqrt(x) * 2.0) - 1.0, tf.ones(3))
    assert working(found, IDLE_INSTRUCTIONS) == found["fusion"] == 1


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("launches") / "result.json"
    sizes = ["--encoder", "resnet10", "--width", "2", "--batch-size", "4"]
    assert benchmark.main(["launches", *sizes, "--output", str(out)]) == 0
    return json.loads(out.read_text())


def test_the_step_and_its_parts_stay_few_operations(result):
    parts = {row.pop("part"): row for row in result["parts"]}
    whole = parts[launches.WHOLE]
    for name, row in parts.items():
        assert all(0 < row[column] <= whole[column] for column in row), name
    assert whole["after XLA"] < 700
    # One launch each for the optimizer and the key update, whatever the number of weights.
    moving = parts["optimizer"]["operations"] + parts["key update"]["operations"]
    assert parts["optimizer"]["update in one"] <= 10
    assert parts["key update"]["update in one"] <= 30
    assert whole["update in one"] <= whole["operations"] - moving + 40
    assert whole["update in one"] < 1500


def test_the_step_does_not_call_back_into_python(result):
    assert result["facts"]["calls back into Python"] == 0


def test_what_is_counted_does_not_grow_with_the_batch():
    def whole(batch_size):
        options = benchmark.build_parser().parse_args(
            ["launches", "--encoder", "resnet10", "--width", "1", "--batch-size", str(batch_size)]
        )
        model = bare_step.build(options, clusters=4, queue_size=16)
        function, arguments = launches.parts_of(model, batch_size)[launches.WHOLE]
        return graph_operations(tf.function(function).get_concrete_function(*arguments))

    assert whole(2) == whole(3)


def test_several_devices_start_few_operations_and_wait_for_each_other_as_seldom(tmp_path):
    """Of the weights' and the moving statistics' number no count depends."""
    found = []
    for encoder in ("resnet10", "resnet18"):
        command = [sys.executable, "-m", "pipelines.benchmark", "replicas", "--width", "2"]
        sizes = ["--encoder", encoder, "--batch-size", "128", "--output", tmp_path / encoder]
        subprocess.run([*command, *sizes], check=True, capture_output=True)
        found.append(
            {row.pop("step"): row for row in json.loads((tmp_path / encoder).read_text())["parts"]}
        )
    smaller, larger = (each["what each does alone compiled"] for each in found)
    assert smaller == larger
    assert larger["operations"] < 900
    assert larger["compiled functions"] == 12
    assert larger["collectives"] == found[1]["not compiled"]["collectives"] < 12
