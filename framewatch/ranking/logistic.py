"""Fits Spark ML's binary logistic regression in NumPy, for labelled frames that fit into memory.

Spark runs a job per evaluation of the loss. Cross-validation on a few hundred frames then takes seconds of
scheduling for milliseconds of arithmetic. `fit_regression` takes the same steps as Spark does, so that
left-out videos are scored by the same kind of classifier as the one that is saved.

Methods: Andrew and Gao, "Scalable Training of L1-Regularized Log-Linear Models" (OWL-QN, 2007); Nocedal and
Wright, "Numerical Optimization", 2006, sections 3.5 and 7.2 (line search, L-BFGS). Constants and stopping
rules are those of Breeze 2, which Spark uses. Does not import Spark.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_TOLERANCE = 1e-6  # Spark's default
_MEMORY = 10  # corrections of L-BFGS that Spark keeps
_REMEMBERED_LOSSES = 20
_ARMIJO, _WOLFE = 1e-4, 0.9

# (features, labels, weights) of frames -> regression.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], "Logistic"]
# A point -> the loss there, and its gradient.
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


class _SearchError(Exception):
    """A line search found no step, or the history is not usable."""


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        coefficients: (features,) float64.
        intercept: the log-odds where all features are 0.
    """

    coefficients: np.ndarray
    intercept: float

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Returns the log-odds of each row of (rows, features); (rows,) float64."""
        return features @ self.coefficients + self.intercept

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Returns P(suspicious) of each row of (rows, features); (rows,) float64."""
        return sigmoid(self.log_odds(features))


@dataclass(frozen=True)
class Standardized:
    """Shifts and scales features to mean 0 and deviation 1.

    Attributes:
        mean: (features,).
        scale: (features,) what centered features are multiplied by; 0 where they are constant.
    """

    mean: np.ndarray
    scale: np.ndarray

    @staticmethod
    def of(features: np.ndarray, weights: np.ndarray) -> "Standardized":
        """Returns the weighted mean and the scale of (rows, features)."""
        mean = weights @ features / weights.sum()
        deviation = np.sqrt(weights @ np.square(features - mean) / weights.sum())
        scale = np.where(deviation > 1e-9, 1 / np.where(deviation > 1e-9, deviation, 1), 0.0)
        return Standardized(mean, scale)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Returns the shifted and scaled features."""
        return (features - self.mean) * self.scale

    def restored(self, fitted: Logistic) -> Logistic:
        """Returns a regression on the features themselves, from one on those of `apply`."""
        coefficients = fitted.coefficients * self.scale
        return Logistic(coefficients, fitted.intercept - float(self.mean @ coefficients))


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """Returns the probabilities of log-odds, without overflow."""
    return np.exp(-np.logaddexp(0.0, -log_odds))


def balanced(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns weights of the same total with half of it for each label, 0 and 1, which must both occur."""
    half, ones = weights.sum() / 2, weights @ labels
    return weights * np.where(labels == 1, half / ones, half / (weights.sum() - ones))


def fit_regression(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    max_iter: int,
    reg_param: float,
    elastic_net_param: float,
    standardization: bool,
) -> Logistic:
    """Fits P(label = 1 | features), as `pyspark.ml.classification.LogisticRegression` does.

    Args:
        features: (rows, features) float64, finite.
        labels: (rows,), 0 or 1, both present among the rows with a weight above 0.
        weights: (rows,), 0 or more; a row with weight 0 does not count.
        max_iter: iterations at most.
        reg_param: strength of the penalty.
        elastic_net_param: 0 for an L2 penalty, 1 for L1.
        standardization: whether the penalty applies to features scaled to unit deviation.

    Returns:
        The regression; its coefficients equal those of Spark up to rounding.
    """
    total = weights.sum()
    means = weights @ features / total
    variances = np.maximum(weights @ np.square(features) / total - means**2, 0.0)
    # Spark's variance is unbiased for weights that are frequencies.
    deviations = np.sqrt(variances * total / (total - np.square(weights).sum() / total))
    # Rounding leaves a constant feature with a tiny variance, where Spark finds 0.
    constant = np.ptp(features[weights > 0], axis=0) == 0
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviations))
    # The penalty of features that are not standardized, expressed in standardized ones.
    shrinkage = np.ones_like(scale) if standardization else scale
    l1 = np.append(reg_param * elastic_net_param * shrinkage, 0.0)
    l2 = reg_param * (1 - elastic_net_param) * shrinkage**2
    ones = weights @ labels
    start = np.append(np.zeros_like(scale), math.log(ones / (total - ones)))

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = point[:-1] * scale
        margins = features @ scaled + (point[-1] - scaled @ means)
        losses = np.logaddexp(0.0, margins) - labels * margins
        residuals = weights * (sigmoid(margins) - labels) / total
        sum_residuals = residuals.sum()
        gradient = scale * (residuals @ features - sum_residuals * means) + l2 * point[:-1]
        penalty = 0.5 * float(l2 @ point[:-1] ** 2)
        return float(weights @ losses / total) + penalty, np.append(gradient, sum_residuals)

    solution = _minimize(loss, start, l1, max_iter)
    coefficients = solution[:-1] * scale
    return Logistic(coefficients, float(solution[-1] - coefficients @ means))


