//! Start noise: the values of PyTorch's CPU `randn`, from a seed.
