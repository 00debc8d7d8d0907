"""Places where a wrong constant must make a test fail, and the tests that should notice (see mutate.py).

``old`` occurs exactly once in ``file``. Changes are 3 to 10 percent of a constant, or a sign or a power. ``tests`` are
arguments of pytest: a file, or a test of it where the file takes long.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One text of one file replaced by another."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _tests(file, *names):
    return tuple(f"tests/{file}.py::{name}" for name in names) or (f"tests/{file}.py",)


STRUCTURE_PY = "sdelimit/support/structure.py"
STORED = _tests("results/test_stored")
RECOMMENDED = _tests("analysis/test_recommend", "test_the_best_is_that_of_a_grid")
SWEPT_ROWS = _tests("experiments/test_sweep", "test_rows_of_a_file_are_swept_and_repeated")
EXPLORED = _tests("experiments/test_explore", "test_sliders_move_the_curve_and_the_effects")
PHI = _tests("noise/test_noise", "test_phi_agrees_with_quadrature_over_seven_decades_of_risk")
ATOMS = _tests("noise/test_noise", "test_phi_of_noise_with_atoms_is_a_sum_of_gaussian_densities")
MIXED = _tests("noise/test_noise", "test_phi_of_a_gaussian_mixture_is_the_mixture_of_densities")
MOMENTS = _tests("noise/test_noise", "test_moments_and_density_at_zero")
COMPONENTS = _tests("limits/test_clip", "test_gaussian_components_are_accurate_at_every_scale")
LIMITS = _tests("limits/test_sgd_and_sign")
RATIO_MEMORY_PY, SIGN_MEMORY_PY, HISTORY_PY = (
    f"sdelimit/limits/sampled/{name}.py" for name in ("ratio_memory", "sign_memory", "truncated_history")
)
STEPS_OF_ADAM = _tests("ode/test_memory", "test_adam_with_long_memories_is_its_recursion_step_by_step")
STEPS_OF_SIGNUM = _tests("ode/test_memory", "test_signum_is_its_recursion_step_by_step[0.95-0.1-0.001-0.005]")
MEANS_PY, OVERLAP_PY, OVERLAP_LAW_PY = (
    "sdelimit/problem/score_means.py",
    "sdelimit/limits/single_index/coefficients.py",
    "sdelimit/limits/single_index/law.py",
)
OVERLAPS, OVERLAP_BATCHES, OVERLAP_KERNELS, OVERLAP_CURVES, EXCESS, OVERLAP_SETTLED = (
    _tests("limits/test_single_index", name)
    for name in (
        "test_coefficients_have_their_reference_values",
        "test_adam_on_batches_is_that_of_brute_force",
        "test_kernels_have_their_reference_values",
        "test_curves_start_anywhere",
        "test_excess_risks_have_their_reference_values",
        "test_the_stationary_risk_is_where_the_curve_settles",
    )
)
SPREAD_PY = "sdelimit/limits/sampled/spread_along_mean.py"
DECAY_PY = "sdelimit/limits/weight_decay.py"
(DECAYED, DECAY_COUPLED, DECAY_MATRIX, DECAY_STATIONARY, DECAY_PATHS, DECAY_MEAN) = (
    _tests("optimizers/test_weight_decay", name)
    for name in (
        "test_the_ode_is_the_limit_of_an_euler_loop_for_the_mean_and_the_second_moments",
        "test_coupled_decay_of_momentum_enters_the_average",
        "test_a_rule_that_depends_on_scale_has_the_same_curve_with_modes_and_with_matrices",
        "test_stationary_risk_and_best_decay_of_isotropic_features_are_in_closed_form",
        "test_paths_have_the_mean_of_the_ode",
        "test_the_mean_under_decay_is_the_same_from_eigenvectors_and_by_polynomials",
    )
)
HISTORIES = _tests("limits/test_memory_gains")
SCALARS = _tests(
    "limits/test_memory_gains",
    "test_scalars_remember_as_averages_over_steps_do",
    "test_gains_of_adam_fall_with_the_signal_as_its_response_bends",
)
FLUCTUATIONS = _tests("limits/test_fluctuations")
RULES = _tests("optimizers/test_rules")
DRIFTS = _tests(
    "limits/test_sampled",
    "test_nadam_drifts_as_a_mean_of_rmsprop_and_adam",
    "test_signum_drift_without_noise_is_the_mean_of_a_ratio",
    "test_a_rule_without_memory_drifts_as_sign_sgd",
    "test_exact_drift_matches_the_reference_table",
)
ADAM = _tests("limits/test_sampled", "test_exact_drift_matches_the_reference_table[optimizer3-0.83909]")
RMSPROP = _tests("limits/test_sampled", "test_exact_drift_matches_the_reference_table[optimizer4-0.865993]")
GRADIENT_EFFECTS = _tests("limits/test_sampled", "test_effects_are_those_of_a_loop_over_a_circle")
CONTROLS = _tests("limits/test_sampled", "test_controls_have_mean_zero")
RATIO_KERNEL = _tests("limits/test_sampled", "test_kernel_matches_the_reference_table[optimizer3-0.401-0.888]")
S3_KERNEL = _tests("limits/test_sampled", "test_kernel_matches_the_reference_table[optimizer5-0.2837-0.5863]")
SIGNUM_KERNEL = _tests("limits/test_sampled", "test_kernel_matches_the_reference_table[optimizer7-6.354-14.02]")
LION_KERNEL = _tests("limits/test_sampled", "test_kernel_matches_the_reference_table[optimizer8-33.6-69.0]")
LAGS = _tests("limits/test_sampled", "test_lag_rule_sums_smooth_correlations")
S3 = _tests("optimizers/test_rules", "test_s3_follows_its_definition_and_stays_in_the_unit_box")
MEMORYLESS = _tests("limits/test_sampled", "test_zero_memory_is_sign_sgd")
EPS = _tests(
    "limits/test_scale_dependent",
    "test_drift_with_eps_is_an_integral_over_residual_and_coordinate",
    "test_noise_with_eps_is_the_covariance_of_one_step",
)
S_ADAM = _tests("limits/test_s_adam_limit")
RESPONSE = _tests("limits/test_response", "test_its_slope_at_zero_is_the_drift_of_the_linear_law")
ARCSINE = _tests("limits/test_response", "test_of_signs_it_is_an_arcsine")
IN_MODES = _tests("ode/test_aligned_modes", "test_modes_without_their_covariances_follow_the_whole_closure")
RELAXED = _tests("ode/test_aligned_modes", "test_stiff_coupled_relaxation_is_the_exponential_of_its_matrix")
CLOSURE = _tests("ode/test_aligned", "test_the_closure_is_the_limit_of_an_euler_loop_in_matrix_form")
EXACT_SGD = _tests("ode/test_aligned", "test_sgd_step_by_step_has_its_exact_moments")
MOMENTUM = _tests("limits/test_momentum", "test_the_ode_is_where_the_exact_mean_tends")
EXACT_MOMENTUM = _tests("ode/test_finite_d", "test_it_is_the_recursion_of_the_matrix_of_second_moments")
MOMENTUM_EDGE = _tests("limits/test_momentum", "test_beyond_its_edge_the_exact_mean_grows_and_short_of_it_settles")
MOMENTUM_BALANCE = _tests("limits/test_momentum", "test_it_settles_at_the_closed_form")
DEBIASED = _tests(
    "limits/test_momentum", "test_an_average_without_the_bias_of_its_start_is_resolved_from_the_first_step"
)
DRIFT_ERROR = _tests("ode/test_aligned", "test_without_the_correction_the_size_of_the_error_is_named")
REMEMBERED = _tests("ode/test_aligned", "test_where_nothing_changes_the_memory_makes_no_difference")
START_TABLE = _tests("ode/test_aligned", "test_the_first_steps_at_a_correlation_are_those_of_short_histories")
SETTLED = _tests("analysis/test_stationary", "test_dense_problems_keep_the_linear_balance")
SETTLED_SGD = _tests("analysis/test_stationary", "test_sgd_settles_at_the_fixed_point_of_its_exact_moments")
CHEBYSHEV = _tests("ode/test_aligned", "test_chebyshev_polynomials_take_the_exponential_of_a_covariance")
CHI = _tests("limits/test_clip", "test_norm_clipping_of_gaussian_residuals_is_an_integral_over_their_length")
NORM = _tests("limits/test_clip", "test_norm_clipping_coefficients_match_monte_carlo")
SCHEDULED = _tests("limits/test_scheduled_clip", "test_the_risk_of_isotropic_data_solves_the_scalar_equation")
CLIP_SPREAD = _tests("limits/test_scheduled_clip", "test_fluctuations_between_nodes_are_those_of_a_constant_threshold")
BEST_C = _tests("analysis/test_optimal_clipping", "test_every_threshold_is_the_best_of_a_grid")
BEST_RATE = _tests(
    "analysis/test_optimal_clipping",
    "test_with_the_best_learning_rate_the_threshold_has_the_largest_ratio_of_drift_squared_to_noise",
)
COORDINATE = _tests(
    "limits/test_clip",
    "test_drift_under_gaussian_residuals_is_an_integral_of_a_bessel_function",
    "test_hermite_spectrum_sums_to_the_exact_variance_and_starts_with_its_exact_coefficients",
    "test_coordinate_clipping_coefficients_match_monte_carlo",
)
SLOW_MEMORY = _tests("limits/test_long_memory")
SLOW_MEMORY_STEPS = _tests(
    "limits/test_long_memory", "test_a_step_of_the_sde_has_the_mean_and_covariance_of_the_linear_equation"
)
SLOW_MEMORY_BALANCE = _tests("limits/test_long_memory", "test_stationary_risk_is_that_of_sgd_in_units_of_the_residual")
PROBE = _tests("limits/test_probe", "test_sign_has_c_2_over_pi_and_the_arcsin_kernel")
MODES = _tests("ode/test_ode", "test_ode_is_the_limit_of_an_euler_loop_in_matrix_form")
DIAGONAL = _tests("modes/test_structured_modes", "test_diagonal_modes_are_the_coordinates")
AR1 = _tests("modes/test_structured_modes", "test_ar1_modes_are_the_eigenvectors_of_k")
SCALED = _tests("modes/test_structured_modes", "test_a_constant_scale_and_blocks_keep_the_structure")
SPIKED = _tests("modes/test_structured_modes", "test_spiked_modes_are_as_accurate_as_they_say")
COORDINATES = _tests("limits/test_scale_dependent", "test_the_risk_equations_are_those_of_the_second_moments")
COORDINATE_STEPS = _tests(
    "limits/test_scale_dependent", "test_a_step_of_the_sde_has_the_mean_and_covariance_of_the_linear_equation"
)
COORDINATE_BALANCE = _tests(
    "limits/test_scale_dependent", "test_stationary_risk_and_rate_are_those_of_the_second_moments"
)
SDE = _tests("sde/test_sde", "test_mean_of_paths_follows_the_ode", "test_mean_and_spread_agree_with_brute_force")
SPREAD_OF_RUNS = _tests("sde/test_sde", "test_spread_is_that_of_runs")
SPREAD_WITH_MEMORY = _tests(
    "limits/test_fluctuations",
    "test_those_of_rules_with_memory_are_those_of_gradient_histories",
    "test_that_of_long_memories_is_half_that_of_signs",
    "test_that_of_rmsprop_and_signum_is_as_sampled",
)
MOMENTUM_BANDS = _tests("ode/test_bands", "test_momentum_on_the_sphere_obeys_the_equation_of_its_three_overlaps")
LOSS = _tests("simulation/test_simulate", "test_the_loss_that_rules_may_ask_for_has_the_gradient_that_they_get")
LOOP = _tests("simulation/test_simulate", "test_a_run_is_the_optimizer_written_as_a_loop")
STATIONARY = _tests(
    "analysis/test_stationary",
    "test_sign_sgd_has_its_closed_form_under_gaussian_noise",
    "test_sgd_has_its_closed_form_up_to_its_edge_and_is_infinite_beyond",
)
RATES = _tests(
    "analysis/test_stationary",
    "test_the_rate_is_the_slowest_eigenvalue_of_the_whole_matrix_equation",
    "test_a_rule_as_sgd_has_its_risk",
)
EFFECTS = _tests(
    "analysis/test_effects",
    "test_sign_sgd_has_the_closed_forms_of_its_effects",
    "test_compression_under_gaussian_noise_is_pi_squared_over_four_at_every_risk",
)
MATCHED = _tests("analysis/test_learning_rates", "test_matched_mean_decay_accounts_for_the_size_of_the_coordinates")
SHARPNESS = _tests("analysis/test_sharpness", "test_sgd_and_sign_sgd_have_the_sharpness_of_their_noise")
DATA = _tests("data/test_data", "test_moments_are_those_of_the_rules_step_for_a_gaussian_delta")
ROWS_ADAM = _tests("data/test_data", "test_moments_of_adam_are_those_of_gradients_over_the_root_of_what_it_remembers")
CLASSES = _tests(
    "data/test_data",
    "test_logistic_targets_maximize_the_penalized_likelihood",
    "test_a_run_on_classes_is_a_loop_over_its_rows_with_their_own_labels",
)
ROWS = _tests(
    "data/test_data",
    "test_on_gaussian_data_both_theories_agree",
    "test_noise_of_rows_used_once_is_that_of_a_bridge",
    "test_theory_of_adam_from_the_rows_is_much_nearer_than_gaussian_theory",
)

SIGN_PY = "sdelimit/limits/exact/sign.py"
LAPLACE_PY, SIGNED_PY, RATIO_PY = (
    "sdelimit/limits/sampled/laplace_transform.py",
    "sdelimit/limits/sampled/sign_of_average.py",
    "sdelimit/limits/sampled/ratio.py",
)
EFFECTS_PY = "sdelimit/limits/sampled/gradient_effects.py"
CLIP_PY, CLIP_COORDINATE_PY = "sdelimit/limits/exact/clip_norm.py", "sdelimit/limits/exact/clip_coordinate.py"
SCHEDULED_PY, OPTIMAL_PY = "sdelimit/limits/exact/scheduled_clip.py", "sdelimit/analysis/optimal_clipping.py"
ADAPTIVE_PY, SIGN_RULES_PY = "sdelimit/optimizers/adaptive.py", "sdelimit/optimizers/sign.py"
FLUCTUATIONS_PY, LONG_PY = "sdelimit/limits/exact/step_fluctuations.py", "sdelimit/limits/exact/long_memory_adam.py"
DENSE_PY, STRUCTURED_PY = "sdelimit/modes/dense.py", "sdelimit/modes/structured.py"
BALANCE_PY, FACTORS_PY = "sdelimit/analysis/equilibrium.py", "sdelimit/analysis/effects/along_the_curve.py"

MEAN_PY = "sdelimit/limits/sampled/mean_response.py"
MODES_OF_CLOSURE_PY, RELAXATION_PY = "sdelimit/ode/aligned_modes.py", "sdelimit/ode/relaxation_integrator.py"
ALIGNED_PY, RECURSION_PY = "sdelimit/ode/aligned.py", "sdelimit/ode/recursion.py"
MOMENTUM_PY = "sdelimit/limits/exact/sgd_momentum.py"
ALIGNMENT_PY = "sdelimit/modes/alignment.py"
RATIO_RESPONSE_PY = "sdelimit/limits/sampled/ratio_response.py"
SETTLED_PY = "sdelimit/analysis/correlated_stationary.py"

FEATURES_PY, SPECTRUM_PY = "sdelimit/problem/random_features.py", "sdelimit/problem/random_spectrum.py"
MANY_STEPS_PY, FRONTIER_PY = "sdelimit/ode/many_steps.py", "sdelimit/analysis/scaling/frontier.py"
_SKETCHED = "tests/problem/test_random_features.py::"
FEATURES = (f"{_SKETCHED}test_target_and_noise_are_those_of_least_squares",)
SKETCHES = (
    f"{_SKETCHED}test_the_limit_of_many_features_is_that_of_sampled_ones",
    f"{_SKETCHED}test_few_features_of_equal_variances_have_the_law_of_marchenko_and_pastur",
    f"{_SKETCHED}test_the_noise_in_the_limit_is_the_mean_of_sampled_ones[800-200-0.7-0.4-100]",
)
MANY_STEPS = ("tests/ode/test_finite_d.py::test_millions_of_steps_are_not_taken_one_by_one",)
FRONTIERS = ("tests/analysis/test_scaling.py::test_crossings_and_exponents_of_power_laws_are_exact",)
MUTATIONS = tuple(
    Mutation(*row)
    for row in [
        # Features correlated with the residual
        ("response-sign", MEAN_PY, "2 / np.pi * np.sum(chi.imag)", "2.1 / np.pi * np.sum(chi.imag)", RESPONSE),
        (
            "response-ratio",
            MEAN_PY,
            "integrate_over_history(a, w, x, log_even",
            "1.05 * integrate_over_history(a, w, x, log_even",
            RESPONSE,
        ),
        ("response-characteristic", MEAN_PY, "-2j * t * r", "-2.1j * t * r", RESPONSE),
        ("response-arcsine", MEAN_PY, "float(2 / np.pi * weights", "float(2.1 / np.pi * weights", ARCSINE),
        ("aligned-decay", ALIGNED_PY, "dZ = -2 * strength * Z", "dZ = -2.1 * strength * Z", CLOSURE),
        (
            "aligned-noise",
            ALIGNED_PY,
            "dZ = eta**2 / d * noise - decay",
            "dZ = 1.05 * eta**2 / d * noise - decay",
            CLOSURE,
        ),
        ("aligned-mean", ALIGNED_PY, "dm = -eta * std * found.mean", "dm = -1.05 * eta * std * found.mean", CLOSURE),
        ("aligned-energies", MODES_OF_CLOSURE_PY, "(rate, 2 * rate)", "(rate, 2.2 * rate)", IN_MODES),
        (
            "aligned-forcing",
            MODES_OF_CLOSURE_PY,
            "eta**2 / w.shape[0] * noise",
            "1.1 * eta**2 / w.shape[0] * noise",
            IN_MODES,
        ),
        ("relaxation", RELAXATION_PY, "weight * part", "1.05 * weight * part", RELAXED),
        ("aligned-error", ALIGNMENT_PY, "x**2 * (factor - 1)", "x**2 * (1.05 * factor - 1)", DRIFT_ERROR),
        ("remembered-older", RATIO_RESPONSE_PY, "s * mean + past * older", "s * mean + 1.1 * past * older", REMEMBERED),
        ("remembered-start", RATIO_RESPONSE_PY, "gamma / gamma[:1]).T", "gamma / gamma[:1]).T ** 1.1", START_TABLE),
        ("settled-noise", SETTLED_PY, "eta / (4 * problem.d)", "eta / (3.7 * problem.d)", SETTLED),
        ("settled-recursion", SETTLED_PY, "own / (b - own)", "own / (b - 1.1 * own)", SETTLED_SGD),
        ("aligned-chebyshev", ALIGNMENT_PY, "special.ive(k, span / 2)", "special.ive(k, span / 2.1)", CHEBYSHEV),
        (
            "recursion-square",
            RECURSION_PY,
            "+ decay * moments[0])",
            "+ 1.05 * decay * moments[0])",
            EXACT_SGD,
        ),
        ("recursion-noise", RECURSION_PY, "noise = decay / b * (total", "noise = 1.05 * decay / b * (total", EXACT_SGD),
        # momentum as a second number of each mode
        (
            "momentum-rate",
            MOMENTUM_PY,
            "stretch * g1, g2, g3, stretch * delta",
            "stretch * g1, g2, g3, 1.05 * stretch * delta",
            MOMENTUM,
        ),
        ("momentum-drift", MOMENTUM_PY, "[zero, -eta * g3]", "[zero, -1.05 * eta * g3]", MOMENTUM),
        ("momentum-newest", MOMENTUM_PY, "[[[-eta * g2, zero]", "[[[-1.05 * eta * g2, zero]", MOMENTUM),
        (
            "momentum-noise",
            MOMENTUM_PY,
            "jnp.stack([-eta * g2, g1 + 0.0 * eta])",
            "1.05 * jnp.stack([-eta * g2, g1 + 0.0 * eta])",
            MOMENTUM,
        ),
        (
            "momentum-step",
            MOMENTUM_PY,
            "now = g * (g2 + g3 * g1 / self.d)",
            "now = g * (g2 + 1.05 * g3 * g1 / self.d)",
            EXACT_MOMENTUM,
        ),
        (
            "momentum-step-memory",
            MOMENTUM_PY,
            "keep, zero = 1 - delta",
            "keep, zero = 1 - 1.05 * delta",
            EXACT_MOMENTUM,
        ),
        (
            "momentum-edge",
            MOMENTUM_PY,
            "np.sum(decay * kept) / scale",
            "np.sum(decay * kept) / (1.1 * scale)",
            MOMENTUM_EDGE,
        ),
        ("momentum-debiased", MOMENTUM_PY, "(t * self.d + self.ahead)", "(t * self.d + 1.1 * self.ahead)", DEBIASED),
        (
            "balance-two-by-two",
            "sdelimit/analysis/equilibrium.py",
            "/ (2 * trace * det)",
            "/ (2.05 * trace * det)",
            MOMENTUM_BALANCE,
        ),
        # phi of signSGD, and the Gaussian factors it is made of
        ("phi-2-over-pi", SIGN_PY, "(2 / jnp.pi) * self.noise", "(2.1 / jnp.pi) * self.noise", PHI),
        ("phi-argument", SIGN_PY, "gaussian_factor(1 / (4 * R))", "gaussian_factor(1 / (4.2 * R))", PHI),
        ("phi-root", SIGN_PY, "/ jnp.sqrt(2 * R)\n", "/ jnp.sqrt(2.1 * R)\n", PHI),
        ("phi-batch-gaussian", SIGN_PY, "return 2 / jnp.sqrt(jnp.pi)", "return 2.1 / jnp.sqrt(jnp.pi)", LIMITS),
        ("phi-batch-gamma", SIGN_PY, "gammaln((b + 1) / 2)", "gammaln((b + 1.1) / 2)", LIMITS),
        (
            "phi-batch-laplace",
            SIGN_PY,
            "(batch_size - 1) * jnp.sqrt(2.0)",
            "(batch_size - 0.95) * jnp.sqrt(2.0)",
            LIMITS,
        ),
        ("phi-batch-variance-ratio", SIGN_PY, "1 + 2 * t * (2 * R)", "1 + 2.1 * t * (2 * R)", LIMITS),
        (
            "noise-gaussian",
            "sdelimit/noise/gaussian.py",
            "1 / jnp.sqrt(1 + 2 * a * self.std**2)",
            "1 / jnp.sqrt(1 + 2.1 * a * self.std**2)",
            PHI,
        ),
        (
            "noise-student",
            "sdelimit/noise/scale_mixtures.py",
            "* df / gamma), axis=1",
            "* 1.05 * df / gamma), axis=1",
            PHI,
        ),
        (
            "noise-student-scale",
            "sdelimit/noise/scale_mixtures.py",
            "return self.table(a * self.scale**2)\n",
            "return self.table(a * self.scale)\n",
            PHI,
        ),
        (
            "noise-cauchy",
            "sdelimit/noise/scale_mixtures.py",
            "_erfcx(self.scale * jnp.sqrt(a))",
            "_erfcx(1.05 * self.scale * jnp.sqrt(a))",
            PHI,
        ),
        (
            "noise-laplace",
            "sdelimit/noise/scale_mixtures.py",
            "x = 1 / (2 * self.scale",
            "x = 1 / (2.1 * self.scale",
            PHI,
        ),
        (
            "noise-laplace-root",
            "sdelimit/noise/scale_mixtures.py",
            "jnp.sqrt(jnp.pi) * x * _erfcx",
            "jnp.sqrt(3.3) * x * _erfcx",
            PHI,
        ),
        (
            "noise-uniform",
            "sdelimit/noise/bounded.py",
            "jnp.sqrt(jnp.pi) / 2 * jss.erf",
            "jnp.sqrt(jnp.pi) / 2.1 * jss.erf",
            PHI,
        ),
        (
            "noise-two-point",
            "sdelimit/noise/bounded.py",
            "jnp.exp(-a * self.magnitude**2)",
            "jnp.exp(-1.05 * a * self.magnitude**2)",
            ATOMS,
        ),
        (
            "noise-empirical",
            "sdelimit/noise/empirical.py",
            "logsumexp(-np.exp(x) * squares)",
            "logsumexp(-1.05 * np.exp(x) * squares)",
            ATOMS,
        ),
        (
            "noise-mixture",
            "sdelimit/noise/gaussian.py",
            "variance_ratio = 1 + 2 * a * self.stds**2",
            "variance_ratio = 1 + 2.1 * a * self.stds**2",
            MIXED,
        ),
        (
            "noise-mixture-mean",
            "sdelimit/noise/gaussian.py",
            "-a * self.means**2 / variance_ratio",
            "-1.05 * a * self.means**2 / variance_ratio",
            MIXED,
        ),
        (
            "noise-density",
            "sdelimit/noise/density.py",
            "np.exp(-a * squares[used])",
            "np.exp(-1.05 * a * squares[used])",
            PHI,
        ),
        (
            "noise-gaussian-fourth",
            "sdelimit/noise/gaussian.py",
            "return 3 * self.std**4",
            "return 3.2 * self.std**4",
            MOMENTS,
        ),
        (
            "noise-student-second",
            "sdelimit/noise/scale_mixtures.py",
            "/ (self.df - 2) if",
            "/ (self.df - 2.1) if",
            MOMENTS,
        ),
        (
            "noise-laplace-second",
            "sdelimit/noise/scale_mixtures.py",
            "return 2 * self.scale**2\n",
            "return 2.1 * self.scale**2\n",
            MOMENTS,
        ),
        (
            "noise-uniform-second",
            "sdelimit/noise/bounded.py",
            "self.half_width**2 / 3",
            "self.half_width**2 / 3.1",
            MOMENTS,
        ),
        (
            "noise-laplace-components",
            "sdelimit/noise/scale_mixtures.py",
            "2 * self.scale**2 * gamma\n",
            "2.1 * self.scale**2 * gamma\n",
            COMPONENTS,
        ),
        (
            "noise-cauchy-components",
            "sdelimit/noise/scale_mixtures.py",
            "self.scale**2 / (2 * gamma)",
            "self.scale**2 / (2.1 * gamma)",
            COMPONENTS,
        ),
        # noise coefficients
        (
            "kappa-arcsin",
            "sdelimit/limits/noise_kernel.py",
            "2 / np.pi * (jnp if",
            "2.1 / np.pi * (jnp if",
            LIMITS,
        ),
        ("kappa-sign", SIGN_PY, "return jnp.ones((1,),", "return 1.05 * jnp.ones((1,),", LIMITS),
        (
            "kappa-sgd",
            "sdelimit/limits/exact/sgd.py",
            "(2 * R + self.noise_variance)",
            "(2.1 * R + self.noise_variance)",
            LIMITS,
        ),
        (
            "kappa-sgd-batch",
            "sdelimit/limits/exact/sgd.py",
            "[None] / self.batch_size",
            "[None] / self.batch_size**0.9",
            LIMITS,
        ),
        # what single runs do beyond the mean
        ("fluctuation-sign", FLUCTUATIONS_PY, "- self.phi(R) ** 2", "- 1.05 * self.phi(R) ** 2", FLUCTUATIONS),
        (
            "fluctuation-sign-batch",
            FLUCTUATIONS_PY,
            "(self.batch_size - 1) /",
            "(self.batch_size - 0.9) /",
            FLUCTUATIONS,
        ),
        ("fluctuation-sgd-drift", FLUCTUATIONS_PY, "jnp.ones_like(R) / b", "1.05 * jnp.ones_like(R) / b", FLUCTUATIONS),
        ("fluctuation-sgd-length-variance", FLUCTUATIONS_PY, "12 * R**2 +", "12.6 * R**2 +", FLUCTUATIONS),
        (
            "fluctuation-sgd-coupling",
            FLUCTUATIONS_PY,
            "self.diffusive * 2 * self.gain * gamma",
            "self.diffusive * 2.1 * gamma",
            FLUCTUATIONS,
        ),
        ("fluctuation-sampled", FLUCTUATIONS_PY, "(excess - drift**2)", "(excess - 1.05 * drift**2)", FLUCTUATIONS),
        # exact drifts by Laplace transform
        (
            "laplace-root-two-pi",
            LAPLACE_PY,
            "ratio) / np.sqrt(2 * np.pi * R)",
            "ratio) / np.sqrt(2.1 * np.pi * R)",
            DRIFTS,
        ),
        (
            "laplace-slope",
            LAPLACE_PY,
            "(1 + 2 * self.log_G(log_a, nu=1))",
            "(1 + 2.1 * self.log_G(log_a, nu=1))",
            DRIFTS,
        ),
        ("laplace-grow", LAPLACE_PY, "grow = 1 + 2 * np.exp(self.x)", "grow = 1 + 2.1 * np.exp(self.x)", DRIFTS),
        ("laplace-xi", LAPLACE_PY, "np.exp(LOG_XI_SQUARE) / 2)", "np.exp(LOG_XI_SQUARE) / 2.1)", DRIFTS),
        ("laplace-older", LAPLACE_PY, "a.past * a.decay * mean_older", "a.past * mean_older", DRIFTS),
        (
            "laplace-sign",
            LAPLACE_PY,
            "np.sqrt(2 / np.pi) * _integrate(b",
            "np.sqrt(2.1 / np.pi) * _integrate(b",
            DRIFTS,
        ),
        (
            "laplace-offset",
            LAPLACE_PY,
            "thin * step) / np.sqrt(2 * np.pi * R)",
            "thin * step) / np.sqrt(2.1 * np.pi * R)",
            EPS,
        ),
        ("laplace-offset-scale", LAPLACE_PY, "/ np.sqrt(2 * R) * root", "/ np.sqrt(2.1 * R) * root", EPS),
        # weights of the past in the limits
        (
            "weights-adam",
            ADAPTIVE_PY,
            "rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)",
            "rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1.05 * (1 - b2), b2), 2)",
            ADAM,
        ),
        (
            "weights-adam-first",
            ADAPTIVE_PY,
            "rule = RatioRule(Weights(0.0, 1 - b1, b1),",
            "rule = RatioRule(Weights(0.0, 1.05 * (1 - b1), b1),",
            ADAM,
        ),
        (
            "weights-nadam",
            ADAPTIVE_PY,
            "Weights(1 - b1, b1 * (1 - b1), b1)",
            "Weights(1 - b1, 1.05 * b1 * (1 - b1), b1)",
            DRIFTS,
        ),
        (
            "weights-rmsprop",
            ADAPTIVE_PY,
            "RatioRule(Weights(1.0, 0.0, 0.0), Weights(0.0, 1 - b2, b2)",
            "RatioRule(Weights(1.0, 0.0, 0.0), Weights(0.0, 1.05 * (1 - b2), b2)",
            RMSPROP,
        ),
        (
            "weights-s3",
            ADAPTIVE_PY,
            "nesterov = Weights(1 - beta, beta * (1 - beta), beta)",
            "nesterov = Weights(1 - beta, 1 - beta, beta)",
            S3_KERNEL,
        ),
        (
            "weights-signum",
            SIGN_RULES_PY,
            "SignedRule(Weights(0.0, 1.0, beta))",
            "SignedRule(Weights(0.05, 1.0, beta))",
            SIGNUM_KERNEL,
        ),
        ("weights-lion", SIGN_RULES_PY, "older = b1 * (1 - b2) / b2", "older = 1.05 * b1 * (1 - b2) / b2", LION_KERNEL),
        (
            "weights-s-adam",
            "sdelimit/optimizers/s_adam.py",
            "Weights(0.0, 1 - b2, b2)",
            "Weights(0.0, 1.1 * (1 - b2), b2)",
            S_ADAM,
        ),
        # noise kernels of rules with memory
        (
            "kernel-signed-lags",
            SIGNED_PY,
            "np.arcsin(RHO) + 2 * arcsines",
            "np.arcsin(RHO) + 2.1 * arcsines",
            SIGNUM_KERNEL,
        ),
        (
            "kernel-signed-variance",
            SIGNED_PY,
            "(b.squares, l**2)",
            "(Weights(b.now**2, b.past**2, b.decay**2), l**2)",
            LION_KERNEL,
        ),
        ("kernel-signed-now", SIGNED_PY, "A - b.first * b.now * l**2", "A - b.first * b.first * l**2", LION_KERNEL),
        (
            "kernel-signed-tail",
            SIGNED_PY,
            "decay ** (last + 1) / (1 - decay)",
            "decay ** (last // 2) / (1 - decay)",
            LAGS,
        ),
        (
            "kernel-ratio-power",
            RATIO_PY,
            "** _power(rule.p)) ** (1 / rule.p)",
            "** _power(rule.p)) ** (1.05 / rule.p)",
            S3_KERNEL,
        ),
        (
            "kernel-ratio-correlation",
            RATIO_PY,
            "jnp.sqrt(1 - rho**2) * draws.other",
            "jnp.sqrt(1.1 - rho**2) * draws.other",
            S3_KERNEL,
        ),
        (
            "kernel-effect-correlation",
            EFFECTS_PY,
            "jnp.asarray(np.sqrt(1 - CORRELATIONS**2), jnp.float32)",
            "jnp.asarray(np.sqrt(1.1 - CORRELATIONS**2), jnp.float32)",
            GRADIENT_EFFECTS,
        ),
        (
            "kernel-effect-older",
            EFFECTS_PY,
            "(a[0] * root + a[1] * total)",
            "(a[0] * root + 1.05 * a[1] * total)",
            GRADIENT_EFFECTS,
        ),
        ("kernel-effect-lap", EFFECTS_PY, "before / (1 - w[2] ** steps)", "before / 1.2", GRADIENT_EFFECTS),
        ("kernel-control-sign", EFFECTS_PY, "i + j == 0, 2 / np.pi", "i + j == 0, 2.1 / np.pi", CONTROLS),
        ("kernel-control-mixed", EFFECTS_PY, "i == 0, np.sqrt(2 / np.pi)", "i == 0, np.sqrt(2.1 / np.pi)", CONTROLS),
        ("kernel-ratio-memoryless", RATIO_PY, "size**2 * 2 / np.pi", "size**2 * 2.1 / np.pi", MEMORYLESS),
        # scale-dependent rules, shared weights, long memory
        ("clip-inside", CLIP_PY, "erf(low / jnp.sqrt(2.0))) / 2", "erf(low / jnp.sqrt(2.0))) / 2.1", NORM),
        ("clip-second-moment", CLIP_PY, "2 * m * root * (_pdf(low)", "2.2 * m * root * (_pdf(low)", NORM),
        (
            "clip-outside",
            CLIP_PY,
            "second + C**2 * outside",
            "second + 1.1 * C**2 * outside",
            NORM,
        ),
        ("clip-batch-drift", CLIP_PY, "a * mean / b * gammaincc", "1.1 * a * mean / b * gammaincc", CHI),
        ("clip-batch-noise", CLIP_PY, "a2 = (b * C) ** 2", "a2 = (1.05 * b * C) ** 2", CHI),
        ("clip-batch-sampled", CLIP_PY, "- clipped(flipped, minus)) / 2", "- clipped(flipped, minus)) / 2.1", NORM),
        ("clip-clock", SCHEDULED_PY, "jnp.full(1, CLOCK), jnp.full", "jnp.full(1, 1.1 * CLOCK), jnp.full", SCHEDULED),
        ("clip-fluctuations", SCHEDULED_PY, "relative * psi / (2 * R)", "-relative * psi / (2 * R)", CLIP_SPREAD),
        (
            "optimal-weight",
            OPTIMAL_PY,
            "self.trace / (2 * self.problem.d)",
            "self.trace / (2.2 * self.problem.d)",
            BEST_C,
        ),
        ("optimal-rate", OPTIMAL_PY, "self.trace * G * mu / nu", "self.trace * 1.05 * G * mu / nu", BEST_RATE),
        ("optimal-ratio", OPTIMAL_PY, "-(mu**2) / jnp.maximum", "-(mu**2.2) / jnp.maximum", BEST_RATE),
        ("clip-coordinate-drift", CLIP_COORDINATE_PY, "np.sqrt(2 / np.pi) * r", "np.sqrt(2.1 / np.pi) * r", COORDINATE),
        ("clip-coordinate-variance", CLIP_COORDINATE_PY, "inside - 2 * r * pdf", "inside - 2.1 * r * pdf", COORDINATE),
        (
            "clip-coordinate-hermite",
            CLIP_COORDINATE_PY,
            "-2 * a * pdf * current",
            "-2.1 * a * pdf * current",
            COORDINATE,
        ),
        (
            "clip-coordinate-scale",
            CLIP_COORDINATE_PY,
            "kernels = [self.threshold**2 *",
            "kernels = [1.05 * self.threshold**2 *",
            COORDINATE,
        ),
        (
            "brake-curvature",
            "sdelimit/limits/sampled/s_adam.py",
            "rule.tau**2 * n**2 / 2",
            "rule.tau**2 * n**2 / 2.1",
            S_ADAM,
        ),
        ("brake-slope", "sdelimit/limits/sampled/s_adam.py", "rule.tau * l * n +", "1.05 * rule.tau * l * n +", S_ADAM),
        (
            "brake-strength",
            "sdelimit/limits/sampled/s_adam.py",
            "jnp.exp(-rule.brake *",
            "jnp.exp(-1.05 * rule.brake *",
            S_ADAM,
        ),
        (
            "brake-share",
            "sdelimit/limits/sampled/s_adam.py",
            "w_left * slope_left) / 2",
            "w_left * slope_left) / 2.1",
            S_ADAM,
        ),
        (
            "brake-variance",
            "sdelimit/limits/sampled/s_adam.py",
            "- jnp.mean(D, axis=0) ** 2",
            "- 0.5 * jnp.mean(D, axis=0) ** 2",
            S_ADAM,
        ),
        (
            "long-memory-variance",
            LONG_PY,
            "return (2 * R + self.noise_variance) / self.batch_size",
            "return (2.1 * R + self.noise_variance) / self.batch_size",
            SLOW_MEMORY,
        ),
        (
            "long-memory-start",
            LONG_PY,
            "jnp.where(started, V / jnp.where(started, W, 1.0)",
            "jnp.where(started, V / jnp.where(started, W**1.05, 1.0)",
            SLOW_MEMORY,
        ),
        (
            "long-memory-drift",
            LONG_PY,
            "return 1 / jnp.sqrt(self.second_moment",
            "return 1.05 / jnp.sqrt(self.second_moment",
            SLOW_MEMORY,
        ),
        (
            "long-memory-c2",
            "sdelimit/optimizers/adaptive.py",
            "(problem.d * (1 - b2), problem.noise, batch_size)\n\n    return Optimizer(",
            "(1.05 * problem.d * (1 - b2), problem.noise, batch_size)\n\n    return Optimizer(",
            SLOW_MEMORY,
        ),
        (
            "long-memory-c2-of-adam",
            ADAPTIVE_PY,
            "            short = long_memory_adam_limit(problem.d * (1 - b2)",
            "            short = long_memory_adam_limit(1.05 * problem.d * (1 - b2)",
            SLOW_MEMORY,
        ),
        ("quasi-stationary-drift", LONG_PY, "self.batch_size / (2 * R", "self.batch_size / (2.2 * R", SLOW_MEMORY),
        (
            "adam-eps-size",
            "sdelimit/limits/sampled/adam_eps.py",
            "shape.drift(R, self.eps / sigma) / sigma",
            "shape.drift(R, 1.05 * self.eps / sigma) / sigma",
            EPS,
        ),
        (
            "adam-eps-kernel",
            "sdelimit/limits/sampled/adam_eps.py",
            "self.eps / (unit * sigma))",
            "1.1 * self.eps / (unit * sigma))",
            EPS,
        ),
        (
            "adam-eps-products",
            "sdelimit/limits/sampled/adam_eps.py",
            "1 / ((1 - t) * root + t)",
            "1 / ((1.1 - t) * root + t)",
            EPS,
        ),
        (
            "probe-window",
            "sdelimit/limits/measured/long_run_covariance.py",
            "(4 * middle.shape[-1])",
            "(4.2 * middle.shape[-1])",
            PROBE,
        ),
        (
            "probe-mean-abs",
            "sdelimit/limits/measured/long_run_covariance.py",
            "_MEAN_ABS = np.sqrt(2 / np.pi)",
            "_MEAN_ABS = np.sqrt(2.1 / np.pi)",
            PROBE,
        ),
        # modes: powers of D
        (
            "modes-forcing-power",
            DENSE_PY,
            "outer = covariance.std ** (1 - power / 2)",
            "outer = covariance.std ** (1 - power)",
            MODES,
        ),
        (
            "modes-decay-power",
            DENSE_PY,
            "root = covariance.std ** (power / 2)",
            "root = covariance.std ** (0.45 * power)",
            MODES,
        ),
        (
            "modes-start-power",
            STRUCTURED_PY,
            "Q.T @ (covariance.std ** (power / 2)",
            "Q.T @ (covariance.std ** (0.55 * power)",
            MODES,
        ),
        (
            "modes-diagonal-decay",
            STRUCTURED_PY,
            "decay = covariance.std ** (2 - power)",
            "decay = covariance.std ** (2 - 1.05 * power)",
            DIAGONAL,
        ),
        (
            "modes-diagonal-start",
            STRUCTURED_PY,
            "ModeArrays(decay, covariance.std ** (power / 2)",
            "ModeArrays(decay, covariance.std ** (0.55 * power)",
            DIAGONAL,
        ),
        (
            "modes-diagonal-forcing",
            STRUCTURED_PY,
            "np.stack([decay] * len(basis))",
            "1.05 * np.stack([decay] * len(basis))",
            DIAGONAL,
        ),
        (
            "modes-scaled-decay",
            STRUCTURED_PY,
            "decay * s[0] ** (2 - power)",
            "decay * s[0] ** (2.1 - power)",
            SCALED,
        ),
        (
            "modes-scaled-forcing",
            STRUCTURED_PY,
            "forcing * s[0] ** (2 - power))",
            "forcing * s[0] ** (2 - 1.1 * power))",
            SCALED,
        ),
        ("modes-ar1", "sdelimit/modes/ar1.py", "/ eigenvectors.square - 1\n", "/ eigenvectors.square - 1.05\n", AR1),
        (
            "modes-spiked",
            "sdelimit/modes/spiked.py",
            "(1 - slope(name)) * energy",
            "(1.05 - slope(name)) * energy",
            SPIKED,
        ),
        # equations
        ("ode-decay", "sdelimit/ode/modes.py", "moved = sum(", "moved = 1.05 * sum(", MODES),
        (
            "ode-forcing",
            "sdelimit/ode/modes.py",
            "current.forcing / d, current.rates",
            "current.forcing / (d + 3), current.rates",
            MODES,
        ),
        (
            "ode-forcing-eta",
            "sdelimit/limits/law.py",
            "return eta**2 * self.noise_coefficients",
            "return eta**1.9 * self.noise_coefficients",
            MODES,
        ),
        (
            "ode-risk-half",
            "sdelimit/ode/modes.py",
            "return jnp.sum(self.decay * self.energies(y) / self.weight, axis=-1) / 2",
            "return jnp.sum(self.decay * self.energies(y) / self.weight, axis=-1) / 2.1",
            MODES,
        ),
        ("ode-memory-decay", "sdelimit/ode/modes.py", "moved = sum(", "moved = 1.05 * sum(", SLOW_MEMORY),
        (
            "ode-memory-forcing",
            "sdelimit/ode/modes.py",
            "return moved + system.weight",
            "return moved + 1.05 * system.weight",
            SLOW_MEMORY,
        ),
        (
            "ode-memory-rate",
            "sdelimit/ode/modes.py",
            "rate * (target - scalars))",
            "1.05 * rate * (target - scalars))",
            SLOW_MEMORY,
        ),
        (
            "ode-diagonal-decay",
            "sdelimit/ode/modes.py",
            "moved = sum(",
            "moved = 1.05 * sum(",
            COORDINATES,
        ),
        (
            "ode-diagonal-forcing",
            "sdelimit/ode/modes.py",
            "return moved + system.weight",
            "return moved + 1.05 * system.weight",
            COORDINATES,
        ),
        (
            "ode-matrix-decay",
            "sdelimit/ode/matrix.py",
            "strength = eta * self.decay * (",
            "strength = 1.05 * eta * self.decay * (",
            COORDINATES,
        ),
        (
            "ode-matrix-forcing",
            "sdelimit/ode/matrix.py",
            "eta**2 / Z.shape[0] * noise - decay - decay.T\n",
            "eta**2 / (Z.shape[0] + 1) * noise - decay - decay.T\n",
            COORDINATES,
        ),
        (
            "ode-matrix-risk-half",
            "sdelimit/ode/matrix.py",
            "jnp.asarray(self.matrices.khat) * self.split(y)[0]) / 2",
            "jnp.asarray(self.matrices.khat) * self.split(y)[0]) / 2.1",
            COORDINATES,
        ),
        (
            "sde-decay",
            "sdelimit/sde/modes.py",
            "w = jnp.exp(-exponent) * w +",
            "w = jnp.exp(-1.05 * exponent) * w +",
            SDE,
        ),
        ("sde-noise", "sdelimit/sde/modes.py", "increment = eta * jnp.sqrt", "increment = 1.05 * eta * jnp.sqrt", SDE),
        (
            "sde-along",
            "sdelimit/sde/modes.py",
            "jnp.maximum(1 + gamma * square, 0.0)) * along",
            "jnp.maximum(1 - gamma * square, 0.0)) * along",
            SPREAD_OF_RUNS,
        ),
        ("spread-others", SPREAD_PY, "np.var(along + B)", "np.var(along + 0.5 * B)", SPREAD_WITH_MEMORY),
        ("spread-own", SPREAD_PY, "- np.mean(D**2", "- 1.1 * np.mean(D**2", SPREAD_WITH_MEMORY),
        (
            "spread-coupling",
            "sdelimit/ode/spread.py",
            "at[:k, k].set(-coupling",
            "at[:k, k].set(coupling",
            MOMENTUM_BANDS,
        ),
        (
            "sde-coordinate-decay",
            "sdelimit/sde/modes.py",
            "w = jnp.exp(-exponent) * w +",
            "w = jnp.exp(-1.05 * exponent) * w +",
            COORDINATE_STEPS,
        ),
        (
            "sde-coordinate-noise",
            "sdelimit/sde/modes.py",
            "increment = eta * jnp.sqrt",
            "increment = 1.05 * eta * jnp.sqrt",
            COORDINATE_STEPS,
        ),
        (
            "sde-matrix-noise",
            "sdelimit/sde/matrix.py",
            "eta * jnp.sqrt(dt / d) * increment",
            "1.05 * eta * jnp.sqrt(dt / d) * increment",
            COORDINATE_STEPS,
        ),
        (
            "sde-matrix-decay",
            "sdelimit/sde/matrix.py",
            "a = eta * dt / 2 * strength(R)",
            "a = 1.05 * eta * dt / 2 * strength(R)",
            COORDINATE_STEPS,
        ),
        (
            "sde-memory-decay",
            "sdelimit/sde/modes.py",
            "w = jnp.exp(-exponent) * w +",
            "w = jnp.exp(-1.05 * exponent) * w +",
            SLOW_MEMORY_STEPS,
        ),
        (
            "sde-memory-noise",
            "sdelimit/sde/modes.py",
            "increment = eta * jnp.sqrt",
            "increment = 1.05 * eta * jnp.sqrt",
            SLOW_MEMORY_STEPS,
        ),
        # the rules themselves, and the experiment
        ("rule-signum", SIGN_RULES_PY, "optax.trace(beta)", "optax.trace(0.95 * beta)", RULES),
        (
            "rule-lion",
            SIGN_RULES_PY,
            "optax.scale_by_lion(b1=b1, b2=b2)",
            "optax.scale_by_lion(b1=0.95 * b1, b2=b2)",
            RULES,
        ),
        (
            "rule-adam",
            ADAPTIVE_PY,
            "make(b1=b1, b2=b2, eps=eps or TINY)",
            "make(b1=b1, b2=0.95 * b2, eps=eps or TINY)",
            RULES,
        ),
        ("rule-adam-eps", ADAPTIVE_PY, "b2=b2, eps=eps or TINY)", "b2=b2, eps=1.05 * eps or TINY)", RULES),
        ("rule-nadam", ADAPTIVE_PY, "nesterov=True", "nesterov=False", RULES),
        ("rule-rmsprop", ADAPTIVE_PY, "bias_correction=True", "bias_correction=False", RULES),
        ("rule-s3", ADAPTIVE_PY, "beta * m + (1 - beta) * g", "beta * m + 1.05 * (1 - beta) * g", S3),
        ("rule-clip-norm", "sdelimit/optimizers/clip.py", "C * np.sqrt(problem", "1.05 * C * np.sqrt(problem", RULES),
        ("rule-clip-coordinate", "sdelimit/optimizers/clip.py", "optax.clip(c)", "optax.clip(1.05 * c)", RULES),
        (
            "rule-long-memory",
            "sdelimit/optimizers/adaptive.py",
            "scale_by_adam(b1=b1, b2=b2, eps=0.0",
            "scale_by_adam(b1=b1, b2=b2**1.05, eps=0.0",
            RULES,
        ),
        (
            "rule-s-adam-probe",
            "sdelimit/optimizers/s_adam.py",
            "params + probe_scale * directions",
            "params + 1.05 * probe_scale * directions",
            S_ADAM,
        ),
        ("rule-s-adam-brake", "sdelimit/optimizers/s_adam.py", "jnp.exp(-brake *", "jnp.exp(-1.05 * brake *", S_ADAM),
        (
            "rule-s-adam-correction",
            "sdelimit/optimizers/s_adam.py",
            "jnp.sqrt(1 - b2**state.count)",
            "jnp.sqrt(1 - b1**state.count)",
            S_ADAM,
        ),
        ("simulate-rate", "sdelimit/simulation/run_plan.py", ".T / self.problem.d", ".T / (self.problem.d + 1)", LOOP),
        (
            "simulate-batch-mean",
            "sdelimit/simulation/scan.py",
            "swapaxes(x, 1, 2)) / x.shape[1]",
            "swapaxes(x, 1, 2))",
            LOOP,
        ),
        (
            "simulate-risk-half",
            "sdelimit/problem/regression.py",
            "dot(delta, covariance.apply(delta)) / 2",
            "dot(delta, covariance.apply(delta)) / 2.1",
            LOOP,
        ),
        ("simulate-loss-half", "sdelimit/problem/losses.py", "(v - label) ** 2 / 2", "(v - label) ** 2 / 2.1", LOSS),
        # what is made of the curves
        (
            "stationary-quarter",
            BALANCE_PY,
            "return 4 * self.d * (R - pulled / 2) / total",
            "return 4.2 * self.d * (R - pulled / 2) / total",
            STATIONARY,
        ),
        (
            "stationary-memory-quarter",
            BALANCE_PY,
            "return 4 * self.d * (R - pulled / 2) / total",
            "return 4.2 * self.d * (R - pulled / 2) / total",
            SLOW_MEMORY_BALANCE,
        ),
        (
            "stationary-coordinate-quarter",
            BALANCE_PY,
            "return 4 * self.d * (R - pulled / 2) / total",
            "return 4.2 * self.d * (R - pulled / 2) / total",
            COORDINATE_BALANCE,
        ),
        (
            "rate-coupling",
            BALANCE_PY,
            "return 2 * rate, self.decay / 2 *",
            "return 2 * rate, self.decay / 2.1 *",
            RATES,
        ),
        (
            "rate-decay",
            BALANCE_PY,
            "return 2 * rate, self",
            "return 2.1 * rate, self",
            RATES,
        ),
        (
            "rate-coordinate-coupling",
            BALANCE_PY,
            "return 2 * rate, self.decay / 2 *",
            "return 2 * rate, self.decay / 2.1 *",
            COORDINATE_BALANCE,
        ),
        (
            "rate-coordinate-decay",
            BALANCE_PY,
            "return 2 * rate, self",
            "return 2.1 * rate, self",
            COORDINATE_BALANCE,
        ),
        (
            "rate-matrix-decay",
            BALANCE_PY,
            "return 2 * eta * values, values",
            "return 2.1 * eta * values, values",
            COORDINATE_BALANCE,
        ),
        (
            "effects-sgd-noise",
            FACTORS_PY,
            "return (2 * R + self.noise_variance)",
            "return (2.1 * R + self.noise_variance)",
            EFFECTS,
        ),
        (
            "effects-chi",
            FACTORS_PY,
            "(self.rate(drift) ** 2 * self.trace)",
            "(self.rate(drift) ** 1.9 * self.trace)",
            EFFECTS,
        ),
        (
            "effects-ratio",
            FACTORS_PY,
            "return sharpness / (self.trace_of_square / self.trace)",
            "return 1.05 * sharpness / (self.trace_of_square / self.trace)",
            EFFECTS,
        ),
        (
            "matched-mean-decay",
            "sdelimit/analysis/matched_schedule.py",
            "problem.covariance.std ** (2 - (limit",
            "problem.covariance.std ** (2 - 0.9 * (limit",
            MATCHED,
        ),
        (
            "sharpness-trace",
            "sdelimit/analysis/directional_sharpness.py",
            "** (2 - 2 * power)",
            "** (2 - 1.9 * power)",
            SHARPNESS,
        ),
        (
            "data-sign-density",
            "sdelimit/data/row_moments.py",
            "s * np.sqrt(2 * np.pi))",
            "s * np.sqrt(2.1 * np.pi))",
            DATA,
        ),
        (
            "data-sign-drift",
            "sdelimit/data/row_moments.py",
            "erf(mu / (s * np.sqrt(2)))",
            "erf(mu / (s * np.sqrt(2.1)))",
            DATA,
        ),
        (
            "data-noise-covariance",
            "sdelimit/data/row_stepper.py",
            "noise = eta**2 /",
            "noise = 1.05 * eta**2 /",
            ROWS,
        ),
        (
            "data-row-covariance",
            "sdelimit/data/row_stepper.py",
            "rows = eta / problem.n",
            "rows = 1.1 * eta / problem.n",
            ROWS,
        ),
        ("data-clip-mean", "sdelimit/data/row_moments.py", "c * (above - below)", "1.05 * c * (above - below)", DATA),
        (
            "data-clip-square",
            "sdelimit/data/row_moments.py",
            "c**2 * (below + above)",
            "1.1 * c**2 * (below + above)",
            DATA,
        ),
        ("decay-pull", DECAY_PY, "-step * self.rate * jnp.eye", "-1.05 * step * self.rate * jnp.eye", DECAYED),
        ("decay-coupled", DECAY_PY, "self.rate * entry[:k, None]", "1.05 * self.rate * entry[:k, None]", DECAY_COUPLED),
        ("decay-target", DECAY_PY, "at[:k, k:].set(pull)", "at[:k, k:].set(0.95 * pull)", DECAYED),
        (
            "decay-matrix",
            "sdelimit/ode/matrix.py",
            "pull * (Z + z[:, None]",
            "pull * (Z + 1.05 * z[:, None]",
            DECAY_MATRIX,
        ),
        (
            "decay-balance-mean",
            "sdelimit/analysis/equilibrium.py",
            "(G[:, 0, 1] / G[:, 0, 0]) ** 2",
            "1.05 * (G[:, 0, 1] / G[:, 0, 0]) ** 2",
            DECAY_STATIONARY,
        ),
        (
            "decay-paths",
            "sdelimit/sde/noise_increments.py",
            "jnp.expm1(-rate * clock)",
            "jnp.expm1(-1.2 * rate * clock)",
            DECAY_PATHS,
        ),
        (
            "decay-mean",
            "sdelimit/modes/alignment.py",
            "moved -= pull * of_covariance",
            "moved -= 1.05 * pull * of_covariance",
            DECAY_MEAN,
        ),
        ("memory-ratio-bend", RATIO_MEMORY_PY, "bend=3 * _bend", "bend=6 * _bend", SCALARS),
        ("memory-ratio-noise", RATIO_MEMORY_PY, "/ self.lower(later) ** 2", "* 1.1", STEPS_OF_ADAM),
        ("memory-ratio-risk", RATIO_MEMORY_PY, "RememberedRisk(-d *", "RememberedRisk(-1.2 * d *", SCALARS),
        (
            "memory-sign-signal",
            SIGN_MEMORY_PY,
            "2 * self.filter_rate), jnp",
            "1.5 * self.filter_rate), jnp",
            SCALARS,
        ),
        ("memory-sign-noise", SIGN_MEMORY_PY, "2 * d * np.log(b.decay)", "d * np.log(b.decay)", SCALARS),
        ("memory-filter", "sdelimit/limits/memory.py", "zero - c])", "zero - 1.05 * c])", STEPS_OF_SIGNUM),
        ("memory-history", HISTORY_PY, "shift = min(k - 1,", "shift = min(k,", HISTORIES),
        ("memory-gains", HISTORY_PY, "np.sqrt(2 / np.pi) / np.sqrt", "np.sqrt(2.1 / np.pi) / np.sqrt", HISTORIES),
        (
            "data-penalty",
            "sdelimit/data/data_logistic.py",
            "penalty = ridge * np.mean",
            "penalty = 1.05 * ridge * np.mean",
            CLASSES,
        ),
        ("data-labels", "sdelimit/data/data_logistic.py", "self.y > 0, ALWAYS", "self.y < 0, ALWAYS", CLASSES),
        ("overlap-drift", MEANS_PY, "c * s / sd * h1)", "1.05 * c * s / sd * h1)", OVERLAPS),
        ("overlap-tau", MEANS_PY, "np.exp(-(z**2) / 2) / (tau", "np.exp(-(z**2) / 2.1) / (tau", OVERLAPS),
        ("overlap-batch", MEANS_PY, "one.weight), b - 1)", "one.weight), b)", OVERLAP_BATCHES),
        ("overlap-cube", OVERLAP_PY, "cubes = decays**3", "cubes = decays**2.9", OVERLAPS),
        ("overlap-sign-kernel", OVERLAP_PY, "4 / np.pi**2 * integral", "4.3 / np.pi**2 * integral", OVERLAP_KERNELS),
        ("overlap-lags", OVERLAP_PY, "newer = 2 * (lags", "newer = 2.1 * (lags", OVERLAP_KERNELS),
        ("overlap-misfit", OVERLAP_LAW_PY, "[[[phi1, phi0], [", "[[[phi1, 1.05 * phi0], [", OVERLAP_CURVES),
        (
            "overlap-noise",
            OVERLAP_LAW_PY,
            "(eta * self.gain) ** 2 * psi[:",
            "(1.05 * eta * self.gain) ** 2 * psi[:",
            OVERLAP_CURVES,
        ),
        (
            "overlap-risk",
            "sdelimit/problem/single_index.py",
            "growth * half * weights",
            "1.05 * growth * half * weights",
            EXCESS,
        ),
        ("overlap-excess", "sdelimit/problem/single_index.py", "h0 * grid.c * sd / s", "h0 * grid.c * sd", EXCESS),
        (
            "overlap-soft",
            "sdelimit/problem/losses.py",
            "-jnp.expm1(-jnp.abs(v))",
            "-jnp.expm1(-1.05 * jnp.abs(v))",
            OVERLAPS,
        ),
        ("overlap-settled", "sdelimit/analysis/settled_overlaps.py", "/ (2 * phi1)", "/ (2.1 * phi1)", OVERLAP_SETTLED),
        (
            "overlap-clip",
            MEANS_PY,
            "np.minimum(1.0, threshold",
            "np.minimum(1.0, 1.05 * threshold",
            ("tests/limits/test_single_index_clip.py::test_coefficients_are_those_of_brute_force",),
        ),
        (
            "overlap-sampled",
            "sdelimit/limits/single_index/sampled.py",
            "law.across / safe, law.along / safe",
            "law.across / safe, 0.8 * law.along / safe",
            ("tests/limits/test_single_index_sampled.py::test_the_drift_of_s3_is_that_of_brute_force",),
        ),
        (
            "overlap-spread",
            MEANS_PY,
            "(along**2 - share)",
            "(along**2 - 0.9 * share)",
            ("tests/ode/test_single_index_spread.py::test_moments_of_scores_are_those_of_brute_force",),
        ),
        (
            "overlap-memory",
            "sdelimit/limits/single_index/momentum.py",
            "zero, -eta * g3, zero",
            "zero, -1.05 * eta * g3, zero",
            ("tests/limits/test_single_index_momentum.py::test_overlaps_are_those_of_their_six_equations",),
        ),
        ("features-noise", FEATURES_PY, "abs(factor[d, d])", "1.05 * abs(factor[d, d])", FEATURES),
        ("features-target", FEATURES_PY, "solve_triangular(T, projected)", "T @ projected", FEATURES),
        (
            "spectrum-place",
            SPECTRUM_PY,
            "(weight * h * x / (h - x)).real",
            "(0.9 * weight * h * x / (h - x)).real",
            SKETCHES,
        ),
        (
            "spectrum-noise",
            SPECTRUM_PY,
            "energy * kappa / (h + kappa)",
            "1.05 * energy * kappa / (h + kappa)",
            SKETCHES,
        ),
        (
            "spectrum-width",
            SPECTRUM_PY,
            "(total / d - 1) * total / slope",
            "(total / d - 1.1) * total / slope",
            SKETCHES,
        ),
        ("many-steps-half", MANY_STEPS_PY, "(2 * self.steps)) * y", "(1 * self.steps)) * y", MANY_STEPS),
        ("many-steps-noise", MANY_STEPS_PY, "np.expm1(mu / 2)", "np.expm1(mu / 3)", MANY_STEPS),
        ("many-steps-rate", MANY_STEPS_PY, "x * (2 - x - x / batch_size)  # 1", "x * (2 - 2 * x)  # 1", MANY_STEPS),
        ("scaling-crossing", FRONTIER_PY, "gap[k] / (gap[k] - gap[k + 1])", "0.0", FRONTIERS),
        ("scaling-error", FRONTIER_PY, "max(scatter, *(", "min(scatter, *(", FRONTIERS),
        (
            "irreducible",
            "sdelimit/problem/linear_regression.py",
            "self.noise.second_moment) / 2",
            "self.noise.second_moment)",
            FEATURES,
        ),
        ("data-adam", "sdelimit/data/row_rules.py", "M = 1 / np.sqrt(v)", "M = 1.05 / np.sqrt(v)", ROWS_ADAM),
        ("stored-numbers", STRUCTURE_PY, "np.array_equal(a, b, equal_nan=numbers)", "a.shape == b.shape", STORED),
        ("stored-nan", STRUCTURE_PY, "equal_nan=numbers", "equal_nan=False", STORED),
        ("stored-foreign", STRUCTURE_PY, "if not _may_be_named(found, name):", "if False:", STORED),
        ("stored-part", "sdelimit/results/curves.py", "value[chosen] for name", "value[:chosen.size] for name", STORED),
        ("stored-table", "sdelimit/results/stored.py", "key=lambda variable: -len(variable[0])", "key=len", STORED),
        (
            "recommend-risk",
            "sdelimit/analysis/recommend.py",
            "np.argmin(near.risk[:, -1])",
            "np.argmin(near.risk[:, 0])",
            RECOMMENDED,
        ),
        (
            "recommend-order",
            "sdelimit/analysis/recommend.py",
            "choice: choice.risk)",
            "choice: -choice.risk)",
            RECOMMENDED,
        ),
        ("rows-label", "sdelimit/experiments/rows.py", 'noise.partition(":")[2] or None', "None", SWEPT_ROWS),
        (
            "explore-noise",
            "sdelimit/experiments/explore.py",
            "SCALES[type(noise)](noise,",
            "SCALES[type(noise)](noise, 1.05 *",
            EXPLORED,
        ),
    ]
)
