"""The best learning rate of each group of a sweep's cells."""

import numpy as np

GROUP = ("optimizer", "d", "covariance", "noise", "batch_size", "model")


def seed_means(rows) -> dict[tuple, dict]:
    """{group: {lr: {"lr_start", "theory", "run", "error", "status"}}}: risks averaged over seeds.

    A risk is infinite if it is for one seed, None if it is missing for one. ``error`` is the standard error of the mean
    over runs of all seeds.
    """
    collected = {}
    for row in rows:
        group = tuple(row[name] for name in GROUP)
        collected.setdefault(group, {}).setdefault(row["lr"], []).append(row)
    return {group: {lr: _mean(own) for lr, own in rates.items()} for group, rates in collected.items()}


def _mean(rows):
    def over_seeds(name):
        values = [row[name] for row in rows]
        return None if None in values else float(np.mean(values))

    errors = [row["run_standard_error"] for row in rows]
    error = None if None in errors else float(np.sqrt(np.sum(np.square(errors))) / len(errors))
    return {
        "lr_start": rows[0]["lr_start"],
        "theory": over_seeds("theory_risk"),
        "run": over_seeds("run_risk"),
        "error": error,
        "status": next((row["status"] for row in rows if row["status"] != "ok"), "ok"),
    }


def best_rates(rows) -> list[dict]:
    """For each group the rates with the lowest risks by theory and by runs."""
    return [
        dict(zip(GROUP, group, strict=True)) | _best("theory", rates) | _best("run", rates)
        for group, rates in seed_means(rows).items()
    ]


def _best(kind, rates):
    risks = {lr: mean[kind] for lr, mean in rates.items() if mean[kind] is not None and np.isfinite(mean[kind])}
    if not risks:
        return {f"{kind}_best_lr": None, f"{kind}_best_risk": None, f"{kind}_at_edge": None}
    best = min(risks, key=risks.get)
    tried = [lr for lr in rates if isinstance(lr, float)]
    edge = isinstance(best, float) and len(tried) > 1 and best in (min(tried), max(tried))
    return {f"{kind}_best_lr": best, f"{kind}_best_risk": risks[best], f"{kind}_at_edge": edge}
