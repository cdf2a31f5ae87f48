"""What is known of a function's tests: which are selections, and which are guards and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

__all__ = ["Choices", "Site", "Unselected"]

# Where a test stands in the source: file, line, column.
Site = tuple[str, int, int]


@dataclass
class Choices:
    """What is known of the tests of a function.

    Attributes
    ----------
    kept : dict
        Of the tests that are guards, why they are.
    selected : dict
        Of those that were selections in the last recording, how often.
    nests : bool
        Whether there was a recording inside it, of a derivative: that one may round otherwise.
    """

    kept: dict[Site, str] = field(default_factory=dict)
    selected: dict[Site, int] = field(default_factory=dict)
    nests: bool = False

    def told(self) -> list[tuple[Site, str]]:
        """Return the tests that are guards, in the order of the source, with the reasons."""
        return sorted(self.kept.items())

    def text(self) -> str:
        """Say which tests are selections, and which are guards and why."""
        rows = [
            f"{file}:{line} selects" + (f", {count} times" if count > 1 else "")
            for (file, line, _), count in sorted(self.selected.items())
        ]
        rows += [f"{file}:{line} is guarded: {why}" for (file, line, _), why in self.told()]
        return "\n".join(rows or ["no test selects"])

    def copy(self) -> "Choices":
        """Return what is known now."""
        return replace(self, kept=dict(self.kept), selected=dict(self.selected))

    def without(self, sites: Iterable[Site], why: str) -> "Choices | None":
        """Note that tests are guards; return None if all of them were, and nothing would change."""
        new = [site for site in sites if site not in self.kept]
        self.kept |= dict.fromkeys(new, why)
        return self if new else None


class Unselected(BaseException):
    """Some tests are guards from now on. (No Exception, so that users' handlers let it pass.)"""

    def __init__(self, sites: Iterable[Site], why: str) -> None:
        super().__init__(why)
        self.sites, self.why = tuple(sites), why
