"""Rows and columns of a table, and the published values with their sources."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        metric: its name in metrics.json.
        title: its head.
        decimals: digits behind the point.
        scale: factor between metrics.json and the table, such as 100 for percent.
    """

    metric: str
    title: str
    decimals: int = 2
    scale: float = 1.0


@dataclass(frozen=True)
class Published:
    """A value that somebody else has measured, as the table shows it (after ``Column.scale``).

    Attributes:
        value: the number.
        source: key of the table's ``sources``.
        unverified: quoted from memory, not read in the source.
    """

    value: float
    source: str
    unverified: bool = False


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        title: how the table calls it.
        train: overrides of ebm-train; null where there is nothing of ours to train.
        baseline: arguments of ``python -m ebm_cli.baselines`` instead.
        evaluate: overrides of ebm-eval, in place of the table's; an empty list takes the numbers of the baseline alone.
        published: by column.
    """

    title: str
    train: list[str] | None = None
    baseline: list[str] | None = None
    evaluate: list[str] | None = None
    published: dict[str, Published] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether there is something of ours to run for it."""
        return self.train is not None or self.baseline is not None

    @property
    def commands(self) -> dict:
        """What measures the row; a stored number is reused only if these are unchanged."""
        return {"train": self.train, "baseline": self.baseline, "evaluate": self.evaluate}
