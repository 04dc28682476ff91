//! Prices as price lists write them, `2.5e-07` dollars a token, to whole picodollars without floating point.

use crate::domain::Usd;

/// Why a text is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecimalError {
    #[error("not a number")]
    NotANumber,
    #[error("negative")]
    Negative,
    #[error("larger than any price")]
    TooLarge,
}

/// Dollars in plain or scientific notation. Less than a picodollar is rounded up, but for the noise that binary floating
/// point leaves behind a price list (`1.2000000000000002e-07`): that is what its writer meant to be round.
pub(super) fn dollars(text: &str) -> Result<Usd, DecimalError> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| DecimalError::NotANumber)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || mantissa.len() > 40 || !(-400..=400).contains(&exponent) {
        return Err(DecimalError::NotANumber);
    }
    let mut digits: u128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(DecimalError::NotANumber);
        }
        digits = digits.checked_mul(10).ok_or(DecimalError::TooLarge)? + u128::from(byte - b'0');
    }
    if digits == 0 {
        return Ok(Usd::ZERO);
    }
    if negative {
        return Err(DecimalError::Negative);
    }
    // digits x 10^power picodollars
    let power = exponent + 12 - i32::try_from(fraction.len()).map_err(|_| DecimalError::NotANumber)?;
    let pico = if power >= 0 {
        let factor = 10u128.checked_pow(power.unsigned_abs()).ok_or(DecimalError::TooLarge)?;
        digits.checked_mul(factor).ok_or(DecimalError::TooLarge)?
    } else {
        match 10u128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => round(digits, divisor),
            None => 1,
        }
    };
    u64::try_from(pico).map(Usd::from_pico).map_err(|_| DecimalError::TooLarge)
}

/// Up, unless what is beyond a whole number is less than a part in 10^9 of it.
fn round(digits: u128, divisor: u128) -> u128 {
    let (whole, rest) = (digits / divisor, digits % divisor);
    let is_noise = rest <= digits / 1_000_000_000;
    if rest == 0 || (whole > 0 && is_noise) { whole } else { whole + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact() {
        for (text, pico) in [
            ("2.5e-07", 250_000),
            ("8.75e-09", 8_750),
            ("4.375e-09", 4_375),
            ("1E-6", 1_000_000),
            ("0.000003", 3_000_000),
            ("3", 3_000_000_000_000),
            ("+1.0e+0", 1_000_000_000_000),
            (".5e-6", 500_000),
            ("1.2000000000000002e-07", 120_000),
            ("1.1999999999999999e-07", 120_000),
            ("1.5e-12", 2),
            ("1e-300", 1),
            ("0", 0),
            ("-0.0", 0),
            ("0e-5", 0),
        ] {
            assert_eq!(dollars(text).map(Usd::pico), Ok(pico), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for (text, error) in [
            ("", DecimalError::NotANumber),
            (".", DecimalError::NotANumber),
            ("e5", DecimalError::NotANumber),
            ("1e", DecimalError::NotANumber),
            ("0x1", DecimalError::NotANumber),
            ("NaN", DecimalError::NotANumber),
            ("1,5", DecimalError::NotANumber),
            ("--1", DecimalError::NotANumber),
            ("1e999", DecimalError::NotANumber),
            ("-2.5e-07", DecimalError::Negative),
            ("1e30", DecimalError::TooLarge),
            ("1e300", DecimalError::TooLarge),
        ] {
            assert_eq!(dollars(text), Err(error), "{text}");
        }
    }
}
