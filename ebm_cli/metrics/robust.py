"""robust: accuracy under attack over a grid of radii, and the checks that expose masked gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ebm_cli.metrics.attacks import NORMS, Attacked, Logits
from ebm_cli.metrics.classifier import class_probabilities
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy, need_images, need_labels
from ebm_cli.metrics.stand_ins import unit
from ebm_cli.runs.trained import TrainedModel

UNBOUNDED = {"linf": 1.0, "l2": 30.0}  # reaches every image from every other
TOLERATED = 0.02  # share of images by which a check may miss


@dataclass(kw_only=True, eq=False)
class Robust(Metric):
    """Share of test images still classified rightly under projected gradient descent, and under AutoAttack.

    An image counts as broken if any restart breaks it. Attacks see exactly the classifier that is measured, without
    noise or refinement. The numbers mean something only where ``robust/checks/passed`` is the number of checks: an
    unbounded attack reaches 0, accuracy falls with the radius, four times the steps find no more, the black-box attack
    Square finds no more than the white-box one, and gradients are not zero (Carlini et al. 2019). Attacks: Madry et al.
    2018, Croce & Hein 2020.

    Args:
        norm: ``linf`` or ``l2``.
        epsilons: radii, in units of the grey scale ``[0, 1]``.
        n: test images, classes in proportion; null takes all.
        steps: of the gradient attack, each 2.5 / steps of the radius.
        restarts: random starts per image.
        autoattack: radius of AutoAttack (standard); null skips it.
        autoattack_n: images that it and Square see, at most.
    """

    norm: str = "linf"
    epsilons: list[float] = (0.02, 0.05, 0.1, 0.2)
    n: int | None = 500
    steps: int = 40
    restarts: int = 2
    autoattack: float | None = 0.05
    autoattack_n: int = 100

    def __post_init__(self):
        if self.norm not in NORMS:
            raise ValueError(f"norm must be linf or l2, got {self.norm!r}")
        self.epsilons = sorted(float(e) for e in self.epsilons)
        if not self.epsilons or self.epsilons[0] <= 0 or (self.autoattack is not None and self.autoattack <= 0):
            raise ValueError(f"epsilons and autoattack must be above 0, got {self.epsilons}, {self.autoattack}")
        if min(self.steps, self.restarts, self.autoattack_n) < 1 or (self.n is not None and self.n < 2):
            raise ValueError("steps, restarts and autoattack_n must be at least 1, n at least 2 or null")

    def check(self, model: TrainedModel) -> None:
        need_energy(model)
        need_images(model.data)
        need_labels(model.data)
        if model.data.value_range is None:
            raise Skip("dataset.value_range is null: radii are in units of the grey scale")
        class_probabilities(model, model.data.split("test", 2).x)
        try:
            import foolbox  # noqa: F401
        except ImportError as error:
            raise Skip("needs the package foolbox: pip install ebm-cli[robust]") from error

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        x, y = model.data.split("test", self.n)
        attacked = Attacked(Logits(model), unit(x, model.data), y, self.norm, model.seed)
        clean = (attacked.model(attacked.x).argmax(1) == y).double()
        curve = {e: attacked.survivors(e, self.steps, self.restarts) for e in self.epsilons}
        protocol = {"norm": self.norm, "unit": "grey scale [0, 1]", "n": len(x), "seed": model.seed}
        pgd = protocol | {"attack": f"PGD-{self.steps}, foolbox", "restarts": self.restarts}
        values = {f"robust/{self.norm}/clean": measure_share(clean, protocol)}
        values |= {
            f"robust/{self.norm}/{e:g}/accuracy": measure_share(s, pgd | {"epsilon": e}) for e, s in curve.items()
        }
        return values | self.automatic(attacked, protocol) | self.checks(attacked, clean, curve, pgd)

    def automatic(self, attacked: Attacked, protocol: dict) -> dict[str, Value | Skip]:
        """AutoAttack on the first images."""
        if self.autoattack is None:
            return {}
        key = f"robust/{self.norm}/{self.autoattack:g}/autoattack"
        try:
            survivors = attacked.first(self.autoattack_n).automatic(self.autoattack)
        except ImportError:
            return {key: Skip("needs the package pyautoattack: pip install ebm-cli[robust]")}
        except Skip as reason:
            return {key: reason}
        attack = {"attack": "AutoAttack standard", "epsilon": self.autoattack, "n": len(survivors)}
        return {key: measure_share(survivors, protocol | attack)}

    def checks(self, attacked: Attacked, clean: Tensor, curve: dict, protocol: dict) -> dict[str, Value | Skip]:
        """What must hold where gradients are not masked; ``passed`` counts what does."""
        middle = self.epsilons[(len(self.epsilons) - 1) // 2]
        path = [float(s.mean()) for s in (clean, *curve.values())]
        rise = max(after - before for before, after in zip(path, path[1:], strict=False))
        more = attacked.survivors(middle, 4 * self.steps, self.restarts)
        found = {
            "unbounded": float(attacked.survivors(UNBOUNDED[self.norm], self.steps, self.restarts).mean()),
            "rise": max(0.0, rise),
            "more_steps_gain": float(curve[middle].mean() - (curve[middle] * more).mean()),
            "zero_gradients": attacked.zero_gradients(),
        }
        values = {f"robust/checks/{name}": Value(value, None, len(clean), protocol) for name, value in found.items()}
        try:
            few = attacked.first(self.autoattack_n)
            both = curve[middle][: len(few.x)]
            found["black_box_gain"] = float((both - both * few.square(middle)).mean())
            square = protocol | {"attack": "Square, 1000 queries", "epsilon": middle, "n": len(few.x)}
            values["robust/checks/black_box_gain"] = Value(found["black_box_gain"], None, len(few.x), square)
        except ImportError:
            values["robust/checks/black_box_gain"] = Skip("needs the package pyautoattack: pip install ebm-cli[robust]")
        passed = sum(value <= TOLERATED for value in found.values())
        values["robust/checks/passed"] = Value(passed, None, len(clean), {"of": len(found), "tolerance": TOLERATED})
        return values


def measure_share(right: Tensor, protocol: dict) -> Value:
    """Mean of zeros and ones with its binomial standard error."""
    p, n = float(right.mean()), len(right)
    return Value(p, (p * (1 - p) / n) ** 0.5, n, protocol)
