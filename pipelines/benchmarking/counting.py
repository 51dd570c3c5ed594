"""Counts what a traced function asks of a device, before and after XLA compiles it."""

import collections
import re

# Kinds of graph operations that start no work: they name, hand on or hold back values.
IDLE_OPERATIONS = frozenset(
    (
        "Const",
        "Placeholder",
        "Identity",
        "IdentityN",
        "StopGradient",
        "PreventGradient",
        "NoOp",
        "VarHandleOp",
        "ReadVariableOp",
    )
)
# Calls are walked into, and TensorFlow dissolves them before it runs a graph.
_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
HOST_CALLS = frozenset(("PyFunc", "PyFuncStateless", "EagerPyFunc"))

# Kinds of HLO instructions that start no work.
IDLE_INSTRUCTIONS = frozenset(("parameter", "constant", "tuple", "get-tuple-element", "bitcast"))

_ASSIGNMENT = re.compile(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*)")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")


def graph_operations(concrete_function):
    """The operations of a traced function and of all that it calls.

    Branches and bodies of loops are walked into and count once, however often they run; a
    function that XLA compiles on its own (`jit_compile=True`) is one operation.

    Args:
        concrete_function: `tf.function(...).get_concrete_function(...)`.

    Returns:
        `collections.Counter`: how many there are of each kind, such as `"MatMul"`, those of
        `IDLE_OPERATIONS` among them. A compiled function is of the kind `"compiled function"`.
    """
    graph = concrete_function.graph.as_graph_def()
    library = {function.signature.name: function.node_def for function in graph.library.function}
    found = collections.Counter()

    def walk(nodes):
        for node in nodes:
            if node.attr["_XlaMustCompile"].b:
                found["compiled function"] += 1
                continue
            if node.op not in _CALLS:
                found[node.op] += 1
            for name in _called(node):
                walk(library[name])

    walk(graph.node)
    return found


def _called(node):
    """The names of the functions in a node's attributes."""
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def compiled_instructions(function, *arguments):
    """The instructions that XLA makes of a function on this machine.

    Args:
        function: a Python function of tensors.
        *arguments: tensors to call it with; it is compiled, not run.

    Returns:
        `collections.Counter`, as `entry_instructions`.
    """
    import tensorflow as tf

    compiled = tf.function(function, autograph=False, jit_compile=True)
    return entry_instructions(
        compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    )


def entry_instructions(hlo):
    """The instructions of the entry computation of an HLO module: what is started one by one.

    Args:
        hlo: the module as text.

    Returns:
        `collections.Counter`: how many there are of each kind, such as `"fusion"`, those of
        `IDLE_INSTRUCTIONS` among them.

    Raises:
        ValueError: for a text that is no HLO module.
    """
    lines = iter(hlo.splitlines())
    if not any(line.startswith("ENTRY ") for line in lines):
        raise ValueError("The text should be an HLO module. Received one without ENTRY.")
    found = collections.Counter()
    for line in lines:
        if line.startswith("}"):
            break
        if assignment := _ASSIGNMENT.match(line):
            found[_opcode(assignment[1])] += 1
    return found


def _opcode(text):
    """The kind of the instruction in `shape kind(operands), ...`; a tuple's shape has brackets."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == " " and depth == 0:
            return _OPCODE.match(text, place)[1]
    raise ValueError(f"An instruction should be `shape kind(...)`. Received: {text[:200]}")


def working(found, idle):
    """How many of what was counted are not of the idle kinds."""
    return sum(count for kind, count in found.items() if kind not in idle)
