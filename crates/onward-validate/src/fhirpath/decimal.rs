//! Exact decimals that remember how many places were written (FHIRPath §3.5: `1.0` and `1.00` are equal, not the same).

use std::cmp::Ordering;
use std::fmt;

/// `mantissa × 10^-scale`. Holds 38 significant digits; what is beyond that is not guessed at.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    mantissa: i128,
    scale: u8,
}

/// Ten to this power is the largest that fits the mantissa.
const SCALE_MAX: u8 = 38;
/// Places kept by a division that does not come out even.
const DIVISION_SCALE: u8 = 18;

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// Reads `-12.50`, also with an exponent as JSON allows; `None` for anything else and beyond 38 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (digits.len() > whole.len() && fraction.is_empty()) {
            return None;
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if negative {
            mantissa = -mantissa;
        }
        if scale < 0 {
            let power = power_of_ten(u8::try_from(-scale).ok()?)?;
            return Some(Self { mantissa: mantissa.checked_mul(power)?, scale: 0 });
        }
        let scale = u8::try_from(scale).ok().filter(|scale| *scale <= SCALE_MAX)?;
        Some(Self { mantissa, scale })
    }

    /// Places after the point, as written.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// True for zero of any scale.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// True below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The whole number that it is, if it is one.
    #[must_use]
    pub fn to_integer(self) -> Option<i64> {
        let plain = self.without_trailing_zeros();
        (plain.scale == 0).then(|| i64::try_from(plain.mantissa).ok())?
    }

    /// Near enough for roots and logarithms.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Parsing the text rounds correctly where dividing two roundings would not.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The decimal that a double prints as.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self::parse(&format!("{value}")))?
    }

    /// The same number without needless zeros after the point.
    #[must_use]
    pub fn without_trailing_zeros(self) -> Self {
        let mut plain = self;
        while plain.scale > 0 && plain.mantissa % 10 == 0 {
            plain.mantissa /= 10;
            plain.scale -= 1;
        }
        plain
    }

    fn at_scale(self, scale: u8) -> Option<i128> {
        self.mantissa.checked_mul(power_of_ten(scale.checked_sub(self.scale)?)?)
    }

    /// The sum, unless it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { mantissa: self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?, scale })
    }

    /// The difference, unless it does not fit.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(other.negated())
    }

    /// The product, unless it does not fit.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let direct = |left: Self, right: Self| {
            let scale = left.scale + right.scale;
            (scale <= SCALE_MAX)
                .then(|| Some(Self { mantissa: left.mantissa.checked_mul(right.mantissa)?, scale }))
                .flatten()
        };
        direct(self, other).or_else(|| direct(self.without_trailing_zeros(), other.without_trailing_zeros()))
    }

    /// The quotient, rounded half away from zero where it does not come out even; `None` by zero and when it does not fit.
    #[must_use]
    pub fn checked_div(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let (left, right) = (self.without_trailing_zeros(), other.without_trailing_zeros());
        for places in (0..=DIVISION_SCALE).rev() {
            let Some(up) = (places + right.scale).checked_sub(left.scale) else { continue };
            let Some(dividend) = power_of_ten(up).and_then(|power| left.mantissa.checked_mul(power)) else { continue };
            let mantissa = divide_rounding(dividend, right.mantissa);
            return Some(Self { mantissa, scale: places }.without_trailing_zeros());
        }
        // The dividend has more places than a quotient keeps.
        let up = power_of_ten(left.scale.checked_sub(right.scale)?)?;
        let mantissa = divide_rounding(left.mantissa, right.mantissa.checked_mul(up)?);
        Some(Self { mantissa, scale: 0 })
    }

    /// The whole quotient and the remainder, both towards zero; `None` by zero and when it does not fit.
    #[must_use]
    pub fn checked_div_rem(self, other: Self) -> Option<(i128, Self)> {
        let scale = self.scale.max(other.scale);
        let (left, right) = (self.at_scale(scale)?, other.at_scale(scale)?);
        let remainder = Self { mantissa: left.checked_rem(right)?, scale }.without_trailing_zeros();
        Some((left.checked_div(right)?, remainder))
    }

    /// The same distance on the other side of zero.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { mantissa: self.mantissa.saturating_neg(), scale: self.scale }
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self { mantissa: self.mantissa.saturating_abs(), scale: self.scale }
    }

    /// To this many places, half away from zero.
    #[must_use]
    pub fn round(self, places: u8) -> Self {
        match self.scale.checked_sub(places).and_then(power_of_ten) {
            None | Some(1) => self,
            Some(power) => Self { mantissa: divide_rounding(self.mantissa, power), scale: places },
        }
    }

    /// To exactly this many places, the rest cut off; `None` when it does not fit.
    #[must_use]
    pub fn cut(self, places: u8) -> Option<Self> {
        match self.scale.checked_sub(places) {
            None => Some(Self { mantissa: self.at_scale(places)?, scale: places }),
            Some(surplus) => Some(Self { mantissa: self.mantissa / power_of_ten(surplus)?, scale: places }),
        }
    }

    /// To exactly this many places, half away from zero; `None` when it does not fit.
    #[must_use]
    pub fn fixed(self, places: u8) -> Option<Self> {
        self.round(places).cut(places)
    }

    /// The next whole number towards zero.
    #[must_use]
    pub fn truncate(self) -> i128 {
        power_of_ten(self.scale).map_or(0, |power| self.mantissa / power)
    }

    /// The next whole number downwards.
    #[must_use]
    pub fn floor(self) -> i128 {
        power_of_ten(self.scale).map_or(0, |power| self.mantissa.div_euclid(power))
    }

    /// Half of the last place: what `lowBoundary` and `highBoundary` move by.
    pub(super) fn half_of_last_place(self) -> Option<Self> {
        (self.scale < SCALE_MAX).then_some(Self { mantissa: 5, scale: self.scale + 1 })
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self { mantissa: i128::from(value), scale: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// By value: the scale does not matter.
    fn cmp(&self, other: &Self) -> Ordering {
        let split = |each: &Self| {
            let power = power_of_ten(each.scale).unwrap_or(i128::MAX);
            (each.mantissa / power, each.mantissa % power)
        };
        let ((left, left_rest), (right, right_rest)) = (split(self), split(other));
        left.cmp(&right).then_with(|| {
            // A rest is smaller than one, so at 38 places it still fits.
            let align = |rest: i128, scale: u8| {
                power_of_ten(SCALE_MAX - scale).and_then(|power| rest.checked_mul(power)).unwrap_or(rest)
            };
            align(left_rest, self.scale).cmp(&align(right_rest, other.scale))
        })
    }
}

impl std::hash::Hash for Decimal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let plain = self.without_trailing_zeros();
        (plain.mantissa, plain.scale).hash(state);
    }
}

