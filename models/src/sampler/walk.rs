//! How much of the way is walked.

use crate::schedule::{Level, NoiseSchedule, ScheduleError, SigmaSchedule, Spacing, within};

/// How much of the way is walked: `steps` and the strength `denoise`.
///
/// `denoise` means what it means in ComfyUI: the way is laid out for `steps / denoise`
/// steps, rounded down, and its last `steps` are walked, so that a latent starts part-way
/// down and the number of network calls stays. At 1 the whole way is walked (longer than
/// `steps` where [`Spacing::CompVis`] says so); at 0 none of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// Steps to take, from 1.
    pub steps: usize,
    /// The strength, 0..=1.
    pub denoise: f64,
}

impl Walk {
    /// The whole way in `steps`.
    pub fn whole(steps: usize) -> Self {
        Self {
            steps,
            denoise: 1.0,
        }
    }

    /// The timesteps walked, noisiest first.
    pub fn timesteps(
        self,
        spacing: Spacing,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<usize>, ScheduleError> {
        let most = schedule.timesteps();
        let mut times = spacing.timesteps(self.laid_out(most)?, most)?;
        times.drain(..self.skipped(times.len()));
        Ok(times)
    }

    /// The noise levels walked, falling, and where they end.
    pub fn levels(
        self,
        way: &SigmaSchedule,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<Level>, ScheduleError> {
        let total = self.laid_out(way.most(schedule))?;
        let mut levels = way.levels(total, schedule)?;
        levels.drain(..self.skipped(levels.len() - 1));
        Ok(levels)
    }

    /// The same, laid out for one step more and the last level above 0 left out: what ComfyUI
    /// does for `dpm_2`, `dpm_2_ancestral` and `uni_pc`.
    pub(super) fn levels_but_one(
        self,
        way: &SigmaSchedule,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<Level>, ScheduleError> {
        let total = self.laid_out(way.most(schedule).saturating_sub(1))?;
        let mut levels = way.levels(total + 1, schedule)?;
        if levels.len() > 2 {
            levels.remove(levels.len() - 2);
        }
        levels.drain(..self.skipped(levels.len() - 1));
        Ok(levels)
    }

    /// Over how many steps the whole way is laid out.
    fn laid_out(self, most: usize) -> Result<usize, ScheduleError> {
        let Self { steps, denoise } = self;
        within("denoise", denoise, 0.0, 1.0)?;
        if self.is_whole() || denoise == 0.0 {
            return Ok(steps);
        }
        let total = (steps as f64 / denoise) as usize;
        if total > most && steps <= most {
            return Err(ScheduleError::Denoise {
                steps,
                denoise,
                total,
                most,
            });
        }
        Ok(total)
    }

    /// How many of `total` steps lie before the ones walked.
    fn skipped(self, total: usize) -> usize {
        match self.denoise {
            0.0 => total,
            _ if self.is_whole() => 0,
            _ => total.saturating_sub(self.steps),
        }
    }

    /// Whether the walk starts from nothing but noise. ComfyUI's own threshold.
    pub(super) fn is_whole(self) -> bool {
        self.denoise > 0.9999
    }
}
