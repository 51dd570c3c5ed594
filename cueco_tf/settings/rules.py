"""What a setting's value has to be: small rules, joined by `&`, with the words of the refusal."""

import dataclasses
import sys
from collections.abc import Callable

LARGEST = 2**14  # of what has no bound of its own: far above all use, far below overflow
# Below, rounding of a similarity in float32 (6e-8) is no longer small against the temperature.
MINIMUM_TEMPERATURE = 1e-4


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value has to be. `one & two` asks for both, `one` first.

    Args:
        broken: function of the value and a mapping of all values by name; None, or in words what
            the value should be.
        count: how many numbers a tuple holds, or None for a single value.
    """

    broken: Callable
    count: int | None = None

    def __and__(self, other):
        return Rule(
            lambda value, others: self.broken(value, others) or other.broken(value, others),
            self.count,
        )


def rule(holds, words, count=None):
    """The rule that a function of the value holds, in these words."""
    return Rule(lambda value, others: None if holds(value) else words, count)


def at_least(low):
    """The rule of numbers from `low` on."""
    return rule(lambda value: value >= low, f"at least {low}")


def at_most(high):
    """The rule of numbers up to `high`."""
    return rule(lambda value: value <= high, f"at most {high}")


def count(low):
    """The rule of whole numbers from `low` on that fit 32 bits."""
    return at_least(low) & rule(lambda value: value < 2**31, "below 2**31")


POSITIVE = rule(lambda value: value > 0, "positive")
TEMPERATURE = POSITIVE & at_least(MINIMUM_TEMPERATURE) & at_most(LARGEST)


def between(low, high, ends="[]"):
    """The rule of numbers from `low` to `high`; of the brackets, a round one leaves its end out.

    Args:
        low: number.
        high: number, or the name of the setting whose value it is; where that value is not known,
            it only has to be finite.
        ends: two characters, the brackets as mathematics writes them. Defaults to `"[]"`.
    """

    def broken(value, others):
        if isinstance(high, str) and others.get(high) is None:
            most, words = sys.float_info.max, f"at least {low}"
        elif isinstance(high, str):
            most = others[high]
            words = f"in {ends[0]}{low}, {high}={most}{ends[1]}"
        else:
            most, words = high, f"in {ends[0]}{low}, {high}{ends[1]}"
        above = low <= value if ends[0] == "[" else low < value
        below = value <= most if ends[1] == "]" else value < most
        return None if above and below else words

    return Rule(broken)


def one_of(*choices):
    """The rule of the values in a list."""
    return rule(lambda value: value in choices, f"one of {', '.join(map(str, choices))}")


def numbers_in(size, low, high, holds=lambda values: True, words=""):
    """The rule of so many numbers from `low` to `high`, of which together something else holds."""
    spelt = {2: "two", 3: "three", 4: "four"}[size]

    def fit(values):
        return len(values) == size and all(low <= v <= high for v in values) and holds(values)

    return rule(fit, f"{spelt} numbers in [{low}, {high}]{words and ', '}{words}", size)


def pair(holds, words):
    """The rule that a function of two numbers holds, in these words."""
    return rule(lambda values: len(values) == 2 and holds(*values), words, 2)
