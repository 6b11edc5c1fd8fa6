"""A served scikit-learn model beside MLServer, BentoML, LitServe and Ray Serve."""
