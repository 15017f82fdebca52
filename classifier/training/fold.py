"""Folding the fitted estimators into the tables that serving reads."""

import numpy as np
from sklearn.linear_model import Ridge

from classifier.features.surface import LOG_BYTES
from classifier.heads import Floats, Weights
from classifier.training.model import ComplexityModel

# What BLAS leaves in the last digits does not decide the artefact's bytes.
_DIGITS = 7


def fold_tables(model: ComplexityModel) -> dict[str, np.ndarray]:
    """The arrays that `WordTable` takes, in float32."""
    dimensions = model.student.vectors_.shape[1]
    heads = head_weights(model)
    idf = model.grams.idf_[:, None]
    gram_rows = np.hstack([idf**2, model.grams.scale * idf * heads[dimensions:]])
    mass = model.student.mass_[:, None]
    piece_rows = np.hstack([mass, mass * (model.student.vectors_ @ heads[:dimensions])])
    return {
        "gram_keys": model.grams.keys_,
        "gram_rows": significant(gram_rows).astype(np.float32),
        "piece_rows": significant(piece_rows).astype(np.float32),
    }


def head_weights(model: ComplexityModel) -> Floats:
    """Weights of the design in `need` and `kind`, shape (columns, 2)."""
    need = model.gain.coef_ + model.settings.fail * model.fail.coef_
    return np.stack([need, model.tier.coef_[0][: len(need)]], axis=1)


def fold_weights(model: ComplexityModel, knots: tuple[Floats, Floats]) -> Weights:
    """Everything linear outside the tables, with the surface features' scaler folded in."""
    s, count = model.settings, len(model.scaler.mean_)
    both = s.surface * model.gain_surface.coef_ + s.length * (np.arange(count) == LOG_BYTES)
    both_bias = s.surface * model.gain_surface.intercept_
    alone = model.gain_surface.coef_ + s.fail * model.fail_surface.coef_ + both
    alone_bias = _intercept(model.gain_surface, model.fail_surface, s.fail) + both_bias
    kind_surface = s.surface_scale * model.tier.coef_[0][-count:]
    full = np.stack([both, kind_surface], axis=1)
    surface_alone = np.stack([alone, model.tier_surface.coef_[0]], axis=1)
    bias = [_intercept(model.gain, model.fail, s.fail) + both_bias, model.tier.intercept_[0]]
    bias_alone = [alone_bias, model.tier_surface.intercept_[0]]
    unscaled, shifted = _unscaled(model, full, bias)
    unscaled_alone, shifted_alone = _unscaled(model, surface_alone, bias_alone)
    return Weights(
        marks=unscaled,
        bias=shifted,
        marks_alone=unscaled_alone,
        bias_alone=shifted_alone,
        knots_x=knots[0],
        knots_y=knots[1],
    )


def _intercept(gain: Ridge, fail: Ridge, share: float) -> float:
    return float(gain.intercept_ + share * fail.intercept_)


def _unscaled(model: ComplexityModel, weights: Floats, bias: list[float]) -> tuple[Floats, Floats]:
    raw = weights / model.scaler.scale_[:, None]
    shifted = np.array(bias) - model.scaler.mean_ @ raw
    return significant(raw, 9), significant(shifted, 9)


def significant(values: Floats, digits: int = _DIGITS) -> Floats:
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** (digits - 1 - np.where(np.isfinite(exponent), exponent, 0.0))
    rounded: Floats = np.round(values * scale) / scale
    return rounded
