//! Which instruction set our CPU kernels use: one for the whole process.
//!
//! Promises
//! - What was chosen, or found when the first kernel ran, holds until the process ends: a
//!   cache key that names it stays true.
//! - Asking is one relaxed load: kernels ask on every call.
//! - Of f32 numbers AVX2 and AVX-512 make the same bits.
//!
//! Not here: what burn's own operations use, which ask the CPU themselves; the environment.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What the user asked for. Only sets that were tried on a machine are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isa {
    /// The widest that the CPU has.
    #[default]
    Auto,
    /// AVX-512 with its products of bf16, for weights in bf16.
    Avx512Bf16,
    /// AVX-512.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// What every CPU of the target has.
    Portable,
}

/// Every choice and how it is written.
const NAMES: [(Isa, &str); 5] = [
    (Isa::Auto, "auto"),
    (Isa::Avx512Bf16, "avx512-bf16"),
    (Isa::Avx512, "avx512"),
    (Isa::Avx2, "avx2"),
    (Isa::Portable, "portable"),
];

/// Why an instruction set cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// The text names none that our kernels are written for.
    Unknown(String),
    /// The CPU does not have it.
    Missing(Isa),
    /// Kernels of this process already use another, named here.
    Taken(&'static str),
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(text: &str) -> Result<Self, IsaError> {
        let found = NAMES.into_iter().find(|(_, name)| *name == text);
        let (isa, _) = found.ok_or_else(|| IsaError::Unknown(text.to_owned()))?;
        Ok(isa)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.into_iter().find(|(isa, _)| isa == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                f,
                "the CPU kernels are not written for `{text}`; write `auto`, `avx512-bf16`, \
                 `avx512`, `avx2` or `portable`"
            ),
            Self::Missing(isa) => write!(
                f,
                "this CPU has no {}; use `--cpu-isa auto` or `--cpu-isa portable`",
                level_of(*isa).unwrap_or(Level::Portable).name()
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

/// What kernels choose their ways by; each has all that those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    Portable = 1,
    Avx2,
    Avx512,
    Bf16,
}

const LEVELS: [Level; 4] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Bf16];

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2+fma",
            Self::Avx512 => "avx512",
            Self::Bf16 => "avx512+bf16",
        }
    }
}

fn level_of(isa: Isa) -> Option<Level> {
    match isa {
        Isa::Auto => None,
        Isa::Avx512Bf16 => Some(Level::Bf16),
        Isa::Avx512 => Some(Level::Avx512),
        Isa::Avx2 => Some(Level::Avx2),
        Isa::Portable => Some(Level::Portable),
    }
}

/// No [`Level`] yet.
const UNDECIDED: u8 = 0;

static DECIDED: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Settles what this process uses; `Auto` takes what was settled before.
///
/// # Errors
/// When the CPU lacks it, or another one is in use.
pub(crate) fn choose(isa: Isa) -> Result<(), IsaError> {
    let Some(wanted) = level_of(isa) else {
        return Ok(());
    };
    if wanted > found() {
        return Err(IsaError::Missing(isa));
    }
    match settle(wanted) {
        settled if settled == wanted => Ok(()),
        settled => Err(IsaError::Taken(settled.name())),
    }
}

/// What is in force: only what the CPU has.
#[inline]
pub(crate) fn level() -> Level {
    match DECIDED.load(Relaxed) {
        UNDECIDED => settle(found()),
        settled => LEVELS[usize::from(settled) - 1],
    }
}

/// Whether the AVX2 and FMA versions may and shall be called.
#[inline]
pub(crate) fn has_fma() -> bool {
    level() >= Level::Avx2
}

/// Whether products with weights in bf16 are products of bf16.
#[inline]
pub(crate) fn multiplies_bf16() -> bool {
    level() == Level::Bf16
}

/// What our kernels use.
pub(crate) fn name() -> &'static str {
    level().name()
}

/// What the CPU has, which burn's operations use, and, where ours use another, that one: part of
/// `numerics`.
pub(crate) fn names() -> String {
    match level() == found() {
        true => found().name().to_owned(),
        false => format!("{} ours {}", found().name(), name()),
    }
}

/// What is in force once `wanted` was proposed: the first proposal.
fn settle(wanted: Level) -> Level {
    match DECIDED.compare_exchange(UNDECIDED, wanted as u8, Relaxed, Relaxed) {
        Ok(_) => wanted,
        Err(before) => LEVELS[usize::from(before) - 1],
    }
}

/// The widest set that both the CPU and our kernels have.
fn found() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::is_x86_feature_detected as has;
        // The first processors with AVX-512 had but the first of these, and none of them is here.
        let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        if has!("avx2") && has!("fma") && has!("f16c") {
            return match (wide, has!("avx512bf16")) {
                (true, true) => Level::Bf16,
                (true, false) => Level::Avx512,
                (false, _) => Level::Avx2,
            };
        }
    }
    Level::Portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_alike_and_others_are_told_what_to_write() {
        for (isa, name) in NAMES {
            assert_eq!((isa.to_string().as_str(), name.parse()), (name, Ok(isa)));
        }
        for text in ["", "AVX2", "amx", "sse"] {
            let error = text.parse::<Isa>().unwrap_err().to_string();
            assert!(
                error.contains(text) && NAMES.iter().all(|(_, name)| error.contains(name)),
                "{error}"
            );
        }
    }

    #[test]
    fn the_first_choice_holds() {
        let now = level();
        let other = match now {
            Level::Portable => Isa::Avx2,
            _ => Isa::Portable,
        };
        let error = choose(other).unwrap_err();
        assert!(matches!(error, IsaError::Taken(_) | IsaError::Missing(_)));
        assert_eq!(choose(Isa::Auto), Ok(()));
        assert_eq!(level(), now);
        assert!(!names().contains("ours"), "nothing was forced: {}", names());
    }
}
