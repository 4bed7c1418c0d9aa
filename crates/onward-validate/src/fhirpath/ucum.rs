//! As much of UCUM as comparing quantities needs: a unit as an exact factor over base units.
//!
//! Units with an offset or a logarithm (`Cel`, `[pH]`) and arbitrary units (`[iU]`) are dimensions of their own: they compare with
//! themselves and their multiples only. A unit that is not in the table cannot be compared: never a guess.

use super::decimal::Decimal;

/// A unit over base units: `factor × base^exponent …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// The factor is `numerator / denominator`: both are exact.
    pub(super) numerator: Decimal,
    pub(super) denominator: Decimal,
    /// Exponents by base unit, sorted, none zero.
    dimensions: Vec<(&'static str, i32)>,
}

/// Prefixes of metric units (UCUM §27) by their power of ten.
const PREFIXES: &[(&str, i32)] = &[
    ("da", 1),
    ("Y", 24),
    ("Z", 21),
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("h", 2),
    ("d", -1),
    ("c", -2),
    ("m", -3),
    ("u", -6),
    ("n", -9),
    ("p", -12),
    ("f", -15),
    ("a", -18),
];

/// One row: code, whether prefixes may stand before it, its factor, and the unit that the factor counts (empty: none).
type Row = (&'static str, bool, &'static str, &'static str);

/// Base units, and those without a conversion to any other: each is its own dimension.
const BASES: &[(&str, bool)] = &[
    ("m", true),
    ("s", true),
    ("g", true),
    ("rad", true),
    ("K", true),
    ("C", true),
    ("cd", true),
    ("mol", true),
    ("Cel", true),
    ("[degF]", false),
    ("[pH]", false),
    ("[iU]", true),
    ("[arb'U]", false),
    ("[USP'U]", false),
    ("[CFU]", false),
    ("[PFU]", false),
    ("B", true),
    ("Np", true),
    ("bit", true),
    ("By", true),
    ("[diop]", false),
    ("[drp]", false),
    ("[hnsf'U]", false),
];

/// Derived units met in clinical data.
const DERIVED: &[Row] = &[
    ("%", false, "0.01", ""),
    ("[ppth]", false, "0.001", ""),
    ("[ppm]", false, "0.000001", ""),
    ("10*", false, "10", ""),
    ("10^", false, "10", ""),
    ("[IU]", true, "1", "[iU]"),
    ("L", true, "1", "dm3"),
    ("l", true, "1", "dm3"),
    ("t", true, "1000", "kg"),
    ("min", false, "60", "s"),
    ("h", false, "60", "min"),
    ("d", false, "24", "h"),
    ("wk", false, "7", "d"),
    ("mo", false, "30.4375", "d"),
    ("a", false, "365.25", "d"),
    ("Hz", true, "1", "s-1"),
    ("N", true, "1", "kg.m/s2"),
    ("Pa", true, "1", "N/m2"),
    ("J", true, "1", "N.m"),
    ("W", true, "1", "J/s"),
    ("A", true, "1", "C/s"),
    ("V", true, "1", "J/C"),
    ("Ohm", true, "1", "V/A"),
    ("S", true, "1", "A/V"),
    ("F", true, "1", "C/V"),
    ("lm", true, "1", "cd"),
    ("lx", true, "1", "lm/m2"),
    ("Bq", true, "1", "s-1"),
    ("Gy", true, "1", "J/kg"),
    ("Sv", true, "1", "J/kg"),
    ("kat", true, "1", "mol/s"),
    ("U", true, "1", "umol/min"),
    ("eq", true, "1", "mol"),
    ("osm", true, "1", "mol"),
    ("bar", true, "100000", "Pa"),
    ("atm", false, "101325", "Pa"),
    ("m[Hg]", true, "133322", "Pa"),
    ("m[H2O]", true, "9806.65", "Pa"),
    ("cal", true, "4.184", "J"),
    ("deg", false, "0.01745329251994329577", "rad"),
    ("[in_i]", false, "2.54", "cm"),
    ("[ft_i]", false, "12", "[in_i]"),
    ("[yd_i]", false, "3", "[ft_i]"),
    ("[mi_i]", false, "5280", "[ft_i]"),
    ("[lb_av]", false, "453.59237", "g"),
    ("[oz_av]", false, "28.349523125", "g"),
    ("[gr]", false, "0.06479891", "g"),
    ("[stone_av]", false, "14", "[lb_av]"),
    ("[gal_us]", false, "231", "[in_i]3"),
    ("[qt_us]", false, "57.75", "[in_i]3"),
    ("[pt_us]", false, "28.875", "[in_i]3"),
    ("[foz_us]", false, "1.8046875", "[in_i]3"),
    ("[cup_us]", false, "14.4375", "[in_i]3"),
    ("[tbs_us]", false, "0.90234375", "[in_i]3"),
    ("[tsp_us]", false, "0.30078125", "[in_i]3"),
    ("[pt_br]", false, "568.26125", "cm3"),
    ("[foz_br]", false, "28.4130625", "cm3"),
];

/// Terms within each other; UCUM has no use for more.
const DEPTH_MAX: u8 = 8;
/// The greatest exponent: units are multiplied out.
const EXPONENT_MAX: i32 = 30;
/// The longest unit that is looked at.
const LENGTH_MAX: usize = 100;

impl Unit {
    /// Reads a UCUM unit; `None` when it is not one of the table's.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let unit = parser.term()?;
        parser.rest.is_empty().then_some(unit)
    }

    fn one() -> Self {
        Self { numerator: Decimal::from(1), denominator: Decimal::from(1), dimensions: Vec::new() }
    }

    /// True when values in both can be converted into each other.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        self.dimensions == other.dimensions
    }

    fn times(mut self, other: &Self, sign: i32) -> Option<Self> {
        let (up, down) =
            if sign > 0 { (other.numerator, other.denominator) } else { (other.denominator, other.numerator) };
        self.numerator = self.numerator.checked_mul(up)?;
        self.denominator = self.denominator.checked_mul(down)?;
        for (base, exponent) in &other.dimensions {
            match self.dimensions.binary_search_by_key(base, |each| each.0) {
                Ok(at) => {
                    self.dimensions[at].1 += exponent * sign;
                    if self.dimensions[at].1 == 0 {
                        self.dimensions.remove(at);
                    }
                }
                Err(at) => self.dimensions.insert(at, (base, exponent * sign)),
            }
        }
        Some(self)
    }

    fn power(&self, exponent: i32) -> Option<Self> {
        let mut made = Self::one();
        for _ in 0..exponent.unsigned_abs() {
            made = made.times(self, exponent.signum())?;
        }
        Some(made)
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: u8,
}

