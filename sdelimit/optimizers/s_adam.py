"""Adam with a step that shrinks where random probes find the loss irregular."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.limits.sampled.s_adam import SAdamRule, irregularity
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights
from sdelimit.optimizers.adaptive import TINY
from sdelimit.optimizers.formula import ScaleFreeUpdate
from sdelimit.optimizers.named import named
from sdelimit.optimizers.optimizer import Optimizer, decay_rate
from sdelimit.support import arguments as check


@named
def s_adam(
    b1: float = 0.9,
    b2: float = 0.99,
    brake: float = 1.0,
    probe_scale: float = 0.1,
    n_probes: int = 8,
    bias_correction: bool = False,
) -> Optimizer:
    """S-Adam: Adam's direction times exp(-brake rho), rho the relative variance of random loss differences.

        D_i = (f(theta + h v_i) - f(theta)) / h,  v_i uniform on the unit sphere, i <= n_probes,
        rho = Var(D) / (E[D^2] + eps),   u = exp(-brake rho) m / sqrt(v),

    f being the loss on the step's own samples. The limit has M = D^-1 and depends on tr K / d and on the risk itself,
    since the probe length h sets a scale (theory: section 8).

    Args:
        b1, b2: decays of Adam's moments, in [0, 1).
        brake: strength of the weight, >= 0.
        probe_scale: probe length h, > 0.
        n_probes: probes per step, at least 2. Simulating them costs one normal per probe and coordinate.
        bias_correction: divide the moments by 1 - b^k. Off, as in the paper: the first 1/(1-b2) steps are then too
            long, a transient of length O(1/d) in t that the limit does not contain.

    Raises:
        ValueError: naming the argument.

    Source: arXiv:2605.29547.

    >>> import sdelimit as sl
    >>> sl.s_adam(brake=0.5).hyperparameters["brake"]
    0.5
    """
    b1, b2 = decay_rate("b1", b1), decay_rate("b2", b2)
    brake = check.real("brake", brake, nonnegative=True)
    probe_scale = check.real("probe_scale", probe_scale, positive=True)
    n_probes = check.integer("n_probes", n_probes, minimum=2)
    bias_correction = check.flag("bias_correction", bias_correction)
    a, w = Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2)

    def limit(problem, batch_size):
        tau = float(np.sqrt(problem.covariance.mean_variance))
        rule = SAdamRule(a, w, p=2, brake=brake, probe_scale=probe_scale, n_probes=n_probes, tau=tau)
        return tabulated_limit(rule, problem.noise, batch_size)

    transform = scale_by_s_adam(b1, b2, brake, probe_scale, n_probes, bias_correction)
    settings = {
        "b1": b1,
        "b2": b2,
        "brake": brake,
        "probe_scale": probe_scale,
        "n_probes": n_probes,
        "bias_correction": bias_correction,
    }
    formula = ScaleFreeUpdate(transform)  # of the gradients; losses keep their scale
    return Optimizer("s_adam", transform, limit, settings, memory=1 / (1 - b1), formula=formula)


def scale_by_s_adam(b1, b2, brake, probe_scale, n_probes, bias_correction) -> optax.GradientTransformationExtraArgs:
    """The S-Adam direction; ``update`` needs ``loss_fn`` (parameters -> loss on the step's samples) and a ``key``."""
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=TINY)

    def probe(loss_fn, params, key):
        normals = jax.random.normal(key, (n_probes, *params.shape), jnp.float32).astype(params.dtype)
        directions = normals / jnp.linalg.norm(normals, axis=-1, keepdims=True)
        moved = jax.vmap(loss_fn)(params + probe_scale * directions)
        return (moved - loss_fn(params)) / probe_scale

    def update(gradient, state, params, *, loss_fn, key, **extra):
        del extra
        direction, state = adam.update(gradient, state, params)
        if not bias_correction:
            direction = direction * (1 - b1**state.count) / jnp.sqrt(1 - b2**state.count)
        return jnp.exp(-brake * irregularity(probe(loss_fn, params, key))) * direction, state

    return optax.GradientTransformationExtraArgs(adam.init, update)
