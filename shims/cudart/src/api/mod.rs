//! Bodies, one module per noun of the API. None is written yet: every name is refused.