def _minimize(objective: Objective, start: np.ndarray, l1: np.ndarray, max_iter: int) -> np.ndarray:
    """Minimizes `objective` plus the L1 penalty by OWL-QN; by L-BFGS if no coefficient has a penalty."""
    step_to = _orthant_step if l1.any() else _plain_step
    point, (value, gradient) = start, objective(start)
    total, slope = _penalized(point, value, gradient, l1)
    first, losses = abs(total), deque([math.inf], maxlen=_REMEMBERED_LOSSES)
    history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_MEMORY)
    iteration, failed = 0, False
    while iteration < max_iter:
        flat = len(losses) >= 2 and abs(total - max(losses)) <= _TOLERANCE * first
        if flat or np.linalg.norm(slope) <= max(_TOLERANCE * abs(total), 1e-8):
            break
        try:
            direction = _descent(history, slope)
            following = step_to(objective, point, value, gradient, slope, direction, l1, iteration)
        except _SearchError:
            if failed:
                break
            failed = True
            history.clear()
            continue
        failed = False
        value, new_gradient = objective(following)
        history.appendleft((following - point, new_gradient - gradient))
        point, gradient = following, new_gradient
        total, slope = _penalized(point, value, gradient, l1)
        losses.append(total)
        iteration += 1
    return point


def _penalized(
    point: np.ndarray, value: float, gradient: np.ndarray, l1: np.ndarray
) -> tuple[float, np.ndarray]:
    """Adds the L1 penalty; at 0 the slope is that of the side that descends, or 0."""
    right, left = gradient + l1, gradient - l1
    at_zero = np.where(left > 0, left, np.where(right < 0, right, 0.0))
    slope = np.where(point == 0.0, at_zero, gradient + np.sign(point) * l1)
    return value + float(l1 @ np.abs(point)), slope


def _descent(history: deque[tuple[np.ndarray, np.ndarray]], slope: np.ndarray) -> np.ndarray:
    """Returns minus the approximate inverse Hessian times the slope (Nocedal and Wright, algorithm 7.4)."""
    direction = slope.copy()
    if not history:
        return -direction
    products = [float(step @ change) for step, change in history]
    if not products[0] >= 0:
        raise _SearchError
    shares = []
    for (step, change), product in zip(history, products, strict=True):
        shares.append(float(step @ direction) / product if product else math.nan)
        if math.isnan(shares[-1]):
            raise _SearchError
        direction -= shares[-1] * change
    direction *= products[0] / float(history[0][1] @ history[0][1])
    for (step, change), product, share in reversed(list(zip(history, products, shares, strict=True))):
        direction += (share - float(change @ direction) / product) * step
    return -direction


