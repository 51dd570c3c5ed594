"""Values of a configuration: of the declared type or refused by name."""

import numbers
import typing


class ConfigError(ValueError):
    """A value breaks its rule. The message names the field as the command line does."""

    def __init__(self, name, rule, value):
        self.name = name
        option = "--" + name.replace("_", "-")
        shown = repr(value)
        if len(shown) > 200:
            shown = f"{shown[:200]} ..."
        super().__init__(f"{option} should be {rule}. Received: {shown}")


_TYPES = {
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    tuple: "a list of numbers",
}


def as_declared(field, value):
    """The value in the type that a field declares.

    Args:
        field: `dataclasses.Field`.
        value: anything.

    Returns:
        The value as str, bool, int, float or a tuple of floats, or None where that is allowed.

    Raises:
        ConfigError: for a value of another type, or too large a number for it.
    """
    kind, *optional = typing.get_args(field.type) or (field.type,)
    if value is None and optional:
        return None
    try:
        if kind is tuple:
            return tuple(_number(each, float) for each in value)
        if kind in (int, float):
            return _number(value, kind)
        if isinstance(value, kind):
            return value
    except (TypeError, OverflowError):
        pass
    raise ConfigError(field.name, _TYPES[kind], value)


def _number(value, kind):
    wanted = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise TypeError
    return kind(value)


def each_once(pairs):
    """An `object_pairs_hook` for `json.loads` that takes no name twice.

    Raises:
        ValueError: it names what is there twice.
    """
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"It holds {', '.join(twice)} more than once.")
    return dict(pairs)
