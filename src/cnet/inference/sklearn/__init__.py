"""Fitted estimators of scikit-learn: the built-in runtime `sklearn`."""