impl Parser<'_> {
    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// `component (('.' | '/') component)*`, perhaps begun by `/`.
    fn term(&mut self) -> Option<Unit> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let mut made = Unit::one();
        let mut sign = if self.take('/') { -1 } else { 1 };
        loop {
            made = made.times(&self.component()?, sign)?;
            sign = match () {
                () if self.take('.') => 1,
                () if self.take('/') => -1,
                () => break,
            };
        }
        self.depth -= 1;
        Some(made)
    }

    fn component(&mut self) -> Option<Unit> {
        if self.take('(') {
            let inner = self.term()?;
            return self.take(')').then_some(inner);
        }
        if self.rest.starts_with('{') {
            self.annotation()?;
            return Some(Unit::one());
        }
        let made = self.simple()?;
        if self.rest.starts_with('{') {
            self.annotation()?;
        }
        Some(made)
    }

    fn annotation(&mut self) -> Option<()> {
        self.rest = &self.rest[self.rest.find('}')? + 1..];
        Some(())
    }

    /// A number, or a unit with an exponent.
    fn simple(&mut self) -> Option<Unit> {
        let end = self.symbol_end();
        let (symbol, rest) = self.rest.split_at(end);
        self.rest = rest;
        if !symbol.is_empty() && symbol.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Unit { numerator: Decimal::parse(symbol)?, ..Unit::one() });
        }
        // `10*3` ends in its exponent, and so does `m-2`; the digits in `m[H2O]` are the unit's own.
        let (name, exponent) = match symbol.strip_prefix("10*").or_else(|| symbol.strip_prefix("10^")) {
            Some(exponent) => (&symbol[..3], exponent),
            None => {
                let name = symbol.trim_end_matches(|c: char| c.is_ascii_digit());
                let name = name.strip_suffix(['+', '-']).unwrap_or(name);
                (name, &symbol[name.len()..])
            }
        };
        let exponent: i32 = if exponent.is_empty() { 1 } else { exponent.parse().ok()? };
        (-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent).then_some(())?;
        atom(name)?.power(exponent)
    }

    fn symbol_end(&self) -> usize {
        let mut in_brackets = false;
        for (at, character) in self.rest.char_indices() {
            match character {
                '[' => in_brackets = true,
                ']' => in_brackets = false,
                '.' | '/' | '(' | ')' | '{' | '}' if !in_brackets => return at,
                _ => {}
            }
        }
        self.rest.len()
    }
}

