//! Money as an integer number of picodollars (10^-12 USD).
//!
//! Prices on Bedrock go down to 8.75 nanodollars a token (a cache read of Nova Micro), and half of that in
//! batch: nanodollars would round. A `u64` of picodollars holds 18 million dollars, which no run may spend.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

const PICO: u64 = 1_000_000_000_000;

/// An amount of US dollars, exact to 10^-12. Arithmetic saturates: a sum that overflows is over any budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    pub const ZERO: Usd = Usd(0);
    pub const MAX: Usd = Usd(u64::MAX);

    pub const fn from_pico(pico: u64) -> Self {
        Usd(pico)
    }

    pub const fn pico(self) -> u64 {
        self.0
    }

    /// The price of `n` units at `self` each.
    pub const fn times(self, n: u64) -> Self {
        Usd(self.0.saturating_mul(n))
    }

    pub const fn saturating_sub(self, other: Usd) -> Self {
        Usd(self.0.saturating_sub(other.0))
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

/// Plain decimal dollars without a sign, no trailing zeros: `0.00123`, `12.5`, `0`.
/// With a precision (`{:.4}`) the amount is rounded up, so that a shown cost is never less than the real one.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(12).min(12);
        let unit = 10u64.pow(12 - digits as u32);
        let pico = u128::from(self.0).div_ceil(u128::from(unit)) * u128::from(unit);
        let (dollars, rest) = (pico / u128::from(PICO), pico % u128::from(PICO));
        let fraction = format!("{rest:012}");
        let fraction = &fraction[..digits];
        let fraction = if f.precision().is_some() { fraction } else { fraction.trim_end_matches('0') };
        let text = if fraction.is_empty() { dollars.to_string() } else { format!("{dollars}.{fraction}") };
        // `pad` would cut at the precision; only the width is left to honour.
        match f.width() {
            Some(width) => write!(f, "{text:>width$}"),
            None => f.write_str(&text),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount of US dollars: `{0}` (write a plain decimal number such as 2.50)")]
pub struct ParseUsdError(pub String);

impl FromStr for Usd {
    type Err = ParseUsdError;

    /// Reads `12`, `12.5`, `$0.003`. Digits beyond 10^-12 are refused rather than rounded.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseUsdError(text.to_owned());
        let number = text.trim();
        let number = number.strip_prefix('$').unwrap_or(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || !digits(whole)
            || !digits(fraction)
            || fraction.len() > 12
        {
            return Err(refuse());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refuse())? };
        let fraction: u64 = format!("{fraction:0<12}").parse().map_err(|_| refuse())?;
        let pico = whole.checked_mul(PICO).and_then(|p| p.checked_add(fraction)).ok_or_else(refuse)?;
        Ok(Usd(pico))
    }
}

/// In files and JSON an amount is a decimal string (`"0.00123"`): a float would not add up.
impl serde::Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_as_written() {
        for text in ["0", "12", "12.5", "0.00123", "0.000000000001", "18446744.073709551615"] {
            assert_eq!(text.parse::<Usd>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", ".", "-1", "1e3", "1.0000000000001", "18446744.073709551616", "1,5", "NaN"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rounded_amount_is_never_less_than_the_real_one() {
        assert_eq!(format!("{:.4}", Usd::from_pico(1)), "0.0001");
        assert_eq!(format!("{:.2}", "0.991".parse::<Usd>().unwrap()), "1.00");
        assert_eq!(format!("{:>8.2}", "1.5".parse::<Usd>().unwrap()), "    1.50");
        assert_eq!(format!("{:.2}", Usd::MAX), "18446744.08");
    }
}
