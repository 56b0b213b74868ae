//! Training: losses, averages of weights, checkpoints, loops.