fn atom(name: &str) -> Option<Unit> {
    if let Some(unit) = plain_atom(name, false) {
        return Some(unit);
    }
    PREFIXES.iter().find_map(|(prefix, power)| {
        let mut unit = plain_atom(name.strip_prefix(prefix)?, true)?;
        let ten = Decimal::parse(&format!("1e{power}"))?;
        unit.numerator = unit.numerator.checked_mul(ten)?;
        Some(unit)
    })
}

fn plain_atom(name: &str, prefixed: bool) -> Option<Unit> {
    if let Some((base, _)) = BASES.iter().find(|(base, metric)| *base == name && (*metric || !prefixed)) {
        return Some(Unit { dimensions: vec![(base, 1)], ..Unit::one() });
    }
    let (_, _, factor, of) = DERIVED.iter().find(|row| row.0 == name && (row.1 || !prefixed))?;
    // Rows count rows above them only, so this ends: joule, newton, kilogram.
    let mut unit = if of.is_empty() { Unit::one() } else { Parser { rest: of, depth: 0 }.term()? };
    unit.numerator = unit.numerator.checked_mul(Decimal::parse(factor)?)?;
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_can_be_read() {
        for (code, metric, _, _) in DERIVED {
            assert!(Unit::parse(code).is_some(), "{code}");
            assert!(!metric || Unit::parse(&format!("m{code}")).is_some(), "m{code}");
        }
    }

    #[test]
    fn tells_what_can_be_compared() {
        let comparable = |left: &str, right: &str| {
            Unit::parse(left).expect("a unit").is_comparable(&Unit::parse(right).expect("a unit"))
        };
        for (left, right) in [
            ("cm", "[in_i]"),
            ("mg/dL", "g/m3"),
            ("kg.m/s2", "N"),
            ("10*3/uL", "/L"),
            ("mm[Hg]", "kPa"),
            ("m/m", "1"),
            ("{score}", "1"),
            ("mmol/(24.h)", "mol/s"),
            ("wk", "d"),
        ] {
            assert!(comparable(left, right), "{left} {right}");
        }
        for (left, right) in [("cm", "s"), ("Cel", "K"), ("[iU]", "1"), ("mol", "1"), ("m2", "m3")] {
            assert!(!comparable(left, right), "{left} {right}");
        }
        for text in ["[s]", "mm[", "(m", "m)", "foo", "", "m{", "k%", "cm.", "m99", "m-2147483648", &"(".repeat(90)] {
            assert!(Unit::parse(text).is_none(), "{text}");
        }
    }
}
