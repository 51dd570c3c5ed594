import keras
import numpy as np
import pytest

from cueco_tf.parts.optimizers import LARS, SGD


def lars(weights, gradients, rates, momentum, decay, trust):
    """The formula in float64, a weight at a time."""
    weights = [np.array(weight, np.float64) for weight in weights]
    velocities = [np.zeros_like(weight) for weight in weights]
    for step, rate in zip(gradients, rates, strict=True):
        for i, gradient in enumerate(step):
            gradient, weight = np.array(gradient, np.float64), weights[i]
            if weight.ndim > 1:
                norm, of_gradient = np.linalg.norm(weight), np.linalg.norm(gradient)
                factor = 1.0
                if norm > 0 and of_gradient > 0:
                    factor = trust * norm / (of_gradient + decay * norm + 1e-8)
                    factor = min(factor / rate, 1.0) if rate > 0 else 1.0
                gradient = factor * (gradient + decay * weight)
            velocities[i] = momentum * velocities[i] + gradient
            weights[i] = weight - rate * velocities[i]
    return weights


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (2, 2, 3, 5), (6,), (), (2, 3)]
    weights = [rng.normal(size=shape).astype("float32") for shape in shapes]
    weights[-1][:] = 0  # of norm 0, as a kernel may begin
    # From far above to far below the weights' norms: clipped and not.
    sizes = (1e-4, 1e-2, 1, 100, 1e-3)
    gradients = [[s * rng.normal(size=shape).astype("float32") for shape in shapes] for s in sizes]
    return weights, gradients


def test_it_moves_as_the_formula_says(case):
    weights, gradients = case
    rates = [0.0, 0.25, 0.5, 0.25, 0.125]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1, 2, 3], rates)
    variables = [keras.Variable(weight) for weight in weights]
    optimizer = LARS(schedule, momentum=0.9, weight_decay=0.05, trust=0.02)
    for step in gradients:
        optimizer.apply(step, variables)
    expected = lars(weights, gradients, rates, 0.9, 0.05, 0.02)
    for got, want, start in zip(variables, expected, weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
        assert np.abs(want - start).max() > 1e-3


def test_without_decay_and_with_small_gradients_it_is_plain_descent(case):
    weights, gradients = (each[:-1] for each in (case[0], case[1][0]))  # none of norm 0
    small = [1e-3 * gradient for gradient in gradients]
    ours, plain = ([keras.Variable(weight) for weight in weights] for _ in range(2))
    own, keras_own = LARS(0.1, momentum=0.5), keras.optimizers.SGD(0.1, momentum=0.5)
    for _ in range(3):
        own.apply(small, ours)
        keras_own.apply(small, plain)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_it_is_saved_with_what_it_was_told(case):
    optimizer = LARS(0.3, momentum=0.8, weight_decay=1e-4, trust=0.01)
    saved = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is LARS and again.get_config() == optimizer.get_config()
    weights, gradients = case
    ends = []
    for each in (optimizer, again):
        variables = [keras.Variable(weight) for weight in weights]
        each.apply(gradients[2], variables)
        ends.append([variable.numpy() for variable in variables])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("momentum", 1.0, r"lie in \[0, 1\)"),
        ("weight_decay", -1e-9, "at least 0"),
        ("trust", 0, "positive"),
        ("trust", float("nan"), "positive"),
    ],
)
def test_values_out_of_range_are_refused(name, value, rule):
    with pytest.raises(ValueError, match=f"`{name}` should (be )?{rule}. Received: {name}="):
        LARS(0.1, **{name: value})


def test_sgd_is_that_of_keras_with_one_look_at_the_schedule():
    looks = []

    @keras.saving.register_keras_serializable("tests")
    class Counted(keras.optimizers.schedules.CosineDecay):
        def __call__(self, step):
            looks.append(step)
            return super().__call__(step)

    def train(kind):
        weights = [keras.Variable(np.full((3, 2), 1.0 + i, "float32")) for i in range(5)]
        optimizer = kind(Counted(0.5, 10), momentum=0.9, weight_decay=0.1)
        optimizer.build(weights)
        looks.clear()
        for step in range(3):
            optimizer.apply([np.full((3, 2), 0.1 * step, "float32")] * 5, weights)
        rate = float(optimizer.learning_rate)
        return [weight.numpy() for weight in weights], rate, len(looks)

    own, rate, few = train(SGD)
    expected, same_rate, many = train(keras.optimizers.SGD)
    for got, weight in zip(own, expected, strict=True):
        np.testing.assert_array_equal(got, weight)
    assert rate == same_rate < 0.5  # after the steps it is the schedule's again
    assert few == 4 and many >= 3 * 6
    copy = SGD.from_config(SGD(0.3, momentum=0.5, weight_decay=0.1).get_config())
    copy.learning_rate = 0.2
    assert float(copy.learning_rate) == np.float32(0.2) and copy.momentum == 0.5
