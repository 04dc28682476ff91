//! How many calls of a pool may be in flight, by how fast the service answers.
//!
//! A service that gets slower the more it is asked does not get more done, so calls should not pile up in it. Latency as
//! such says little (a long answer takes long); what is compared is the time per token of the answer, its recent average
//! with the best average so far, as in Netflix's gradient limiter. Throttles are the business of the rate, not of this.

/// The window; grows while it is full and answers come as fast as ever.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: f64,
    max: f64,
    is_slow_start: bool,
    /// Milliseconds per token: recent average, and the best that it was.
    recent: Option<f64>,
    best: f64,
    samples: u32,
    shrunk_at_ms: u64,
}

const START: f64 = 64.0;
const MIN: f64 = 4.0;
/// Added to the tokens of an answer: the time before its first token is worth about as many.
const FIRST_TOKEN: u64 = 50;
/// Half as fast as the best is slow; anything better than this is not.
const SLOW: f64 = 2.0;
const FINE: f64 = 1.5;
const SHRINK_TO: f64 = 0.8;
const WARM_SAMPLES: u32 = 16;
/// A service that got slower for good is accepted after some time: the best is forgotten by a thousandth a sample.
const FORGET: f64 = 1.001;

impl Window {
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Window {
            size: START.min(max),
            max,
            is_slow_start: true,
            recent: None,
            best: f64::INFINITY,
            samples: 0,
            shrunk_at_ms: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// An answer came; `was_full` if the window was, when it came.
    pub(super) fn answered(&mut self, now_ms: u64, latency_ms: u64, output_tokens: u64, was_full: bool) {
        let pace = latency_ms as f64 / (output_tokens + FIRST_TOKEN) as f64;
        // One absurd sample (a suspended machine) must not count for many.
        let pace = self.recent.map_or(pace, |recent| pace.min(4.0 * recent + 1.0));
        let weight = 1.0 / f64::from(self.samples.min(31) + 1);
        let recent = self.recent.map_or(pace, |recent| recent + (pace - recent) * weight);
        self.recent = Some(recent);
        self.samples = self.samples.saturating_add(1);
        if self.samples < WARM_SAMPLES {
            return;
        }
        self.best = (self.best * FORGET).min(recent);
        // Once in the time an answer takes: the effect of a step shows only then.
        if recent > SLOW * self.best && now_ms >= self.shrunk_at_ms + latency_ms {
            self.size = (self.size * SHRINK_TO).max(MIN.min(self.max));
            self.is_slow_start = false;
            self.shrunk_at_ms = now_ms;
        } else if was_full && recent < FINE * self.best {
            let step = if self.is_slow_start { 1.0 } else { 1.0 / self.size };
            self.size = (self.size + step).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_full_and_fast_and_shrinks_when_answers_slow_down() {
        let mut window = Window::new(1_000);
        for at in 0..200 {
            window.answered(at * 10, 1_000, 100, true);
        }
        let wide = window.size();
        assert!(wide > 200, "{wide}");
        for at in 0..200 {
            window.answered(10_000 + at * 10, 1_000, 100, false);
        }
        assert_eq!(window.size(), wide, "unused, it stays");
        for at in 0..300 {
            window.answered(20_000 + at * 100, 4_000, 100, true);
        }
        assert!(window.size() < wide / 2, "{}", window.size());
        assert_eq!(Window::new(2).size(), 2);
    }

    #[test]
    fn long_answers_are_not_slow_ones() {
        let mut window = Window::new(100);
        for at in 0..500u64 {
            let tokens = 100 + at % 7 * 500;
            window.answered(at * 50, 1_000 + tokens * 20, tokens, true);
        }
        assert_eq!(window.size(), 100);
    }
}
