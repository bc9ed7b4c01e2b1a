"""SIGINT and SIGTERM: the run is saved at the end of its short epoch and left by all ranks together."""

from __future__ import annotations

import signal
import sys
import types

import pytorch_lightning as pl

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt(pl.Callback):
    """Turns the first SIGINT or SIGTERM on any rank into a stop of all ranks at the end of the epoch.

    A second SIGINT leaves at once. Handlers are those of this process while it trains, and the old ones again after.
    """

    def __init__(self):
        self.received: int | None = None
        self.agreed = False
        self.before: dict = {}

    def setup(self, trainer, module, stage: str) -> None:
        """Notes the handlers that were there before Lightning's own, which would keep the trainer alive."""
        self.before = {signum: signal.getsignal(signum) for signum in SIGNALS}

    def on_train_start(self, trainer, module) -> None:
        """Not earlier: Lightning's own handlers, which stop in the middle of an epoch, are in place by now."""
        for signum in SIGNALS:
            signal.signal(signum, self.receive)

    def teardown(self, trainer, module, stage: str) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before = {}

    def receive(self, signum: int, frame: types.FrameType | None) -> None:
        """The handler: the first signal is noted, a second SIGINT leaves at once."""
        if self.received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            name = signal.Signals(signum).name
            sys.stderr.write(f"\n{name}: stopping at the end of this epoch, saved (Ctrl-C again leaves at once)\n")
        self.received = signum

    def on_train_epoch_end(self, trainer, module) -> None:
        """All ranks learn whether any of them was asked to stop."""
        self.agreed = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
        if self.agreed:
            trainer.should_stop = True

    @property
    def signum(self) -> int | None:
        """The signal that ended the run, on whichever rank it came; None if none did."""
        return (self.received or signal.SIGTERM) if self.agreed else None
