"""One declaration a setting: its default, its rule and what `--help` says of it."""

import dataclasses
import difflib
import numbers
import re
import typing


class ConfigError(ValueError):
    """A value breaks its rule. The message names the field as the command line does."""

    def __init__(self, name, rule, value):
        self.name = name
        option = "--" + name.replace("_", "-")
        shown = repr(value)
        if len(shown) > 200:
            shown = f"{shown[:200]} ..."
        near = _near(value, rule) if rule.startswith("one of ") and isinstance(value, str) else []
        hint = f". Did you mean {near[0]}?" if near else ""
        super().__init__(f"{option} should be {rule}. Received: {shown}{hint}")


def _near(value, rule):
    """The word in a rule that is nearest to a value, in a list."""
    return difflib.get_close_matches(value[:100].lower(), re.findall(r"[\w-]+", rule), 1, 0.7)


def setting(default, rule, help=None, *, group=None, metavar=None, unset=None, **more):
    """Declares a field of a frozen dataclass as a setting.

    Args:
        default: its value where none is given; `dataclasses.MISSING` where one has to be.
        rule: `Rule` of all values but None, which a type with `| None` allows; None where every
            value of the type will do.
        help: its line on the command line, without the default; None for what is no option.
        group: under which title `--help` shows it. Defaults to that of the method.
        metavar: what `--help` shows in the place of its value, a tuple of them for several numbers.
        unset: what a default of None stands for, in words.
        **more: `argument`, the name that the model's constructor has for it, where that is another;
            `per_epoch=True`: it counts epochs, and the constructor's argument steps;
            `resolved=True`: it is None only until the data set is known.
    """
    declared = dict(rule=rule, help=help, group=group, metavar=metavar, unset=unset, **more)
    return dataclasses.field(default=default, metadata=declared)


def settings_of(owner):
    """The fields of a dataclass, or of an instance, that `setting` declared."""
    return [field for field in dataclasses.fields(owner) if "rule" in field.metadata]


def options_of(owner):
    """Those of them that the command line knows as an option of the same name."""
    return [field for field in settings_of(owner) if field.metadata["help"]]


def convert(owner):
    """Puts each setting of an instance that is being made into its declared type.

    Raises:
        ConfigError: for a value of another type, or too large a number for it.
    """
    for field in settings_of(owner):
        object.__setattr__(owner, field.name, as_declared(field, getattr(owner, field.name)))


def check(owner, values):
    """Holds each setting of an instance against its rule.

    Args:
        owner: an instance whose settings have their types.
        values: mapping of all that is known by name, which rules may refer to.

    Raises:
        ConfigError: for the first that is broken.
    """
    for field in settings_of(owner):
        value = getattr(owner, field.name)
        rule = field.metadata["rule"]
        words = rule.broken(value, values) if rule and value is not None else None
        if words:
            raise ConfigError(field.name, words, value)


_TYPES = {
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    tuple: "a list of numbers",
}


def kind_of(field):
    """`(type, whether None is allowed)` of a setting."""
    kind, *optional = typing.get_args(field.type) or (field.type,)
    return kind, bool(optional)


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
    kind, optional = kind_of(field)
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