impl fmt::Display for Decimal {
    /// With the places that it has: `1.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let places = usize::from(self.scale);
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        write!(f, "{}{whole}.{fraction}", if self.mantissa < 0 { "-" } else { "" })
    }
}

fn power_of_ten(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(u32::from(exponent))
}

/// Half away from zero. The divisor is not zero.
fn divide_rounding(dividend: i128, divisor: i128) -> i128 {
    let (Some(quotient), Some(rest)) = (dividend.checked_div(divisor), dividend.checked_rem(divisor)) else {
        return i128::MAX;
    };
    let up = rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) && rest != 0;
    match (up, (dividend < 0) == (divisor < 0)) {
        (false, _) => quotient,
        (true, true) => quotient + 1,
        (true, false) => quotient - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).expect("a decimal")
    }

    #[test]
    fn keeps_places_and_compares_values() {
        for text in ["1.50", "-0.010", "0", "-12", "1234567890987654321.0"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1.50"), decimal("1.5"));
        assert!(
            decimal("-1.5") < decimal("-1.49") && decimal("1e-30") > Decimal::ZERO && decimal("1e37") > decimal("2")
        );
        assert_eq!(decimal("1.2e3").to_string(), "1200");
        for text in ["", "-", "1.", ".5", "1..2", "1e", "1e99", "0x1", "1 ", "1e-99"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn calculates_exactly_or_not_at_all() {
        assert_eq!(decimal("1.2").checked_add(decimal("1.85")).map(|sum| sum.to_string()).as_deref(), Some("3.05"));
        assert_eq!(decimal("1").checked_div(decimal("2")), Some(decimal("0.5")));
        assert_eq!(decimal("2").checked_div(decimal("3")).map(|third| third.round(3)), Some(decimal("0.667")));
        assert_eq!(decimal("-2").checked_div(decimal("3")).map(|third| third.round(3)), Some(decimal("-0.667")));
        assert_eq!(decimal("1").checked_div(Decimal::ZERO), None);
        assert_eq!(decimal("1e37").checked_mul(decimal("1e37")), None);
        assert_eq!(decimal("2.2").checked_div_rem(decimal("1.8")), Some((1, decimal("0.4"))));
        assert_eq!((decimal("-2.1").floor(), decimal("-2.9").truncate()), (-3, -2));
        assert_eq!(decimal("1e-38").checked_div(decimal("1e37")), None);
    }
}
