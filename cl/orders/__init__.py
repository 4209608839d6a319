"""Sample order without retraining: what a run would have come to had its batches come in another order.

stream      the model's side: parameters as a vector, a batch's gradient as a function of them
recursion   the optimizer along any order, recomputed exactly
grid        reference runs, and how every batch's gradient changes between their points
oracles     a gradient anywhere else from the grid; `live` ones ask the model, `published` is arXiv 2505.22042 as read
estimator   from an order to its losses; `readouts` say how, `fidelity` whether to believe it, `validation` proves it
answers     what is asked of it: estimates, a search, positions, orders of tasks
tracing, asking    the nodes
"""
