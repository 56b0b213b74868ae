//! Networks, samplers, schedules, tokenizers, weight files, training and metrics.
