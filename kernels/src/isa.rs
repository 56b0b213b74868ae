//! Which instruction set our CPU kernels use: one for the whole process.
//!
//! Promises
//! - What was chosen, or found when the first kernel ran, holds until the process ends: a
//!   cache key that names it stays true.
//! - Asking is one relaxed load: kernels ask on every call.
//!
//! Not here: what burn's own operations use, which ask the CPU themselves; the environment.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What the user asked for: `auto`, `avx2` or `portable`. Only sets that were tried on a
/// machine are here, so there is none for AVX-512.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isa {
    /// The widest that the CPU has.
    #[default]
    Auto,
    /// AVX2 with FMA.
    Avx2,
    /// What every CPU of the target has.
    Portable,
}

/// Why an instruction set cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// The text names none that our kernels are written for.
    Unknown(String),
    /// The CPU does not have it.
    Missing,
    /// Kernels of this process already use another, named here.
    Taken(&'static str),
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(text: &str) -> Result<Self, IsaError> {
        let all = [Self::Auto, Self::Avx2, Self::Portable];
        let found = all.into_iter().find(|isa| isa.to_string() == text);
        found.ok_or_else(|| IsaError::Unknown(text.to_owned()))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                f,
                "the CPU kernels are not written for `{text}`; write `auto`, `avx2` or `portable`"
            ),
            Self::Missing => f.write_str(
                "this CPU has no AVX2 with FMA; use `--cpu-isa auto` or `--cpu-isa portable`",
            ),
            Self::Taken(name) => write!(
                f,
                "the kernels of this process already use {name}; choose the instruction set \
                 before anything computes"
            ),
        }
    }
}

impl std::error::Error for IsaError {}

const UNDECIDED: u8 = 0;
const PORTABLE: u8 = 1;
const FMA: u8 = 2;

static DECIDED: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Settles what this process uses; `Auto` takes what was settled before.
///
/// # Errors
/// When the CPU lacks it, or another one is in use.
pub(crate) fn choose(isa: Isa) -> Result<(), IsaError> {
    let wanted = match isa {
        Isa::Auto => return Ok(()),
        Isa::Avx2 if found() != FMA => return Err(IsaError::Missing),
        Isa::Avx2 => FMA,
        Isa::Portable => PORTABLE,
    };
    match settle(wanted) {
        settled if settled == wanted => Ok(()),
        settled => Err(IsaError::Taken(name_of(settled))),
    }
}

/// Whether the AVX2 and FMA versions may and shall be called.
#[inline]
pub(crate) fn has_fma() -> bool {
    match DECIDED.load(Relaxed) {
        UNDECIDED => settle(found()) == FMA,
        settled => settled == FMA,
    }
}

/// What our kernels use.
pub(crate) fn name() -> &'static str {
    name_of(if has_fma() { FMA } else { PORTABLE })
}

/// What burn's operations use here, and, where it is not what ours would take by themselves,
/// what ours do: part of `numerics`.
pub(crate) fn names() -> String {
    let (burn, ours) = (burn_name(), if has_fma() { FMA } else { PORTABLE });
    match ours == found() {
        true => burn.to_owned(),
        false => format!("{burn} ours {}", name()),
    }
}

/// What is in force once `wanted` was proposed: the first proposal.
fn settle(wanted: u8) -> u8 {
    match DECIDED.compare_exchange(UNDECIDED, wanted, Relaxed, Relaxed) {
        Ok(_) => wanted,
        Err(before) => before,
    }
}

/// The widest set that both the CPU and our kernels have.
fn found() -> u8 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
    {
        return FMA;
    }
    PORTABLE
}

fn burn_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if found() == FMA && std::is_x86_feature_detected!("avx512f") {
        return "avx512";
    }
    name_of(found())
}

fn name_of(settled: u8) -> &'static str {
    match settled {
        FMA => "avx2+fma",
        _ => "portable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_alike_and_others_are_told_what_to_write() {
        for isa in [Isa::Auto, Isa::Avx2, Isa::Portable] {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        for text in ["", "AVX2", "avx512", "sse"] {
            let error = text.parse::<Isa>().unwrap_err().to_string();
            assert!(
                error.contains(text) && error.contains("`portable`"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_first_choice_holds() {
        let now = has_fma();
        let other = if now { Isa::Portable } else { Isa::Avx2 };
        let error = choose(other).unwrap_err();
        assert!(matches!(error, IsaError::Taken(_) | IsaError::Missing));
        assert_eq!(choose(Isa::Auto), Ok(()));
        assert_eq!(has_fma(), now);
        assert!(!names().contains("ours"), "nothing was forced: {}", names());
    }
}