def _orthant_step(
    objective: Objective,
    point: np.ndarray,
    value: float,
    gradient: np.ndarray,
    slope: np.ndarray,
    direction: np.ndarray,
    l1: np.ndarray,
    iteration: int,
) -> np.ndarray:
    """Returns the next point of OWL-QN, which stays in the orthant of this one; searches by backtracking."""
    direction = np.where(direction * slope < 0, direction, 0.0)
    orthant = np.where(point != 0.0, np.sign(point), np.sign(-slope))

    def moved(length: float) -> np.ndarray:
        stepped = point + direction * length
        return np.where(np.sign(stepped) == orthant, stepped, 0.0)

    def along(length: float) -> tuple[float, float]:
        there = moved(length)
        total, slope_there = _penalized(there, *objective(there), l1)
        return total, float(slope_there @ direction)

    first = iteration < 1
    length = 0.5 / float(np.linalg.norm(gradient)) if first else 1.0
    return moved(_backtracked(along, length, value, shrink=0.1 if first else 0.5))


def _backtracked(
    along: Callable[[float], tuple[float, float]], length: float, value: float, *, shrink: float
) -> float:
    """Returns a step that meets the strong Wolfe conditions; the last one tried after 20 trials."""
    start, descent = along(0.0)
    slope = along(length)[1]
    for _ in range(19):
        if value > start + length * descent * _ARMIJO:
            factor = shrink
        elif slope < _WOLFE * descent:
            factor = 2.1
        elif slope > -_WOLFE * descent:
            factor = shrink
        else:
            break
        length *= factor
        if not 1e-10 <= length <= 1e10:
            raise _SearchError
        value, slope = along(length)
    return length


def _plain_step(
    objective: Objective,
    point: np.ndarray,
    value: float,
    gradient: np.ndarray,
    slope: np.ndarray,
    direction: np.ndarray,
    l1: np.ndarray,
    iteration: int,
) -> np.ndarray:
    """Returns the next point of L-BFGS, by a line search with the strong Wolfe conditions."""

    def along(length: float) -> "_Trial":
        there, gradient_there = objective(point + direction * length)
        return _Trial(length, there, float(gradient_there @ direction))

    first = 1.0 / float(np.linalg.norm(direction)) if iteration == 0 else 1.0
    length = _wolfe_search(along, first)
    if length * np.linalg.norm(gradient) < 1e-10:
        raise _SearchError
    return point + direction * length


@dataclass(frozen=True)
class _Trial:
    length: float
    value: float
    slope: float


def _wolfe_search(along: Callable[[float], _Trial], length: float) -> float:
    """Returns a step that meets the strong Wolfe conditions (Nocedal and Wright, algorithm 3.5)."""
    start = low = along(0.0)
    if start.slope > 0:
        raise _SearchError
    for attempt in range(10):
        trial = along(length)
        if not math.isfinite(trial.value):
            length /= 2
            continue
        too_high = trial.value > start.value + _ARMIJO * length * start.slope
        if too_high or (attempt > 0 and trial.value >= low.value):
            return _zoomed(along, start, low, trial)
        if abs(trial.slope) <= _WOLFE * abs(start.slope):
            return length
        if trial.slope >= 0:
            return _zoomed(along, start, trial, low)
        low, length = trial, length * 1.5
    raise _SearchError


def _zoomed(along: Callable[[float], _Trial], start: _Trial, low: _Trial, high: _Trial) -> float:
    """Narrows the bracket between `low` and `high` (Nocedal and Wright, algorithm 3.6)."""
    for _ in range(10):
        trial = along(_between(*sorted((low, high), key=lambda end: end.length)))
        if trial.value > start.value + _ARMIJO * trial.length * start.slope or trial.value >= low.value:
            high = trial
            continue
        if abs(trial.slope) <= _WOLFE * abs(start.slope):
            return trial.length
        if trial.slope * (high.length - low.length) >= 0:
            high = low
        low = trial
    raise _SearchError


def _between(left: _Trial, right: _Trial) -> float:
    """Returns the minimum of the cubic through both ends, at least a tenth of the bracket inside it."""
    width = right.length - left.length
    mean = left.slope + right.slope - 3 * (right.value - left.value) / width
    under_root = mean * mean - left.slope * right.slope
    inner = left.length + 0.1 * width, left.length + 0.9 * width
    if under_root < 0:
        return math.nan  # like Breeze, whose search then fails
    root = math.sqrt(under_root)
    best = right.length - width * (right.slope + root - mean) / (right.slope - left.slope + 2 * root)
    return min(max(best, inner[0]), inner[1])
