"""What a prompt shows of curves."""

import numpy as np

from sdelimit.support.brief import brief, shorten


def summary(result, what: str) -> str:
    """The rule, its learning rate, the problem, where the risk goes, whether it diverged, and warnings."""
    lines = [
        f"{what} of {result.optimizer!r}, lr {_rates(result.lr)}{_batch(result.batch_size)}",
        f"  problem: {brief(result.problem)}",
        f"  t from {result.t[0]:.4g} to {result.t[-1]:.4g} at {result.t.size} times; {_risks(result.risk)}",
    ]
    statuses = [result.status] if isinstance(result.status, str) else list(dict.fromkeys(result.status))
    return shorten([*lines, *(f"  status: {text}" for text in statuses), *(f"  warning: {x}" for x in result.warnings)])


def describe_result(result) -> dict[str, str]:
    """What the numbers of a curve are of, as texts by name."""
    statuses = [result.status] if isinstance(result.status, str) else list(result.status)
    return {
        "kind": result.kind,
        "optimizer": repr(result.optimizer),
        "problem": brief(result.problem),
        "batch_size": str(result.batch_size),
        "status": "; ".join(dict.fromkeys(statuses)),
        "warnings": "\n".join(result.warnings),
    }


def describe_lr(lr) -> str:
    """'0.5' for a constant learning rate, '0.5 -> 0.1' for one that changes."""
    return f"{lr[0]:.3g}" if np.ptp(lr) == 0 else f"{lr[0]:.3g} -> {lr[-1]:.3g}"


def _batch(size) -> str:
    return f", batches of {size}" if size > 1 else ""


def _rates(lr) -> str:
    if np.ndim(lr) > 1:
        return f"{len(lr)} from {lr[:, 0].min():.3g} to {lr[:, 0].max():.3g}"
    return describe_lr(lr)


def _risks(risk) -> str:
    """The risk at the first and the last time: a number each, or the range over runs and learning rates."""
    return f"risk from {_span(risk[..., 0])} to {_span(risk[..., -1])}"


def _span(values) -> str:
    low, high = f"{np.min(values):.4g}", f"{np.max(values):.4g}"
    return low if low == high else f"{low}..{high}"
