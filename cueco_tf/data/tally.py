"""Counts in words: what was left of a folder and why, on one line. No TensorFlow."""

import itertools
import os

from cueco_tf.data.formats import EXTRAS

_NAMED, _KEPT = 3, 10  # examples that are named in a line, and that are kept
_LISTED = 6  # suffixes that a line names
_DIFFERENT, _LONGEST = 50, 16  # suffixes that are counted each; their letters


class Left:
    """What is left and why: how often, and the first few of each reason."""

    def __init__(self):
        self.reasons = {}

    def add(self, why, *examples, count=1):
        """Counts something that is left.

        Args:
            why: in words that follow a number.
            *examples: texts that tell which.
            count: integer, how many. Defaults to 1.
        """
        known = self.reasons.setdefault(why, {"count": 0, "examples": []})
        known["count"] += count
        known["examples"] += examples[: _KEPT - len(known["examples"])]

    def add_suffix(self, suffix, *examples, count=1):
        """Counts files that are left for their suffix, of which there may be any number."""
        rare = suffix not in self.reasons and len(self.reasons) >= _DIFFERENT
        rare = rare or len(suffix) > _LONGEST
        self.add("other suffixes" if rare else suffix, *examples, count=count)

    def add_all(self, others):
        """Counts what another `Left` has counted."""
        for why, known in others.reasons.items():
            add = self.add_suffix if why.startswith(".") else self.add
            add(why, *known["examples"], count=known["count"])

    def first(self, why):
        """The first example of a reason as a sentence, empty where there is none."""
        examples = self.reasons.get(why, {}).get("examples")
        return f"The first that is {why}: {one_line(examples[0])}" if examples else ""

    def counts(self):
        """How often each reason is one: a dict, small however many files there are."""
        return {why: known["count"] for why, known in self.reasons.items()}

    def __str__(self):
        suffixes = {why: each for why, each in self.reasons.items() if why.startswith(".")}
        parts = [
            f"{why}: {some(each['count'], each['examples'])}"
            for why, each in self.reasons.items()
            if why not in suffixes
        ]
        counts = {why: each["count"] for why, each in suffixes.items()}
        extra = {suffix: counts.pop(suffix) for suffix in EXTRAS if suffix in counts}
        if extra:
            how = ", ".join(sorted({EXTRAS[suffix] for suffix in extra}))
            parts.append(f"{listed(extra)} (read with: python -m pip install 'cueco-tf[{how}]')")
        if counts:
            parts.append(f"{listed(counts)} (no image format that is read here)")
        return "; ".join(parts) or "nothing"


def some(count, examples):
    """A number and the first few of what it counts."""
    names = [printable(name) for name in itertools.islice(examples, _NAMED)]
    names += ["..."] if names and count > len(names) else []
    return f"{count:,} ({', '.join(names)})" if names else f"{count:,}"


def one_line(text):
    """A text without line ends and what else cannot be printed, which names of files may hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def listed(counts):
    """Counts by name, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    parts = [f"{count:,} {suffix}" for suffix, count in ranked[:_LISTED]]
    rest = sum(count for _, count in ranked[_LISTED:])
    return ", ".join([*parts, *([f"{rest:,} others"] if rest else [])])


def printable(text):
    """A name as text that any terminal or file takes: bytes that are no UTF-8 become `?`-like."""
    return os.fsencode(text).decode(errors="replace")
