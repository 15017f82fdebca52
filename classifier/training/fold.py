"""Folding the fitted estimators into the tables that serving reads."""

import numpy as np
from sklearn.preprocessing import StandardScaler

from classifier.heads import Floats, Weights
from classifier.training.model import ComplexityModel

# What BLAS leaves in the last digits does not decide the artefact's bytes.
_DIGITS = 7


def fold_tables(model: ComplexityModel) -> dict[str, np.ndarray]:
    """The arrays of `GramTables`, in float32."""
    idf = model.grams.idf_
    both = np.stack([model.gain_words.coef_, model.tier.coef_[0][: len(idf)]], axis=1)
    gram_rows = np.column_stack([idf**2, (model.grams.scale * idf)[:, None] * both])
    return {
        "gram_keys": model.grams.keys_,
        "gram_rows": significant(gram_rows).astype(np.float32),
    }


def fold_weights(model: ComplexityModel, knots: tuple[Floats, Floats]) -> Weights:
    """Everything linear outside the tables, with the surface features' scalers folded in."""
    s, count = model.settings, len(model.scaler.mean_)
    need, need_bias = _unscaled(
        model.gain_scaler, model.gain_surface.coef_, float(model.gain_surface.intercept_)
    )
    kind, kind_bias = _unscaled(
        model.scaler, s.surface_scale * model.tier.coef_[0][-count:], model.tier.intercept_[0]
    )
    alone, alone_bias = _unscaled(
        model.scaler, model.tier_surface.coef_[0], model.tier_surface.intercept_[0]
    )
    return Weights(
        least=significant(model.least, 9),
        most=significant(model.most, 9),
        marks=significant(np.stack([need, kind], axis=1), 9),
        bias=significant(np.array([need_bias + model.gain_words.intercept_, kind_bias]), 9),
        marks_alone=significant(np.stack([need, alone], axis=1), 9),
        bias_alone=significant(np.array([need_bias, alone_bias]), 9),
        knots_x=knots[0],
        knots_y=knots[1],
    )


def _unscaled(scaler: StandardScaler, weights: Floats, bias: float) -> tuple[Floats, float]:
    raw = weights / scaler.scale_
    return raw, float(bias - scaler.mean_ @ raw)


def significant(values: Floats, digits: int = _DIGITS) -> Floats:
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** (digits - 1 - np.where(np.isfinite(exponent), exponent, 0.0))
    rounded: Floats = np.round(values * scale) / scale
    return rounded
