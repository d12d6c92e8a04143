"""One training of a skorch net, as range searches and ensembles need it; no estimator lives here.

In the order of use: `_target` finds the net, `_inputs` and `_labels` check its data, `_dry_run`
sees what it makes of them, `_holdout` chooses validation rows, `_plan` counts steps, `_fit` trains
under `_seeding`, `_evaluation` judges on validation data; `_parallel` runs many trainings.
"""
