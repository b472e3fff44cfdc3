"""The serving node: folds the control log into the versions to serve, and answers by every door."""
